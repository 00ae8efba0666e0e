"""MLflow only observes: a stage reports to a child process, and does not wait for an answer while it works.

The child (`mlflow_worker`) imports MLflow while the stage imports torch; then it logs, and samples the machine. At its
end the stage waits for the child: up to 60 s for a local store, where a slow disk is not an outage, and up to 8 s for
a server. Whatever goes wrong there costs one warning and never affects the results.

    MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME    as in MLflow; by default `mlflow.db` in the DVC root, and `segline`
    SEGLINE_TRACKING=on|off                        on by default; off: no child process, no run
    SEGLINE_DEBUG=1                                show what MLflow prints
"""

import json
import numbers
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from segline.core.errors import ParameterError
from segline.core.params import FILE as PARAMS_FILE
from segline.core.params import flat
from segline.monitoring import console, process

Message = dict[str, Any]

SWITCH = "SEGLINE_TRACKING"
SQLITE = "sqlite:///"
LOCAL_PATIENCE = 60.0
SERVER_PATIENCE = 8.0
# One try of 4 s for each request, where MLflow's defaults are 8 tries of 120 s: the child retries by itself while the
# stage works. The user's own settings win.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Run:
    """What a stage reports. No method waits, and none fails because of MLflow."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send

    def metrics(self, values: Mapping[str, Any], step: int = 0) -> None:
        """Logs the numbers of a nested document, keys joined by dots. None (undefined) and text are left out."""
        moment = round(time.time() * 1000)
        numeric = {key: float(value) for key, value in flat(values).items() if isinstance(value, numbers.Real)}
        self._send({"metrics": [[key, value, moment, step] for key, value in numeric.items()]})

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags, overwriting existing ones."""
        self._send({"tags": {key: str(value) for key, value in values.items()}})

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Logs copies of files, each under its own name. The files may be read as late as the end of the run."""
        self._send({"artifacts": [str(path.absolute()) for path in paths]})


def switched_on() -> bool:
    """Whether runs are logged: SEGLINE_TRACKING, `on` if unset. Raises ParameterError unless it is `on` or `off`."""
    switch = os.environ.get(SWITCH) or "on"
    if switch not in ("on", "off"):
        raise ParameterError(SWITCH, f"expected on or off, got {switch!r}", "Set it to one of them or unset it.")
    return switch == "on"


def store() -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, else `mlflow.db` in the root of the DVC project, also under `dvc exp`."""
    database = Path(os.environ.get("DVC_ROOT") or Path.cwd()).absolute() / "mlflow.db"
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(database)


def sqlite_uri(database: Path) -> str:
    """The URI of the SQLite store in a file, whose path is absolute."""
    quoted = str(database).replace("%", "%25").replace("?", "%3F")  # the only characters with a meaning in this URI
    return f"{SQLITE}{quoted}"


def database(uri: str) -> Path | None:
    """The absolute path of the file behind a SQLite URI; None for any other store."""
    if not uri.startswith(SQLITE):
        return None
    return Path(unquote(uri.removeprefix(SQLITE).partition("?")[0])).absolute()


def environment() -> dict[str, str]:
    """The environment of a child process that uses MLflow. It imports the same segline as this process."""
    folders = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]
    return {**ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}


def errors() -> int | None:
    """Where the standard error of such a process goes: nowhere, unless SEGLINE_DEBUG=1."""
    return None if os.environ.get(process.DEBUG) == "1" else subprocess.DEVNULL


@contextmanager
def run(stage: str, inputs: Mapping[str, Path], params: Mapping[str, Any], model: Path | None = None) -> Iterator[Run]:
    """The MLflow run of a stage, ended FINISHED, FAILED by an exception or KILLED by an interruption.

    Without `model` it is a new run, with the parameters, hashes of the inputs, and system metrics. With `model` the
    stage adds to the newest run whose tag `model.sha256` is the hash of that file; parameters become tags.
    """
    leaves = flat(params)
    opening = {
        "stage": stage,
        "network": leaves.get("model.name"),
        "inputs": {name: str(path.absolute()) for name, path in inputs.items()},
        "params": {key: v if isinstance(v, str) else json.dumps(v, default=str) for key, v in leaves.items()},
        "model": str(model.absolute()) if model else None,
    }
    with _child(opening) as send:
        opened = Run(send)
        if model is None and PARAMS_FILE.exists():
            opened.artifacts([PARAMS_FILE])
        yield opened


def prepare() -> None:
    """Creates the local store: its tables take seconds, which the first training then saves."""
    with _child({"stage": None}):
        pass


@contextmanager
def _child(opening: Message) -> Iterator[Callable[[Message], None]]:
    if not switched_on():
        yield lambda _: None
        return
    try:
        child = _Child(opening)
    except (OSError, RuntimeError) as error:  # out of memory, processes or threads
        console.warn(_warning(str(error)))
        yield lambda _: None
        return
    status = "KILLED"
    try:
        yield child.send
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        child.close(status)


class _Child:
    """The process, an unbounded queue of messages to it, and the complaints that it sent back."""

    def __init__(self, opening: Message) -> None:
        uri = store()
        self._patience = LOCAL_PATIENCE if uri.startswith("sqlite:") else SERVER_PATIENCE
        self._complaints: list[str] = []
        self._warned = False
        self._outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "segline.monitoring.mlflow_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors(),
            env=environment(),
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C stops the stage; the child lives until the pipe closes
        )
        self._threads = [
            threading.Thread(target=_feed, args=(self._outbox, self._process.stdin), daemon=True),
            threading.Thread(target=_listen, args=(self._process.stdout, self._complaints), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.send({**opening, "uri": uri, "patience": self._patience})

    def send(self, message: Message) -> None:
        """Queues a message. Complaints are printed here, by the stage's own thread, so that they never split a line."""
        self._outbox.put(json.dumps(message) + "\n")
        self._complain()

    def close(self, status: str) -> None:
        """Ends the process: it has finished, or is killed when its time is up."""
        self.send({"status": status})
        self._outbox.put(None)
        problem = None
        try:
            if self._process.wait(self._patience) != 0:
                problem = "stopped before everything was logged"
        except subprocess.TimeoutExpired:
            problem = f"no answer within {self._patience:g} s"
        finally:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # at once, unless the kernel itself hangs on the child's disk
                self._process.wait(0.5)
            for thread in self._threads:
                thread.join(0.5)
        if problem:
            self._complaints.append(problem)
        self._complain()

    def _complain(self) -> None:
        if self._complaints and not self._warned:
            self._warned = True
            console.warn(_warning(self._complaints[0]))


def _feed(outbox: queue.SimpleQueue[str | None], stream: IO[str]) -> None:
    with suppress(OSError), stream:  # the child may be gone
        for line in iter(outbox.get, None):
            stream.write(line)
            stream.flush()


def _listen(stream: IO[str], complaints: list[str]) -> None:
    with stream:
        if first := stream.readline():
            complaints.append(first)
        stream.read()


def _warning(reason: str) -> str:
    remedy = (
        f"The results are not affected, but the run may be missing or incomplete ({SWITCH}=off turns tracking off)."
    )
    return f"MLflow at {without_secrets(store())}: {without_secrets(reason).rstrip('. ')}. {remedy}"


def without_secrets(text: str) -> str:
    """`text` in one line of at most 200 characters, without URL queries and anything between `://` and `@`."""
    return re.sub(r"\?\S+=\S*", "", re.sub(r"://\S*@", "://", " ".join(text.split())))[:200]
