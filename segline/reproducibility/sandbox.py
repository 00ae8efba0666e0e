"""A copy of the project in a temporary folder, where a stage can run again without touching the user's own files.

It contains the code, dvc.yaml, params.yaml, and what the stage read according to dvc.lock. Neither DVC nor MLflow runs
there.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from segline.core import atomic, params, pipeline
from segline.core.errors import DataError, PipelineError
from segline.monitoring import mlflow_run, process
from segline.reproducibility import dvc_lock
from segline.reproducibility.dvc_lock import Stage
from segline.scheduling import nodes
from segline.scheduling.places import Place

# Whole folders: dvc.yaml leaves out code that cannot change an output. Stages read dvc.yaml itself to learn their code.
ALWAYS = ("segline", "stages", pipeline.FILE, str(params.FILE))
GONE = ("deleted", "not in cache")
HERE = Place()  # alone, in the terminal of the user
POLLED = 0.2  # seconds


def require_locked(root: Path, store: dvc_lock.Store, stages: Iterable[Stage]) -> None:
    """Raises DataError if code, parameters or results of the stages differ from what dvc.lock records."""
    done = dvc_lock.dvc(root, "status", "--json", *(stage.name for stage in stages))
    if done.returncode:
        reason = done.stderr.strip().removeprefix("ERROR: ") or "`dvc status` failed"
        raise DataError(root / dvc_lock.FILE, reason, "See `dvc status`.")
    status = json.loads(done.stdout)
    changes = {name: list(_changes(store, entries)) for name, entries in status.items()}
    if edited := [f"{name} ({', '.join(paths)})" for name, paths in changes.items() if paths]:
        remedy = "Run `make repro` first, or undo the edits; `dvc status` lists them."
        raise DataError(root / dvc_lock.FILE, f"does not match this folder: {', '.join(edited)}", remedy)


def _changes(store: dvc_lock.Store, entries: Sequence[Any]) -> Iterator[str]:
    """What `dvc status` lists for a stage, except results that are gone: they may still be in the cache."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for path, state in (item for paths in entry.values() for item in paths.items()):
            if isinstance(state, dict):  # parameters
                yield f"{path}: {', '.join(state)}"
            elif state not in GONE or not store.owner(path):
                yield path


def require_inputs(root: Path, store: dvc_lock.Store, runs: Iterable[Sequence[Stage]]) -> None:
    """Raises DataError if the bytes of something are lost that a run of stages reads and does not make itself."""
    wanted = {path for stages in runs for path in _inputs(store, stages)}
    if lost := sorted(path for path in wanted if not store.has(path)):
        remedy = "Run `dvc pull`; without a remote, `make repro` rebuilds them."
        raise DataError(root / dvc_lock.FILE, f"inputs are not in the cache: {', '.join(lost)}", remedy)


def _inputs(store: dvc_lock.Store, stages: Sequence[Stage]) -> set[str]:
    """The outputs of other stages that these read."""
    made = {path for stage in stages for path in stage.outputs}
    return {path for stage in stages for path in stage.inputs if store.owner(path) not in {None, *made}}


@contextmanager
def project(root: Path, store: dvc_lock.Store, stages: Sequence[Stage]) -> Iterator[Path]:
    """Yields the top folder of a copy with all that these stages read and do not make; it is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        clone = Path(folder, *root.absolute().parts[1:])  # as deep as the project, so that ../paths stay in the folder
        for name in ALWAYS:
            _copy(root / name, clone / name)
        for path in _inputs(store, stages):
            store.copy(path, clone / path)
        for path in {path for stage in stages for path in stage.inputs if store.owner(path) is None}:
            # Code is there already, and so is an absolute path; objects of a URL are fetched by their stage.
            if "://" not in path and not (clone / path).exists():
                _copy(root / path, clone / path)
        link_named(params.load(root / params.FILE), root, clone)
        yield clone


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def link_named(document: Mapping[str, Any], root: Path, clone: Path) -> None:
    """Links files that a parameter names and DVC does not track: archives and pretrained weights, checked by sha256."""
    for value in params.flat(document).values():
        # Unlike Path's own, isfile is False for a text too long for a file name, such as a signed URL.
        if isinstance(value, str) and os.path.isfile(root / value) and not (clone / value).exists():  # noqa: PTH113
            (clone / value).parent.mkdir(parents=True, exist_ok=True)
            (clone / value).symlink_to((root / value).absolute())


def run(clone: Path, stage: Stage, place: Place = HERE) -> None:
    """Runs the stage's command as DVC does, without tracking. Raises PipelineError if it fails, Stopped if told to end.

    What a quiet one says goes to a file beside the copy; its last line becomes part of the error.
    """
    for path in stage.outputs:
        atomic.remove(clone / path)
    python = str(Path(sys.executable).parent)
    # No other machine sees the copy, so the stage looks for no cluster.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", nodes.ADDRESS))}
    environment |= {"PATH": f"{python}{os.pathsep}{os.environ['PATH']}", mlflow_run.SWITCH: "off"}
    environment |= {process.PARENT: str(os.getpid()), **place.environment}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        output: dict[str, Any] = {"stdout": said, "stderr": subprocess.STDOUT} if place.quiet else {}
        options: dict[str, Any] = {"cwd": clone, "env": environment, "start_new_session": True, **output}
        shell = subprocess.Popen(stage.command, shell=True, **options)  # noqa: S602 - dvc.yaml is code
        try:
            status = _wait(shell, place)
        finally:
            # After Ctrl-C or SIGTERM: nothing may write into a folder that is about to be deleted.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
        said.seek(0)
        last = next((line for line in reversed(said.read().splitlines()) if line.strip()), "it said nothing")
    if status:
        problem = f"`{stage.command}` ended with exit code {status} in a copy of the project"
        raise PipelineError(stage.name, problem, f"It said: {last}" if place.quiet else "Its own message is above.")


def _wait(shell: subprocess.Popen[bytes], place: Place) -> int:
    """The exit code of the command."""
    while True:
        place.check()
        with suppress(subprocess.TimeoutExpired):
            return shell.wait(POLLED)
