"""The models of MLflow: logged in the run that trained them, registered once each, and named by an alias.

Only the child process of `mlflow_registry` imports it, since it imports MLflow. Answers are what JSON can hold.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModel, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Schema

from segline.core.errors import DataError, ParameterError, PipelineError
from segline.monitoring import mlflow_calls

MODEL, SERVED = "model.sha256", "served.sha256"  # tags of what is logged and registered
LOGGED = "onnx"  # the name of the model in its run
MAX_BYTES = 1 << 26  # of an artifact that is read
NOT_REGISTERED = {"version": None, "registered": False, "other": None}

# `image` holds bytes; `classes` is a list of images, these of rows, these of indices.
SIGNATURE = ModelSignature(
    Schema([ColSpec(DataType.binary, "image")]),
    Schema([ColSpec(Array(DataType.string), "names"), ColSpec(Array(Array(Array(DataType.integer))), "classes")]),
)


def log(
    uri: str, *, model_sha256: str, onnx: str, code: str, example: str, requirements: list[str], name: str | None
) -> dict[str, Any]:
    """Logs an ONNX file in the newest run of its model, and registers it under `name`; neither a second time.

    `code` is the file that MLflow runs, `example` an image in base64. Equal are file, code and requirements together;
    the run in the answer is that of the equal one, if there is one. Raises DataError if no run has this model.
    """
    mlflow.set_tracking_uri(uri)
    run = mlflow_calls.known_run(uri, model_sha256)
    if run is None:
        problem = f"no run has the tag {MODEL}={model_sha256}"
        raise DataError(onnx, problem, "Train the model with tracking on, or set MLFLOW_TRACKING_URI to where it was.")
    mlflow.set_experiment(experiment_id=run.info.experiment_id)  # else the model would belong to another one
    tags = {MODEL: model_sha256, SERVED: _digest(onnx, code, requirements)}
    known = _logged(uri, run.info.experiment_id, tags[SERVED])
    if known is None:
        model_id = _add(run.info.run_id, onnx, code=code, example=example, tags=tags, requirements=requirements)
    else:
        model_id, run = str(known.model_id), mlflow.MlflowClient(uri).get_run(str(known.source_run_id))
    answer = {"run": str(run.info.run_name), "logged": known is None}
    return {**answer, **(_registered(uri, name, model_id, tags) if name else NOT_REGISTERED)}


def _digest(onnx: str, code: str, requirements: list[str]) -> str:
    """Of all that decides what the served model answers."""
    files = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (onnx, code)]
    return hashlib.sha256("\n".join([*files, *sorted(requirements)]).encode()).hexdigest()


def _logged(uri: str, experiment: str, digest: str) -> LoggedModel | None:
    """The complete model of an experiment that has this digest."""
    found = mlflow.MlflowClient(uri).search_logged_models([experiment], filter_string=f"tags.`{SERVED}` = '{digest}'")
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def _add(run_id: str, onnx: str, *, code: str, example: str, requirements: list[str], tags: dict[str, str]) -> str:
    """The id of the new model. Unlike `mlflow.pyfunc.log_model` this leaves the status and the times of the run."""
    info = Model.log(
        artifact_path=None,
        name=LOGGED,
        flavor=mlflow.pyfunc,
        run_id=run_id,
        python_model=code,
        artifacts={"onnx": onnx},
        signature=SIGNATURE,
        input_example=pd.DataFrame({"image": [base64.b64decode(example)]}),
        pip_requirements=requirements,
        tags=tags,
    )
    return str(info.model_id)


def _registered(uri: str, name: str, model_id: str, tags: dict[str, str]) -> dict[str, Any]:
    """The version that has these tags, new if there is none; and the newest other one of the same model."""
    of_model = [version for version in _versions(uri, name) if version.tags.get(MODEL) == tags[MODEL]]
    same = [version for version in of_model if version.tags.get(SERVED) == tags[SERVED]]
    version = same[0] if same else mlflow.register_model(f"models:/{model_id}", name, tags=tags)
    others = [int(other.version) for other in of_model if other.version != version.version]
    return {"version": int(version.version), "registered": not same, "other": max(others, default=None)}


def _versions(uri: str, name: str) -> list[ModelVersion]:
    """All versions of a registered model, the newest first; empty if there is no such model."""
    found = mlflow.MlflowClient(uri).search_model_versions(f"name = '{name}'")
    return sorted(found, key=lambda version: int(version.version), reverse=True)


def sides(
    uri: str, *, name: str, version: int | None, alias: str, artifacts: list[str], folder: str
) -> dict[str, dict[str, Any] | None]:
    """The `candidate`, the newest version if None is named, and the `champion`, None without the alias.

    Their artifacts are copied to folders of these names in `folder`. Raises ParameterError for an unknown name or
    version, DataError if artifacts are missing or are not known to belong to the version's model.
    """
    mlflow.set_tracking_uri(uri)
    versions = {int(one.version): one for one in _versions(uri, name)}
    if not versions:
        known = ", ".join(model.name for model in mlflow.MlflowClient(uri).search_registered_models()) or "none"
        raise ParameterError(name, "no version is registered under this name", f"Registered are: {known}.")
    number = max(versions) if version is None else version
    if number not in versions:
        raise ParameterError(f"{name} version {number}", "no such version", f"There are {_listed(versions)}.")
    present = _aliased(uri, name, alias)
    places = {"candidate": number, "champion": present}
    return {
        place: None if one is None else _side(uri, versions[one], artifacts, Path(folder, place))
        for place, one in places.items()
    }


def _listed(versions: dict[int, ModelVersion]) -> str:
    return ", ".join(str(number) for number in sorted(versions))


def _aliased(uri: str, name: str, alias: str) -> int | None:
    """The version that has an alias; None if it is not set."""
    found = mlflow.MlflowClient(uri).get_registered_model(name).aliases.get(alias)
    return None if found is None else int(found)


def _side(uri: str, version: ModelVersion, artifacts: list[str], folder: Path) -> dict[str, Any]:
    where = f"{version.name} version {version.version}"
    model_sha256 = version.tags.get(MODEL)
    if model_sha256 is None:
        remedy = "Register a model with segline export --register, and name its version."
        raise DataError(where, f"no tag {MODEL}, so nothing ties scores to it", remedy)
    if not version.run_id:
        raise DataError(where, "no run", "Register it with segline export --register.")
    run = mlflow.MlflowClient(uri).get_run(version.run_id)
    if run.data.tags.get(MODEL) != model_sha256:
        raise DataError(where, f"its run {version.run_id} is of another model", "Register it again.")
    sizes = {file.path: file.file_size for file in mlflow.MlflowClient(uri).list_artifacts(version.run_id)}
    for artifact in artifacts:
        if artifact not in sizes:
            remedy = "Evaluate the model with tracking on: dvc repro --force --single-item evaluate"
            raise DataError(where, f"its run {version.run_id} has no {artifact}", remedy)
        if (sizes[artifact] or 0) > MAX_BYTES:
            raise DataError(where, f"{artifact} has {sizes[artifact]} bytes, expected at most {MAX_BYTES}", "Check it.")
        mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path=artifact, dst_path=str(folder))
    return {"version": int(version.version), "sha256": model_sha256}


def move(uri: str, *, name: str, alias: str, version: int, expected: int | None) -> None:
    """Gives the alias to a version. Raises PipelineError if meanwhile it is no longer that of `expected`."""
    mlflow.set_tracking_uri(uri)
    if (present := _aliased(uri, name, alias)) != expected:
        raise PipelineError(f"{name}@{alias}", f"meanwhile moved to version {present}", "Run it again.")
    try:
        mlflow.MlflowClient(uri).set_registered_model_alias(name, alias, str(version))
    except MlflowException as error:
        raise ParameterError("--alias", error.message, "Name another.") from None
