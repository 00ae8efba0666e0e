"""MLflow only observes: real SQLite stores, real servers that misbehave, real child processes that are killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock, Timeout

from segline.core import atomic
from segline.core.errors import ParameterError
from segline.monitoring import mlflow_run, mlflow_worker
from tests import servers

PARAMS = {"model": {"name": "unet", "unet": {"width": 8}}, "train": {"learning_rate": 1e-5, "size": [3, 4]}}
SOURCE = Path(__file__).parents[2]
Start = Callable[[str], subprocess.Popen[str]]
# Importing MLflow and reading SQLite through it warns of things that are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, created once: the tables cost seconds. Artifacts of all its copies go beside the original."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv(mlflow_run.SWITCH, raising=False)
        mlflow_run.prepare()
    return folder / "mlflow.db"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder to stand in, with params.yaml and without a store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "DVC_EXP_NAME", mlflow_run.SWITCH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("train: {learning_rate: 1e-5}\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def project(bare: Path, template: Path) -> Path:
    """A project folder with an empty store."""
    shutil.copy(template, bare / "mlflow.db")
    return bare


def client() -> Any:
    import mlflow

    return mlflow.MlflowClient(mlflow_run.store())


def runs() -> list[Any]:
    """All runs in the store, the oldest first."""
    experiments = [experiment.experiment_id for experiment in client().search_experiments()]
    return list(client().search_runs(experiments, order_by=["attributes.start_time ASC"]))


def warnings(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of standard error; nothing may ever stand on standard output."""
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def workers() -> list[psutil.Process]:
    """The children that log; earlier tests may have left others, such as the resource tracker of multiprocessing."""
    return [child for child in psutil.Process().children() if "segline.monitoring.mlflow_worker" in child.cmdline()]


def until(condition: Any, seconds: float = 120) -> bool:
    """True as soon as `condition()` is, False if it is not within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def train(model: bytes = b"weights", epochs: int = 3) -> None:
    with mlflow_run.run(stage="train", inputs={}, params=PARAMS) as run:
        for epoch in range(epochs):
            run.metrics({"train_loss": 1 / (epoch + 1)}, step=epoch)
        run.tags({"model.sha256": sha256(model).hexdigest()})


@pytest.mark.slow
def test_a_training_run_can_be_read_back(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Parameters flat, one point an epoch at its step, hashes of inputs, files, and two samples of the machine."""
    (project / "data").mkdir()
    (project / "data" / "images.npy").write_bytes(b"pixels")
    (project / "history.csv").write_text("epoch\n0\n", encoding="utf-8")
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setenv("DVC_EXP_NAME", "puny-axle")

    inputs = {"data/processed/train": project / "data", "params": project / "params.yaml"}
    with mlflow_run.run(stage="train", inputs=inputs, params=PARAMS) as run:
        for epoch in range(3):
            run.metrics({"train_loss": 1 / (epoch + 1), "val": {"miou": 0.5, "iou": None}}, step=epoch)
        run.tags({"model.sha256": "abc"})
        run.artifacts([project / "history.csv"])

    (logged,) = runs()
    expected = {"model.name": "unet", "model.unet.width": "8", "train.learning_rate": "1e-05", "train.size": "[3, 4]"}
    assert logged.data.params == expected
    assert logged.info.status == "FINISHED"
    assert logged.info.run_name == "unet puny-axle"
    history = client().get_metric_history(logged.info.run_id, "train_loss")
    assert [(point.step, round(point.value, 2)) for point in history] == [(0, 1.0), (1, 0.5), (2, 0.33)]
    assert logged.data.metrics["val.miou"] == 0.5
    assert "val.iou" not in logged.data.metrics
    tags = logged.data.tags
    line = f"images.npy {sha256(b'pixels').hexdigest()}\n"
    assert tags["input.data/processed/train"] == sha256(line.encode()).hexdigest()
    assert tags["input.params"] == sha256((project / "params.yaml").read_bytes()).hexdigest()
    assert (tags["dvc.stage"], tags["dvc.exp_name"], tags["model.sha256"]) == ("train", "puny-axle", "abc")
    assert {file.path for file in client().list_artifacts(logged.info.run_id)} == {"params.yaml", "history.csv"}
    assert len(client().get_metric_history(logged.info.run_id, "system/cpu_utilization_percentage")) >= 2
    assert warnings(capfd) == []


NAMES = ["a(b", "a)b", "a_b", "a/b", "a//b", "a/./b", "/../../b", "x" * 300, "x" * 301, "x" * 302 + "("]


@pytest.mark.slow
def test_names_that_mlflow_would_not_tell_apart_get_keys_of_their_own(project: Path, capfd: Any) -> None:
    """Metrics, params and tags alike; the key of a name that MLflow accepts is the name."""
    with mlflow_run.run(stage="train", inputs={}, params={"merge": {name: [name] for name in NAMES}}) as run:
        run.metrics({"iou": {name: place for place, name in enumerate(NAMES)}})
        run.tags({f"tag.{name}": name for name in NAMES})

    (logged,) = runs()
    metrics = {key: value for key, value in logged.data.metrics.items() if key.startswith("iou.")}
    tags = {key: value for key, value in logged.data.tags.items() if key.startswith("tag.")}
    assert sorted(metrics.values()) == list(range(len(NAMES)))
    assert sorted(logged.data.params.values()) == sorted(json.dumps([name]) for name in NAMES)
    assert sorted(tags.values()) == sorted(NAMES)
    assert {"iou.a_b", "iou.a/b"} <= metrics.keys()
    assert warnings(capfd) == []


# What NVIDIA's library says of one GPU, as MLflow's monitor asks.
NVML = """
from types import SimpleNamespace

class NVMLError(Exception): pass

def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetMemoryInfo(handle): return SimpleNamespace(used=20e9, total=80e9)
def nvmlDeviceGetUtilizationRates(handle): return SimpleNamespace(gpu=93)
def nvmlDeviceGetPowerUsage(handle): return 350_000
def nvmlDeviceGetEnforcedPowerLimit(handle): return 700_000
"""


@pytest.mark.slow
def test_a_gpu_is_sampled_as_the_rest_of_the_machine_is(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """A library of the same functions stands in for NVIDIA's where there is no GPU to ask."""
    library = tmp_path_factory.mktemp("nvml")
    (library / "pynvml.py").write_text(NVML, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(library))
    with mlflow_run.run(stage="train", inputs={}, params=PARAMS) as run:
        run.tags({"gpu/name": "one"})
        run.metrics({"gpu/peak_memory_mb": 1.5}, step=1)
        time.sleep(2 * mlflow_worker.SAMPLE_SECONDS)
    [logged] = runs()
    series = client().get_metric_history(logged.info.run_id, "system/gpu_0_utilization_percentage")
    shown = {name: value for name, value in logged.data.metrics.items() if "gpu" in name}

    assert {93.0} == {point.value for point in series}
    assert len(series) >= 2
    assert "one" == logged.data.tags["gpu/name"]
    assert shown == {
        "gpu/peak_memory_mb": 1.5,
        "system/gpu_0_memory_usage_megabytes": 20_000,
        "system/gpu_0_memory_usage_percentage": 25,
        "system/gpu_0_power_usage_percentage": 50,
        "system/gpu_0_power_usage_watts": 350,
        "system/gpu_0_utilization_percentage": 93,
    }
    assert warnings(capfd) == []


@pytest.mark.slow
def test_a_gpu_that_stops_answering_costs_its_samples_and_a_warning(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    library = tmp_path_factory.mktemp("nvml")
    lost = "def nvmlDeviceGetMemoryInfo(handle): raise RuntimeError('GPU is lost')"
    (library / "pynvml.py").write_text(f"{NVML}\n{lost}", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(library))
    train()
    [logged] = runs()

    assert "FINISHED" == logged.info.status
    assert "train_loss" in logged.data.metrics
    assert "model.sha256" in logged.data.tags
    assert [] == [name for name in logged.data.metrics if name.startswith("system/gpu")]
    assert "system/cpu_utilization_percentage" in logged.data.metrics
    [warning] = warnings(capfd)
    assert "GPUMonitor fails and is left out: GPU is lost" in warning


@pytest.mark.slow
def test_evaluation_adds_to_the_newest_run_of_its_model(project: Path, capfd: Any) -> None:
    """It may run twice with other parameters, and its failure is not the training's."""
    model = project / "model.safetensors"
    model.write_bytes(b"weights")
    train(epochs=1)
    train(epochs=2)
    train(b"other weights")

    with mlflow_run.run(stage="evaluate", inputs={}, params={"evaluate": {"flip": False}}, model=model) as run:
        run.metrics({"test": {"miou": 0.25, "iou": {"Road & Lane (100%)": 0.75, "Road": 0.5}}})
    with (
        pytest.raises(ZeroDivisionError),
        mlflow_run.run(
            stage="evaluate", inputs={"model": model}, params={"evaluate": {"flip": True}}, model=model
        ) as run,
    ):
        run.metrics({"test": {"miou": 0.5 / 0}})

    older, joined, other = runs()
    assert "test.miou" not in {**older.data.metrics, **other.data.metrics}
    assert joined.data.metrics["test.miou"] == 0.25
    assert joined.data.metrics["test.iou.Road _ Lane _100___e2fb8112"] == 0.75
    assert joined.data.metrics["test.iou.Road"] == 0.5
    assert joined.info.status == "FINISHED"
    assert joined.data.tags["evaluate.status"] == "FAILED"
    assert joined.data.tags["evaluate.flip"] == "true"
    assert joined.data.tags["evaluate.input.model"] == sha256(b"weights").hexdigest()
    assert warnings(capfd) == []


@pytest.mark.slow
def test_evaluation_of_an_unknown_model_opens_a_run_that_the_plots_join(project: Path) -> None:
    """A model restored from the run-cache, or trained on another machine, has no run here."""
    model = project / "model.safetensors"
    model.write_bytes(b"weights")
    for stage, value in (("evaluate", 0.25), ("plot", 0.5)):
        with mlflow_run.run(stage=stage, inputs={}, params={}, model=model) as run:
            run.metrics({stage: value})

    (logged,) = runs()
    assert logged.data.metrics == {"evaluate": 0.25, "plot": 0.5}
    assert logged.data.tags["model.sha256"] == sha256(b"weights").hexdigest()
    assert logged.info.run_name == "evaluate"


@pytest.mark.slow
@pytest.mark.parametrize(("error", "status"), [(ZeroDivisionError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_exception_goes_on_and_marks_the_run(project: Path, error: type[BaseException], status: str) -> None:
    """What was logged before it is kept."""

    def stage() -> None:
        with mlflow_run.run(stage="train", inputs={}, params={}) as run:
            run.metrics({"train_loss": 1.0})
            raise error

    with pytest.raises(error):
        stage()

    (logged,) = runs()
    assert (logged.info.status, logged.data.metrics["train_loss"]) == (status, 1.0)


@pytest.fixture(params=[servers.DOWN, servers.SILENT, servers.BROKEN, servers.LOG_IN])
def outage(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a tracking server that is none."""
    with servers.outage(request.param) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 4], ids=["short stage", "longer stage"])
def test_an_outage_costs_less_than_10_seconds_and_one_warning(
    bare: Path, outage: str, seconds: float, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """The bound is 8 s of waiting; the rest is room for a busy machine. No password reaches the terminal."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://somebody:secret@{outage}")

    start = time.monotonic()
    with mlflow_run.run(stage="train", inputs={"data": bare}, params=PARAMS) as run:
        run.metrics({"train_loss": 1.0})
        time.sleep(seconds)
        run.artifacts([bare / "params.yaml"])
        result = 41 + 1
    added = time.monotonic() - start - seconds

    assert result == 42
    assert added < 10
    (line,) = warnings(capfd)
    assert line.startswith(f"warning: MLflow at http://{outage}: ")
    assert "secret" not in line


@pytest.mark.slow
def test_a_store_that_comes_back_gets_everything(bare: Path, template: Path, capfd: Any) -> None:
    """Nothing is lost while the stage goes on: the child keeps what it could not log."""
    database = bare / "mlflow.db"
    database.mkdir()  # SQLite cannot open a folder

    with mlflow_run.run(stage="train", inputs={}, params=PARAMS) as run:
        for epoch in range(3):
            run.metrics({"train_loss": float(epoch)}, step=epoch)
        # A warning waits for the stage's next word.
        warned = until(lambda: run.tags({"note": "x"}) or "unable to open database file" in capfd.readouterr().err)
        shutil.copy(template, bare / "copy.db")
        database.rmdir()
        (bare / "copy.db").rename(database)

    assert warned
    (logged,) = runs()
    assert [point.step for point in client().get_metric_history(logged.info.run_id, "train_loss")] == [0, 1, 2]
    assert logged.info.status == "FINISHED"
    assert warnings(capfd) == []


@pytest.mark.slow
def test_what_the_store_refuses_does_not_take_the_rest_along(project: Path, capfd: Any) -> None:
    """A file that is not there is one warning; what comes after it is logged."""
    with mlflow_run.run(stage="train", inputs={"gone": project / "gone"}, params={}) as run:
        run.artifacts([project / "gone.png", project / "params.yaml"])
        run.metrics({"train_loss": 1.0})

    (logged,) = runs()
    assert logged.data.metrics["train_loss"] == 1.0
    assert [file.path for file in client().list_artifacts(logged.info.run_id)] == ["params.yaml"]
    (line,) = warnings(capfd)
    assert "gone.png" in line


def test_without_mlflow_the_work_goes_on(bare: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """One warning that names what is missing."""
    (bare / "mlflow.py").write_text("raise ImportError('No module named mlflow')\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(bare))

    with mlflow_run.run(stage="train", inputs={}, params={}) as run:
        run.metrics({"train_loss": 1.0})

    (line,) = warnings(capfd)
    assert "No module named mlflow" in line


def test_a_child_that_dies_is_one_warning(bare: Path, capfd: Any) -> None:
    """As the kernel does it when memory runs out."""
    with mlflow_run.run(stage="train", inputs={}, params={}) as run:
        (worker,) = workers()
        worker.kill()
        for epoch in range(1000):
            run.metrics({"train_loss": 1.0}, step=epoch)

    (line,) = warnings(capfd)
    assert "stopped before everything was logged" in line


def test_a_child_that_stands_still_delays_nothing_but_the_end(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """Ten times what fits into a pipe is sent without waiting, and the end waits as long as it says.

    A message that waited would do so until the child goes on after 30 s; the patience is 60 s where nobody sets it.
    """
    monkeypatch.setattr(mlflow_run, "LOCAL_PATIENCE", 1)

    with mlflow_run.run(stage="train", inputs={}, params={}) as run:
        (worker,) = workers()
        worker.suspend()
        rescue = threading.Timer(30, worker.resume)
        rescue.start()
        start = time.monotonic()
        for _ in range(10):
            run.tags({"note": "x" * (1 << 16)})
        told = time.monotonic()
    closed = time.monotonic()
    rescue.cancel()

    assert told - start < 10
    assert 1 <= closed - told < 20
    assert not worker.is_running()
    (line,) = warnings(capfd)
    assert "no answer within 1 s" in line


def test_switched_off_there_is_no_child_and_no_store(bare: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """SEGLINE_TRACKING=off."""
    monkeypatch.setenv(mlflow_run.SWITCH, "off")

    with mlflow_run.run(stage="train", inputs={}, params=PARAMS) as run:
        run.metrics({"train_loss": 1.0})
        children = workers()

    assert children == []
    assert [path.name for path in bare.iterdir()] == ["params.yaml"]
    assert warnings(capfd) == []


@pytest.mark.parametrize(("switch", "expected"), [(None, True), ("", True), ("on", True), ("off", False)])
def test_tracking_is_on_unless_switched_off(
    monkeypatch: pytest.MonkeyPatch, switch: str | None, expected: bool
) -> None:
    monkeypatch.delenv(mlflow_run.SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(mlflow_run.SWITCH, switch)

    assert mlflow_run.switched_on() is expected


@pytest.mark.parametrize("switch", ["0", "no", "OFF"])
def test_another_switch_than_on_or_off_is_refused(bare: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    """Who writes `no` does not want a run, and would get one."""
    monkeypatch.setenv(mlflow_run.SWITCH, switch)

    with (
        pytest.raises(ParameterError, match=f"SEGLINE_TRACKING: expected on or off, got '{switch}'"),
        mlflow_run.run(stage="train", inputs={}, params=PARAMS),
    ):
        pytest.fail("the stage went on")


@pytest.fixture
def python() -> Iterator[Start]:
    """Starts Python processes that run a piece of code; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(code)]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_two_stages_may_create_the_store_at_once_wherever_it_lies(bare: Path, python: Start, monkeypatch: Any) -> None:
    """Unguarded, one of the two crashes in ALTER TABLE. The folder has spaces, signs, and letters beyond ASCII."""
    root = bare / "my pr\u00f6ject #1 100%41 \u65e5\u672c"
    root.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(root))
    code = """
        from pathlib import Path
        from segline.monitoring import mlflow_run
        with mlflow_run.run(stage="train", inputs={}, params={}) as run:
            run.metrics({"train_loss": 1.0})
    """
    processes = [python(code) for _ in range(2)]
    outputs = [process.communicate(timeout=180) for process in processes]

    assert outputs == [("", ""), ("", "")]
    assert [logged.info.status for logged in runs()] == ["FINISHED", "FINISHED"]
    assert sorted(path.name for path in root.iterdir()) == ["mlflow.db", "mlflow.db.lock", "mlruns"]
    for logged in runs():
        assert (root / "mlruns" / logged.info.run_id / "artifacts" / "params.yaml").is_file()


@pytest.mark.slow
def test_a_store_whose_tables_were_made_in_part_by_a_killed_process_is_made_anew(
    bare: Path, python: Start, capfd: Any
) -> None:
    started = python(
        "from segline.monitoring import mlflow_calls, mlflow_run\nmlflow_calls.experiment(mlflow_run.store())"
    )
    unfinished = atomic.temporary_name(bare / "mlflow.db")
    while not (unfinished.exists() and unfinished.stat().st_size):
        assert started.poll() is None, started.communicate()
        time.sleep(0.001)
    started.kill()
    started.wait()
    assert not (bare / "mlflow.db").exists(), "killed too late"

    mlflow_run.prepare()
    assert ("", "") == tuple(capfd.readouterr())
    assert ["mlflow.db", "mlflow.db.lock"] == sorted(path.name for path in bare.iterdir() if path.name != "params.yaml")


@pytest.mark.slow
def test_the_lock_of_a_killed_process_is_released(tmp_path: Path, python: Start) -> None:
    from segline.monitoring import mlflow_calls

    database = tmp_path / "mlflow.db"
    holder = python(f"""
        from pathlib import Path
        from segline.monitoring import mlflow_calls
        with mlflow_calls._alone(Path({str(database)!r})):
            print("locked", flush=True)
            input()
    """)
    assert holder.stdout
    assert "locked\n" == holder.stdout.readline()
    with pytest.raises(Timeout), FileLock(f"{database}.lock", timeout=0.1):
        pytest.fail("two processes hold the lock")
    holder.kill()
    holder.wait()

    with mlflow_calls._alone(database):
        assert database.exists()


@pytest.mark.slow
def test_a_killed_stage_leaves_no_process_and_a_killed_run(project: Path, python: Start) -> None:
    """SIGKILL gives the stage no say; the pipe closes, and the child ends the run."""
    code = """
        import sys, time
        from segline.monitoring import mlflow_run
        with mlflow_run.run(stage="train", inputs={}, params={}) as run:
            run.metrics({"train_loss": 1.0})
            sys.stdin.read()
    """
    stage = python(code)
    assert until(lambda: any("train_loss" in logged.data.metrics for logged in runs()))
    children = psutil.Process(stage.pid).children()
    stage.send_signal(signal.SIGKILL)
    stage.communicate()

    assert len(children) == 1
    assert psutil.wait_procs(children, timeout=50)[1] == []  # 10 s before it would give up by itself
    assert [logged.info.status for logged in runs()] == ["KILLED"]


def test_importing_the_module_costs_neither_mlflow_nor_torch(python: Start) -> None:
    """Each takes a second."""
    names = ("mlflow", "torch", "numpy")
    process = python(f"import sys, segline.monitoring.mlflow_run; print([m for m in {names} if m in sys.modules])")

    assert process.communicate()[0] == "[]\n"


@pytest.mark.slow
def test_git_tags_tell_whether_code_or_parameters_differ_from_the_commit(bare: Path) -> None:
    """Results are missing while a stage runs, because DVC removes them first: they make nothing dirty."""
    from segline.monitoring import mlflow_calls

    outside = mlflow_calls.origin()
    (bare / "metrics").mkdir()
    (bare / "metrics" / "eval.json").write_text("{}", encoding="utf-8")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (bare / "metrics" / "eval.json").unlink()
    clean = mlflow_calls.origin()
    (bare / "params.yaml").write_text("train: {learning_rate: 1e-4}\n", encoding="utf-8")
    dirty = mlflow_calls.origin()

    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert "git.commit" not in outside
    assert (clean["git.commit"], clean["git.dirty"], dirty["git.dirty"]) == (head, "false", "true")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET http://user:pa/ss@host:5000/api failed", "GET http://host:5000/api failed"),
        ("https://host/api?token=abc&x=1 said no", "https://host/api said no"),
        ("two\n  lines", "two lines"),
        ("sqlite:////a b/mlflow.db", "sqlite:////a b/mlflow.db"),
    ],
)
def test_messages_are_one_line_without_secrets(text: str, expected: str) -> None:
    """What stands in a URL before @ and after ? may be a password."""
    assert mlflow_run.without_secrets(text) == expected
