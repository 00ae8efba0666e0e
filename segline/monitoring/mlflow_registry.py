"""Models in MLflow, asked for by a command: it waits for the answer, and fails without one.

MLflow works in a process of its own (`mlflow_registry_calls`), which is ended when its time is up.
"""

import json
import re
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segline.core.errors import ParameterError, PipelineError
from segline.monitoring import mlflow_run, mlflow_worker

PATIENCE = 300.0  # for everything, uploads too; a request without an answer ends it after 4 s, as in `mlflow_run`
NAME = re.compile(r"[\w.-][\w .-]{0,99}", re.ASCII)
REMEDY = "Check MLFLOW_TRACKING_URI and that it answers (SEGLINE_DEBUG=1 shows what MLflow says)."
# Bytecode would become a part of the model, as MLflow imports its code where it copies it from.
CHILD = {"MLFLOW_UV_AUTO_DETECT": "false", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Logged:
    """What `log` did. `run` is the name of the run that has the file; `version` is None if none was asked for.

    `other` is the newest other version of the same model, with another file, code or requirements; None without one.
    """

    run: str
    logged: bool
    version: int | None
    registered: bool
    other: int | None


@dataclass(frozen=True)
class Version:
    """A registered version, the hash of its model file, and a folder with copies of artifacts of its run."""

    version: int
    sha256: str
    folder: Path


def log(
    onnx: Path, model_sha256: str, *, code: Path, example: bytes, requirements: Sequence[str], name: str | None
) -> Logged:
    """Logs an ONNX file in the newest run of its model, and registers it under `name`; neither a second time.

    `code` is the file that MLflow runs, `example` the bytes of an image. With other code or requirements the same file
    is another one. Raises PipelineError if no run has this model or MLflow does not do it.
    """
    if name is not None:
        require_name("--register", name)
    paths = {"onnx": str(onnx.absolute()), "code": str(code.absolute())}
    encoded = b64encode(example).decode()
    done = _ask("log", **paths, model_sha256=model_sha256, example=encoded, requirements=[*requirements], name=name)
    return Logged(**done)


def sides(
    name: str, version: int | None, alias: str, artifacts: Sequence[str], folder: Path
) -> tuple[Version, Version | None]:
    """A version, the newest if None is named, and the one that has the alias; with these artifacts of their runs.

    Raises PipelineError for an unknown name or version, for artifacts that are missing or of another model, and if
    MLflow does not answer.
    """
    require_name("NAME", name)
    require_name("--alias", alias)
    where = {"artifacts": [*artifacts], "folder": str(folder.absolute())}
    known = _ask("sides", name=name, version=version, alias=alias, **where)
    candidate, champion = (known[place] and Version(**known[place], folder=folder / place) for place in known)
    return candidate, champion


def move(name: str, alias: str, version: int, expected: int | None) -> None:
    """Gives the alias to a version, provided it is still that of `expected`. Raises PipelineError otherwise."""
    _ask("move", name=name, alias=alias, version=version, expected=expected)


def require_name(where: str, name: str) -> None:
    """Raises ParameterError for a name that a registry, or the query that asks for it, could misread."""
    if not NAME.fullmatch(name):
        problem = f"expected letters, digits, spaces, dots, dashes and underscores, got {name!r}"
        raise ParameterError(where, problem, "Write, for example, streets.")


def _ask(call: str, **arguments: Any) -> Any:
    uri = mlflow_run.store()
    where = f"MLflow at {mlflow_run.without_secrets(uri)}"
    database = mlflow_run.database(uri)
    if database is not None and not database.exists():
        raise PipelineError(where, "no such database", "Train a model with tracking on, or set MLFLOW_TRACKING_URI.")
    content = json.loads(_output(where, {"call": call, "uri": uri, **arguments}))
    if "problem" in content:
        problem = mlflow_run.without_secrets(content["problem"]).rstrip(". ")
        raise PipelineError(content.get("where", where), problem, content.get("remedy", REMEDY))
    return content["answer"]


def _output(where: str, question: dict[str, Any]) -> str:
    """What the child process answers."""
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        try:
            return subprocess.run(
                [sys.executable, "-m", "segline.monitoring.mlflow_registry"],
                input=json.dumps(question),  # not an argument, which other users could read: it may contain a password
                stdout=subprocess.PIPE,
                stderr=mlflow_run.errors(),
                env=mlflow_run.environment() | {"TMPDIR": folder} | CHILD,
                encoding="utf-8",
                timeout=PATIENCE,
                check=True,
            ).stdout
        except subprocess.TimeoutExpired:
            raise PipelineError(where, f"no answer within {PATIENCE:g} s", REMEDY) from None
        except (OSError, subprocess.SubprocessError) as error:
            raise PipelineError(where, f"its process failed ({error})", REMEDY) from None


def answer(call: str, **arguments: Any) -> dict[str, Any]:
    """What `mlflow_registry_calls` answers, or why it does not. Imports MLflow."""
    try:
        from segline.monitoring import mlflow_registry_calls  # noqa: PLC0415 - MLflow takes seconds, may be missing

        return {"answer": getattr(mlflow_registry_calls, call)(**arguments)}
    except PipelineError as error:
        return {"where": error.where, "problem": error.problem, "remedy": error.remedy}
    except Exception as error:  # noqa: BLE001 - MLflow and its plugins raise anything
        return {"problem": mlflow_worker.reason(error)}


def main() -> None:
    """The child process: the name of a call and its arguments on standard input, its answer on standard output."""
    question = json.load(sys.stdin)
    with redirect_stdout(sys.stderr):
        content = answer(**question)
    sys.stdout.write(json.dumps(content))


if __name__ == "__main__":
    main()
