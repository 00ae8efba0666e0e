"""What a run is in MLflow: the calls, and where the facts of a run come from.

Only child processes import it, since it imports MLflow: `mlflow_worker` and `mlflow_lookup`. Writes go through
MlflowClient with their own time and step, so that repeating one after a lost answer changes nothing.
"""

import getpass
import hashlib
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import mlflow
from filelock import FileLock
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from segline.core import atomic, git
from segline.monitoring.mlflow_run import database, sqlite_uri

Message = dict[str, Any]
Item = TypeVar("Item")

_LONGEST_KEY = 250


def is_refusal(error: Exception) -> bool:
    """True if the store answered, so that asking again is useless."""
    if isinstance(error, MlflowException):
        status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
        later = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
        return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in later
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError)


@contextmanager
def _alone(store: Path | None) -> Iterator[None]:
    """Locks a SQLite store, and creates it: if two processes create its tables at once, one of them crashes.

    The kernel releases the lock of a process that is killed.
    """
    if store is None:
        yield
        return
    with FileLock(store.with_name(f"{store.name}.lock")):
        if not store.exists() or not store.stat().st_size:
            _create(store)
        with closing(sqlite3.connect(store)) as probe:  # MLflow retries a file that SQLite cannot read for 51 s
            probe.execute("PRAGMA schema_version")
        yield


def _create(store: Path) -> None:
    """Creates the tables under another name: MLflow cannot go on where a process was killed that had made some."""
    with atomic.file(store) as temporary:
        mlflow.MlflowClient(sqlite_uri(temporary)).search_experiments(max_results=1)


def _experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "segline"


def experiment(uri: str) -> str:
    """The id of the experiment, created if missing. Beside a SQLite store its artifacts go to `mlruns`."""
    name, store = _experiment_name(), database(uri)
    mlflow.set_tracking_uri(uri)
    with _alone(store):
        if store is not None and mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, artifact_location=(store.parent / "mlruns").as_uri())
        return str(mlflow.set_experiment(name).experiment_id)


def newest_run(uri: str, model_sha256: str) -> str | None:
    """The id of the last run started among those tagged with this model; None if there is none."""
    run = _newest(uri, experiment(uri), model_sha256)
    return str(run.info.run_id) if run else None


def known_run(uri: str, model_sha256: str) -> Run | None:
    """That run itself. Unlike `newest_run` this creates no experiment."""
    home = mlflow.MlflowClient(uri).get_experiment_by_name(_experiment_name())
    return _newest(uri, home.experiment_id, model_sha256) if home else None


def tags_of_newest_run(uri: str, model_sha256: str) -> dict[str, str]:
    """The tags of that run; empty if there is none."""
    run = known_run(uri, model_sha256)
    return dict(run.data.tags) if run else {}


def _newest(uri: str, home: str, model_sha256: str) -> Run | None:
    query = f"tags.`model.sha256` = '{model_sha256}'"
    newest_first = ["attributes.start_time DESC"]
    runs = mlflow.MlflowClient(uri).search_runs([home], query, order_by=newest_first, max_results=1)
    return runs[0] if runs else None


def new_run(uri: str, stage: str, network: str | None, tags: Mapping[str, str]) -> str:
    """The id of a new run. Its name is that of the network or stage, then that of the experiment or commit."""
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
    """Ends the run with this status."""
    mlflow.MlflowClient(uri).set_terminated(run_id, status)


def calls(uri: str, run_id: str, messages: Sequence[Message]) -> Iterator[Callable[[], Any]]:
    """The fewest MLflow calls that log `messages`, each within the size limits of MLflow's REST interface."""
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
    """`name` in at most 250 characters that MLflow accepts: class names may contain anything.

    A name that has to change gets a hash of itself, so that no two names share a key, whichever stage logs them.
    """
    parts = re.sub(r"[^\w.\- :/]", "_", name).split("/")
    key = "/".join(part if part.strip(".") else "_" for part in parts)  # MLflow refuses //, /./ and /../
    if key == name and len(key) <= _LONGEST_KEY:
        return key
    mark = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{key[: _LONGEST_KEY - len(mark) - 1]}_{mark}"


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def origin() -> dict[str, str]:
    """Tags of code and experiment. `git.dirty` covers code and parameters: results are gone while a stage runs."""
    names = {"dvc.stage": "DVC_STAGE", "dvc.exp_name": "DVC_EXP_NAME", "dvc.exp_baseline_rev": "DVC_EXP_BASELINE_REV"}
    tags = {tag: os.environ[name] for tag, name in names.items() if name in os.environ}
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "params.yaml", "dvc.yaml", "stages", "segline")
    if commit and changes is not None:
        tags |= {"git.commit": commit, "git.dirty": str(bool(changes)).lower()}
    return tags


def _git(*arguments: str) -> str | None:
    """What git answers; None without git or outside a repository. It takes no lock that DVC could meet."""
    answer = git.answer(Path(), *arguments, timeout=5)
    return None if answer is None else answer.decode().strip()


def sha256(path: Path) -> str | None:
    """Hash of a file; for a folder, over the sorted `relative/path hash` lines of its files; None if missing."""
    if path.is_dir():
        files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
        lines = "".join(f"{name} {sha256(file)}\n" for name, file in files)
        return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()
    if not path.exists():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
