"""What a run leaves in MLflow, read back from the default store, and shown by `mlflow ui`."""

import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch

from tests.e2e.project import Project, leaves, stages_run

# Importing MLflow and reading SQLite through it warns of things that are not ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Store:
    """The runs in a project's mlflow.db."""

    def __init__(self, project: Project) -> None:
        import mlflow

        self.client = mlflow.MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
        self.experiment = self.client.get_experiment_by_name("segline").experiment_id
        self.runs = self.client.search_runs([self.experiment], order_by=["attributes.start_time ASC"])

    def history(self, run: Any, metric: str) -> list[tuple[int, float]]:
        """Step and value of every point."""
        points = self.client.get_metric_history(run.info.run_id, metric)
        return sorted((point.step, round(point.value, 6)) for point in points)


@pytest.fixture(scope="module")
def store(tracked: Project) -> Store:
    return Store(tracked)


@pytest.fixture(scope="module")
def run(store: Store) -> Any:
    """The only run: train opened it, evaluate and plot found it by the hash of the model."""
    (found,) = store.runs
    return found


def sha256(path: Path) -> str:
    """Of a file; of a folder that of its sorted lines `name hash`."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = [file for file in path.rglob("*") if file.is_file()]
    lines = sorted(f"{file.relative_to(path).as_posix()} {sha256(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_every_parameter_is_logged_under_its_dotted_key(tracked, run):
    expected = leaves(tracked.parameters())

    assert {key: v if isinstance(v, str) else json.dumps(v) for key, v in expected.items()} == run.data.params


@pytest.mark.parametrize("metric", ["learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou"])
def test_a_curve_is_that_of_the_history_with_one_step_an_epoch(tracked, store, run, metric):
    rows = csv.DictReader(io.StringIO(tracked.read("metrics/history.csv")))

    assert [(int(row["epoch"]), float(row[metric])) for row in rows] == store.history(run, metric)


def test_throughput_is_logged_each_epoch(store, run):
    speeds = store.history(run, "images_per_second")

    assert [1, 2] == [step for step, _ in speeds]
    assert min(speed for _, speed in speeds) > 0


def test_the_machine_is_sampled(store, run):
    """At the start and at the end at least, however short the training."""
    assert len(store.history(run, "system/cpu_utilization_percentage")) >= 2
    assert len(store.history(run, "system/system_memory_usage_megabytes")) >= 2


def test_the_run_says_what_made_it(tracked, run):
    """Code, inputs and machine: all that decides the bytes of the model, whose hash is there as well."""
    tags = run.data.tags
    made_by = {"dvc.stage": "train", "git.commit": tracked.git("rev-parse", "HEAD~1").strip(), "git.dirty": "false"}
    machine = {"device": "cpu", "torch": torch.__version__, "threads": "1"}
    files = {
        "model.sha256": "models/model.safetensors",
        "input.train": "data/processed/train",
        "input.val": "data/processed/val",
        "evaluate.input.processed": "data/processed/test",
        "evaluate.input.raw": "data/raw/test",
        "evaluate.input.model": "models/model.safetensors",
        "plot.input.processed": "data/processed/test",
        "plot.input.predictions": "data/predictions",
        "plot.input.augmented": "data/augmented",
        "plot.input.model": "models/model.safetensors",
        "plot.input.history": "metrics/history.csv",
        **{f"plot.input.{name}": f"metrics/{name}.json" for name in ("train", "eval", "confusion")},
        **{f"plot.input.{name}": f"metrics/{name}.csv" for name in ("per_class", "per_image")},
    }
    scored_on = {f"evaluate.{name}": fact for name, fact in machine.items()}
    expected = made_by | machine | scored_on | {tag: sha256(tracked.root / path) for tag, path in files.items()}

    assert expected == {tag: tags.get(tag) for tag in expected}
    assert {tag for tag in files if "input." in tag} == {tag for tag in tags if "input." in tag}
    assert tags["cpu_capability"]
    assert ("FINISHED", "FINISHED") == (tags["evaluate.status"], tags["plot.status"])
    assert "FINISHED" == run.info.status


def test_the_scores_stand_on_the_same_run_under_the_name_of_their_split(tracked, run):
    scores = leaves(json.loads(tracked.read("metrics/eval.json")))
    expected = {f"test.{key}": value for key, value in scores.items() if isinstance(value, int | float)}

    assert "test.miou" in expected
    assert expected == {key: round(v, 6) for key, v in run.data.metrics.items() if key.startswith("test.")}


def test_results_are_kept_with_the_run(tracked, run):
    """Parameters, numbers, report, model card and pictures, byte for byte."""
    results = [path for path in tracked.locked() if path.startswith("metrics/")]
    expected = {Path(path).name: sha256(tracked.root / path) for path in ["params.yaml", "models/README.md", *results]}
    folder = tracked.root / "mlruns" / run.info.run_id / "artifacts"

    assert {"params.yaml", "report.html", "sheet.png", "loss.png", "confusion.png", "eval.json"} <= expected.keys()
    assert expected == {path.name: sha256(path) for path in folder.iterdir()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch built for CUDA")
def test_a_gpu_trains_the_same_model_twice_and_is_described(fresh):
    wanted = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
    machine = {name: os.environ[name] for name in wanted if name in os.environ} | {"SEGLINE_DEVICE": "cuda"}
    models = []
    for arguments in (["train"], ["--single-item", "--force", "train"]):
        output = fresh.dvc("repro", *arguments, SEGLINE_TRACKING="on", **machine)
        assert "train" == stages_run(output)[-1]
        models.append((fresh.root / "models/model.safetensors").read_bytes())
    store = Store(fresh)

    assert models[0] == models[1]
    assert Counter(cuda=2) == Counter(run.data.tags["device"] for run in store.runs)
    for run in store.runs:
        assert torch.cuda.get_device_name() == run.data.tags["gpu/name"]
        assert run.data.metrics["gpu/peak_memory_mb"] > 0
        assert [name for name in run.data.metrics if name.startswith("system/gpu_0_")]


@pytest.fixture
def page(tracked: Project, tmp_path: Path) -> Iterator[str]:
    """The address at which MLflow shows a copy of the store. All processes have ended when the test has."""
    project = tracked.copy(tmp_path / "my pr\u00f6ject")
    command = ["python", "-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///mlflow.db", "--port", "0"]
    log = tmp_path / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=project.root,
            env={**project.environment, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield _address(server, log)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(30)
        with suppress(ProcessLookupError):  # they all went by themselves
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 90
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.2)
    raise AssertionError(f"mlflow ui does not run:\n{log.read_text(encoding='utf-8')}")


def test_mlflow_ui_shows_the_experiment(page):
    """What `make ui` starts, on a free port."""
    search = Request(f"{page}/ajax-api/2.0/mlflow/experiments/search", b'{"max_results": 10}')
    search.add_header("Content-Type", "application/json")
    with urlopen(search, timeout=60) as answer:
        names = {experiment["name"] for experiment in json.load(answer)["experiments"]}
    with urlopen(f"{page}/", timeout=60) as answer:
        status, content = answer.status, answer.read()

    assert "segline" in names
    assert 200 == status
    assert b"<title>MLflow</title>" in content
