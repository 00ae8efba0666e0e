"""Models in MLflow: logged in their run and registered, in real SQLite stores, by the process that commands ask."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from segline.core.errors import ParameterError, PipelineError
from segline.inference import mlflow_model
from segline.monitoring import mlflow_registry, mlflow_run
from tests import served, servers
from tests.contract.closure import ROOT

MODEL, OTHER = "a" * 64, "b" * 64
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder without a store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", mlflow_run.SWITCH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a training of MODEL and one of OTHER, from which tests start."""
    root = tmp_path_factory.mktemp("st\u00f6re 1")
    home = client(root / "mlflow.db").create_experiment("segline", artifact_location=(root / "mlruns").as_uri())
    for model in (MODEL, OTHER):
        run = client(root / "mlflow.db").create_run(home, run_name="unet 1234567", tags={"model.sha256": model})
        client(root / "mlflow.db").set_terminated(run.info.run_id, "FAILED")
    return root / "mlflow.db"


def client(store: Path) -> Any:
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{store}")


def models(store: Path) -> list[Any]:
    """All that are logged, the oldest first."""
    experiment = client(store).get_experiment_by_name("segline").experiment_id
    return sorted(client(store).search_logged_models([experiment]), key=lambda model: model.creation_timestamp)


def versions(store: Path, name: str) -> list[tuple[int, str]]:
    found = client(store).search_model_versions(f"name = '{name}'")
    return sorted((int(one.version), one.tags["model.sha256"]) for one in found)


@pytest.mark.slow
def test_a_model_is_logged_in_the_run_that_trained_it_and_registered_once(folder, template, capsys):
    store = shutil.copy(template, folder / "mlflow.db")
    (before,) = client(store).search_runs(["1"], f"tags.`model.sha256` = '{MODEL}'")
    onnx = served.write_onnx(folder / "model.onnx", MODEL)
    for name in (None, "streets", "streets"):
        mlflow_model.log(onnx, name)
    mlflow_model.log(served.write_onnx(folder / "other.onnx", OTHER), "streets")
    for _ in range(2):
        mlflow_model.log(served.write_onnx(folder / "again.onnx", MODEL, channels=1), "streets")
    mlflow_model.log(onnx, "streets")

    run = before.info.run_name
    assert capsys.readouterr().out.splitlines() == [
        f"export: {onnx} is a model of the run {run} in MLflow",
        f"export: {onnx} is already a model of the run {run} in MLflow",
        "export: streets version 1",
        f"export: {onnx} is already a model of the run {run} in MLflow",
        "export: streets version 1, as before: this export has that version already",
        f"export: {folder / 'other.onnx'} is a model of the run {run} in MLflow",
        "export: streets version 2",
        f"export: {folder / 'again.onnx'} is a model of the run {run} in MLflow",
        "export: streets version 3: the model of version 1, exported or served otherwise",
        f"export: {folder / 'again.onnx'} is already a model of the run {run} in MLflow",
        "export: streets version 3, as before: this export has that version already",
        f"export: {onnx} is already a model of the run {run} in MLflow",
        "export: streets version 1, as before: this export has that version already",
    ]
    assert [(1, MODEL), (2, OTHER), (3, MODEL)] == versions(store, "streets")
    assert [MODEL, OTHER, MODEL] == [model.tags["model.sha256"] for model in models(store)]
    first = models(store)[0]
    assert before.info.run_id == first.source_run_id
    after = client(store).get_run(before.info.run_id)
    assert (before.info.status, before.info.end_time) == (after.info.status, after.info.end_time)
    assert len(after.outputs.model_outputs) == 2
    check_files(Path(first.artifact_location.removeprefix("file://").replace("%C3%B6", "\u00f6").replace("%20", " ")))


def check_files(model: Path) -> None:
    """Nothing is pickled; the requirements are those of constraints.txt; it runs without torch and this project."""
    names = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    own = ["MLmodel", "artifacts/model.onnx", "served_model.py"]
    examples = ["input_example.json", "serving_input_example.json"]
    assert sorted([*own, *examples, "conda.yaml", "python_env.yaml", "requirements.txt"]) == names
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    required = (model / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert {"mlflow", "numpy", "onnxruntime", "pandas", "pillow"} == {line.partition("==")[0] for line in required}
    assert set(required) <= set(constraints)
    program = (
        "import json, sys, mlflow.pyfunc, mlflow.models\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "answer = model.predict(model.input_example)\n"
        "imported = {name.partition('.')[0] for name in sys.modules}\n"
        "print(json.dumps([answer['names'], answer['classes'][0].shape, sorted(imported & {'torch', 'segline'})]))"
    )
    command = [sys.executable, "-I", "-W", "ignore", "-c", program, str(model)]
    done = subprocess.run(command, cwd=model.parent, capture_output=True, text=True, check=True)
    assert [list(served.NAMES), [48, 64], []] == json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["code", "requirements"])
def test_the_same_file_with_other_code_or_requirements_is_a_new_version(folder, template, monkeypatch, capsys, changed):
    shutil.copy(template, folder / "mlflow.db")
    onnx = served.write_onnx(folder / "model.onnx", MODEL)
    mlflow_model.log(onnx, "streets")
    code = folder / "served_model.py"
    code.write_text(mlflow_model.CODE.read_text(encoding="utf-8") + "# a fix\n", encoding="utf-8")
    if changed == "code":
        monkeypatch.setattr(mlflow_model, "CODE", code)
    else:
        monkeypatch.setattr(mlflow_model, "PACKAGES", mlflow_model.PACKAGES[:-1])
    mlflow_model.log(onnx, "streets")

    assert "streets version 2: the model of version 1, exported or served otherwise" in capsys.readouterr().out
    first, second = models(folder / "mlflow.db")
    assert first.tags["served.sha256"] != second.tags["served.sha256"]


@pytest.mark.slow
def test_a_file_that_an_earlier_run_has_is_said_to_be_there(folder, template, capsys):
    """The same bytes were trained twice: scores are looked for in the run that has the file."""
    store = shutil.copy(template, folder / "mlflow.db")
    onnx = served.write_onnx(folder / "model.onnx", MODEL)
    mlflow_model.log(onnx, None)
    client(store).create_run("1", run_name="unet again", tags={"model.sha256": MODEL})
    mlflow_model.log(onnx, "streets")

    assert f"{onnx} is already a model of the run unet 1234567 in MLflow\n" in capsys.readouterr().out
    (version,) = client(store).search_model_versions("name = 'streets'")
    assert version.run_id == models(store)[0].source_run_id


@pytest.mark.slow
def test_without_a_run_of_that_model_nothing_is_logged(folder, template):
    store = Path(shutil.copy(template, folder / "mlflow.db"))
    onnx = served.write_onnx(folder / "model.onnx", "c" * 64)
    problem = f"{onnx}: no run has the tag model.sha256={'c' * 64}. Train the model with tracking on, or set MLFLOW_TR"

    with pytest.raises(PipelineError, match=re.escape(problem)):
        mlflow_model.log(onnx, "streets")
    assert [] == models(store)
    assert [] == versions(store, "streets")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [servers.DOWN, servers.SILENT, servers.BROKEN, servers.LOG_IN])
def test_a_server_that_is_away_costs_one_line_and_the_seconds_of_one_request(folder, monkeypatch, kind):
    onnx = served.write_onnx(folder / "model.onnx", MODEL)
    with servers.outage(kind) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
        with pytest.raises(PipelineError) as failed:
            mlflow_model.log(onnx, "streets")

    assert str(failed.value).startswith(f"MLflow at http://{address}: ")
    assert "no answer within" not in str(failed.value), "MLflow waits for 4 s, and does not ask again"
    assert "secret" not in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_server_that_takes_too_long_is_given_up(folder, monkeypatch):
    monkeypatch.setattr(mlflow_registry, "PATIENCE", 0.5)
    with servers.outage(servers.SILENT) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
        with pytest.raises(PipelineError, match=r"no answer within 0\.5 s"):
            mlflow_registry.move("streets", "champion", 1, None)


def test_without_a_store_none_is_made(folder):
    onnx = served.write_onnx(folder / "model.onnx", MODEL)

    with pytest.raises(PipelineError, match=r"mlflow\.db: no such database\. Train a model with tracking on"):
        mlflow_model.log(onnx, None)
    assert [onnx] == list(folder.iterdir())


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "a'b", "a\nb", "x" * 101, "\u00e4"])
def test_a_name_that_a_query_could_misread_is_refused(folder, name):
    onnx = served.write_onnx(folder / "model.onnx", MODEL)

    with pytest.raises(ParameterError, match="--register: expected letters, digits, spaces, dots, dashes and undersc"):
        mlflow_model.log(onnx, name)
    with pytest.raises(ParameterError, match="NAME: expected letters"):
        mlflow_registry.sides(name, None, "champion", [], folder)
    with pytest.raises(ParameterError, match="--alias: expected letters"):
        mlflow_registry.sides("streets", None, name, [], folder)


@pytest.mark.parametrize(("name", "dtype", "channels"), [("uint8", "uint8", 3), ("uint16", "uint16", 5)])
def test_the_example_is_an_image_that_the_model_takes(name, dtype, channels):
    import numpy as np

    content = mlflow_model.example_image(np.dtype(dtype), channels)

    assert content.startswith(b"\x89PNG" if name == "uint8" else b"\x93NUMPY")
