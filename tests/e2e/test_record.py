"""`benchmarks.record`: seeds of a preset, each a project; stopped and started again, it resumes."""

import hashlib
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from segline.model import checkpoint
from tests.e2e.project import Project, stages_from_cache

pytestmark = pytest.mark.slow

COMMAND = ["python", "-m", "benchmarks.record", "--preset", "tiny", "--set", "train.epochs=12", "--seeds", "1", "2"]


@pytest.fixture
def prepared(fresh: Project) -> Project:
    """A project with a tiny preset, whose training saves its state after every epoch."""
    fresh.write("presets/tiny.yaml", fresh.read("params.yaml"))
    code = fresh.read("segline/training/resume.py")
    assert "SAVED_EVERY = 30.0" in code
    fresh.write("segline/training/resume.py", code.replace("SAVED_EVERY = 30.0", "SAVED_EVERY = 0.0"))
    fresh.commit("Prepare")
    return fresh


def stopped_at(project: Project, runs: Path, line: str) -> None:
    """Starts the record, and ends it with SIGTERM when it says a line that starts so."""
    command = [*COMMAND, "--folder", str(runs)]
    with subprocess.Popen(
        command, cwd=project.root, env=dict(project.environment), stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        for said in process.stdout or ():
            if said.startswith(line):
                process.send_signal(signal.SIGTERM)
    assert 128 + signal.SIGTERM == process.returncode


def test_a_record_that_is_stopped_goes_on_and_ends_with_table_and_weights(prepared, tmp_path):
    runs = tmp_path / "r\u00fcns"
    stopped_at(prepared, runs, "epoch 4/12")
    output = prepared.run(*COMMAND, "--folder", str(runs))
    rows = re.findall(
        r"^\| (\d) \| 12 \| [\d.]+ \([\d.]+ to [\d.]+\) \| (0\.\d+) .* \| [\d.]+ \| [\d.]+ \|$", output, re.M
    )
    weights = prepared.root / "pretrained/tiny.safetensors"
    about = json.loads(prepared.read("pretrained/tiny.json"))

    assert re.search(r"^resumes after epoch \d+ of 12; ", output, re.M)
    assert ["1", "2"] == [seed for seed, _ in rows]
    assert ["download", "preprocess"] == stages_from_cache(output), "the second seed has them of the first"
    assert "| mean (standard deviation) | |" in output
    assert max(rows, key=lambda row: float(row[1]))[0] == str(about["seed"])
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == about["sha256"]
    assert prepared.git("rev-parse", "HEAD").strip() == about["commit"]
    assert about["command"].startswith("python -m benchmarks.record --preset tiny --set train.epochs=12 --seeds 1 2 ")
    assert {"scored_on", "metrics", "epochs"} < set(about)
    model = runs / f"tiny-{about['seed']}/models/model.safetensors"
    whole, half = (checkpoint.read(path)[0].state_dict() for path in (model, weights))
    assert weights.stat().st_size < model.stat().st_size
    assert all((half[name] == tensor.half()).all() for name, tensor in whole.items() if tensor.is_floating_point())


def test_code_that_is_not_committed_and_unknown_keys_are_refused_in_a_line(prepared, tmp_path):
    command = ["python", "-m", "benchmarks.record", "--folder", str(tmp_path / "runs"), "--preset", "tiny"]
    unknown = prepared.run(*command, "--set", "train.epoch=3", fails=True)
    prepared.append("segline/training/losses.py", "# edited\n")
    edited = prepared.run(*command, fails=True)

    assert unknown.startswith("error: params.yaml: train.epoch: missing.")
    assert "contains uncommitted code: segline/training/losses.py. Commit it first" in edited
    assert (1, 1) == (unknown.count("\n"), edited.count("\n"))
    assert not (tmp_path / "runs").exists()


def test_a_model_file_is_scored_on_a_split_without_touching_the_project(reproduced, tmp_path):
    """As `evaluate` scored it; here by the weights in another place, of a project that has no data."""
    project = reproduced.copy(tmp_path / "my pr\u00f6ject")
    project.write("presets/tiny.yaml", project.read("params.yaml"))
    model = project.root / "models/model.safetensors"
    elsewhere = model.rename(tmp_path / "b\u00e9st.safetensors")
    before = project.git("status", "--porcelain")
    output = project.run("python", "-m", "benchmarks.score", str(elsewhere), "--preset", "tiny", "--split", "test")
    scores = json.loads(project.read("metrics/eval.json"))

    assert f"| accuracy | {scores['accuracy']:.4f} (" in output
    assert f"| miou | {scores['miou']:.4f} (" in output
    for name, iou in scores["iou"].items():
        assert f"| IoU {name} | {iou:.4f} | {scores['working']['iou'][name]:.4f} |" in output
    assert re.search(r"^\d+\.\d\d s for each image$", output, re.M)
    assert before == project.git("status", "--porcelain")
