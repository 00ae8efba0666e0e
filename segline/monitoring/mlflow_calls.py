"""What a run is in MLflow: the calls, and where the facts of a run come from. Only `tracking_worker` imports it.

Writes go through MlflowClient with their own time and step, so that repeating one after a lost answer changes nothing.
"""

import fcntl
import getpass
import hashlib
import os
import posixpath
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

Message = dict[str, Any]
Item = TypeVar("Item")

SQLITE = "sqlite:///"


def is_refusal(error: Exception) -> bool:
    """True if the store did answer, so that asking again is no use."""
    if isinstance(error, MlflowException):
        status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
        later = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in later
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Holds a file lock beside a SQLite store: of two processes that create its tables at once, one crashes."""
    if not uri.startswith(SQLITE):
        yield
        return
    database = _database(uri)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(sqlite3.connect(database)) as probe:  # MLflow tries a file that SQLite cannot read for 51 s
            probe.execute("PRAGMA schema_version")
        yield


def _database(uri: str) -> Path:
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])).absolute()


def experiment(uri: str) -> str:
    """The id of the experiment, created where missing; beside a SQLite store its artifacts go to `mlruns`."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "segline"
    mlflow.set_tracking_uri(uri)
    with _alone(uri):
        if uri.startswith(SQLITE) and mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, artifact_location=(_database(uri).parent / "mlruns").as_uri())
        return str(mlflow.set_experiment(name).experiment_id)


def newest_run(uri: str, model_sha256: str) -> str | None:
    """The id of the run that was started last among those tagged with this model, None if there is none."""
    home = experiment(uri)
    query = f"tags.`model.sha256` = '{model_sha256}'"
    newest = ["attributes.start_time DESC"]
    found = mlflow.MlflowClient(uri).search_runs([home], query, order_by=newest, max_results=1)
    return str(found[0].info.run_id) if found else None


def new_run(uri: str, stage: str, network: str | None, tags: Mapping[str, str]) -> str:
    """The id of a run just opened. It bears the name of the network or stage, and of the experiment or commit."""
    origin = os.environ.get("DVC_EXP_NAME") or tags.get("git.commit", "")[:7]
    own = {"mlflow.source.type": "LOCAL", "mlflow.source.name": f"stages.{stage}"}
    with suppress(KeyError, OSError):  # in a container the user may have no name
        own["mlflow.user"] = getpass.getuser()
    if "git.commit" in tags:
        own["mlflow.source.git.commit"] = tags["git.commit"]
    name = f"{network or stage} {origin}".strip()
    home = experiment(uri)  # before the client, which would open the store without the lock
    return str(mlflow.MlflowClient(uri).create_run(home, tags={**own, **tags}, run_name=name).info.run_id)


def end_run(uri: str, run_id: str, status: str) -> None:
    """After this the run has its end time and `status`."""
    mlflow.MlflowClient(uri).set_terminated(run_id, status)


def calls(uri: str, run_id: str, messages: Sequence[Message]) -> Iterator[Callable[[], Any]]:
    """The fewest MLflow calls that log `messages`, within the sizes that MLflow's REST interface sets for one."""
    client = mlflow.MlflowClient(uri)
    metrics = [Metric(_key(row[0]), *row[1:]) for message in messages for row in message.get("metrics", ())]
    params = [Param(_key(key), value) for message in messages for key, value in message.get("params", {}).items()]
    tags = [RunTag(_key(key), value) for message in messages for key, value in message.get("tags", {}).items()]
    for metric_chunk in _chunks(metrics, 1000):
        yield partial(client.log_batch, run_id, metrics=metric_chunk)
    for param_chunk in _chunks(params, 100):
        yield partial(client.log_batch, run_id, params=param_chunk)
    for tag_chunk in _chunks(tags, 100):
        yield partial(client.log_batch, run_id, tags=tag_chunk)
    for path in (path for message in messages for path in message.get("artifacts", ())):
        yield partial(client.log_artifact, run_id, path)


def _key(name: str) -> str:
    """`name` as MLflow admits it: class names are the user's, and may hold anything."""
    return posixpath.normpath(re.sub(r"[^\w.\- :/]", "_", name))[:250]


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def origin() -> dict[str, str]:
    """Tags of code and experiment. `git.dirty` looks at code and parameters: results are gone while a stage runs."""
    names = {"dvc.stage": "DVC_STAGE", "dvc.exp_name": "DVC_EXP_NAME", "dvc.exp_baseline_rev": "DVC_EXP_BASELINE_REV"}
    tags = {tag: os.environ[name] for tag, name in names.items() if name in os.environ}
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "params.yaml", "dvc.yaml", "stages", "segline")
    if commit and changes is not None:
        tags |= {"git.commit": commit, "git.dirty": str(bool(changes)).lower()}
    return tags


def _git(*arguments: str) -> str | None:
    """What git answers; None without git or outside a repository. It takes no lock that DVC could meet."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def sha256(path: Path) -> str | None:
    """Hash of a file; of a folder, over the sorted `relative/path hash` lines of its files; None for a missing path."""
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        lines = "".join(f"{name} {sha256(file)}\n" for name, file in files)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    if not path.exists():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
