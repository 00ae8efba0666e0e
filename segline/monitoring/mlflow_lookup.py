"""Which machine trained a model? MLflow is asked in a process of its own, and nothing is created or upgraded.

MLflow creates missing tables in any database that it opens, and so upgrades an old one. Therefore it gets a copy of a
SQLite store, which is deleted afterwards. Of the other kinds of store only servers are asked.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, redirect_stdout
from pathlib import Path

from segline.monitoring import mlflow_run

SERVERS = ("http://", "https://")
SERVER_PATIENCE = 6  # whole seconds after the import, so that a server that hangs costs less than 10 in all


def tags(model_sha256: str) -> dict[str, str]:
    """The tags of the newest run with this model; empty if MLflow knows none or does not answer in time."""
    uri = mlflow_run.store()
    database = mlflow_run.database(uri)
    if database is None and not uri.startswith(SERVERS):
        return {}
    question = json.dumps([str(database or uri), model_sha256])
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        try:
            answer = subprocess.run(
                [sys.executable, "-m", "segline.monitoring.mlflow_lookup"],
                input=question,  # not an argument, which other users could read: it may contain a password
                stdout=subprocess.PIPE,
                stderr=mlflow_run.errors(),
                cwd=folder,
                env=mlflow_run.environment() | {"TMPDIR": folder},  # MLflow leaves locks there
                encoding="utf-8",
                timeout=mlflow_run.LOCAL_PATIENCE,
                check=True,
            ).stdout
            known: dict[str, str] = json.loads(answer)
        except (OSError, ValueError, subprocess.SubprocessError):
            return {}
    return known


def _copy(database: Path, copy: Path) -> bool:
    """Copies a SQLite database that may be in use. False if it is empty. Raises sqlite3.Error if it is not one."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as source:
        if source.execute("PRAGMA schema_version").fetchone() == (0,):
            return False
        with closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    return True


def main() -> None:
    """The child process: a store and a hash on standard input, the tags on standard output."""
    place, model_sha256 = json.load(sys.stdin)
    remote = place.startswith(SERVERS)
    copy = Path("copy.db")
    if not remote and not _copy(Path(place), copy):
        sys.exit("no tables")
    with redirect_stdout(sys.stderr):
        from segline.monitoring import mlflow_calls  # noqa: PLC0415 - MLflow takes seconds, and may be missing

        if remote:
            signal.alarm(SERVER_PATIENCE)  # ends this process
        known = mlflow_calls.tags_of_newest_run(place if remote else f"{mlflow_run.SQLITE}{copy}", model_sha256)
    sys.stdout.write(json.dumps(known))


if __name__ == "__main__":
    main()
