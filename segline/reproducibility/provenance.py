"""On what kind of machine a model was trained, as the local MLflow store knows it. It is read without being touched."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from segline.model import device
from segline.monitoring import mlflow_run

SQLITE = "sqlite:///"
TAGS = """
SELECT key, value FROM tags WHERE run_uuid = (
    SELECT run_uuid FROM runs JOIN tags USING (run_uuid)
    WHERE key = 'model.sha256' AND value = ? ORDER BY start_time DESC LIMIT 1
)
"""


def machine_of(model_sha256: str) -> dict[str, str]:
    """`device.description` as the newest run with this model recorded it; empty without such a run in a local store."""
    uri = mlflow_run.store()
    if not uri.startswith(SQLITE):
        return {}
    database = Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])).absolute()
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            tags = dict(connection.execute(TAGS, [model_sha256]).fetchall())
    except sqlite3.Error:  # no store, or one of another MLflow
        return {}
    return {
        name: tags[name]
        for name in ("device", "torch", "threads", "cpu_capability", "gpu/name", "cuda")
        if name in tags
    }


def comparison(model_sha256: str) -> str:
    """How this machine differs from the one that trained the model, in one line."""
    there, here = machine_of(model_sha256), device.description(device.pick())
    if not there:
        facts = ", ".join(f"{name} {value}" for name, value in here.items())
        return f"this machine: {facts}; no local MLflow run says on which one the model was trained"
    names = {**there, **here}
    changed = [
        f"{name} {here.get(name, 'unknown')} instead of {there.get(name, 'unknown')}"
        for name in names
        if here.get(name) != there.get(name)
    ]
    if not changed:
        return "this machine is of the kind that trained the model (device, torch, threads, CPU capability)"
    return f"this machine is not of the kind that trained the model: {', '.join(changed)}"
