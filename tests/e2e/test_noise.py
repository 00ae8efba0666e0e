"""`segline noise`: the deviation of the scores over seeds, and nothing else that changes."""

import json
import math
import re
from pathlib import Path

import pytest
import yaml

from segline.reproducibility import dvc_lock, seed_noise
from tests.e2e.project import Project
from tests.e2e.reruns import ROOT, outputs
from tests.e2e.test_replay import snapshot

pytestmark = pytest.mark.slow

BROKEN_LOSS = """

_finite = cross_entropy


def cross_entropy(*tensors, **options):
    return _finite(*tensors, **options) * float("nan")
"""


def measure(project: Project, *arguments: str, fails: bool = False) -> str:
    """What `segline noise` says. Tracking is on, but none of its runs may be logged."""
    return project.run("python", "-m", "segline", "noise", *arguments, fails=fails, SEGLINE_TRACKING="on")


def by_hand(project: Project, folder: Path, seed: int) -> dict:
    """eval.json of a user who sets the seed and runs DVC."""
    own = project.copy(folder / str(seed))
    own.set(train__seed=seed)
    own.dvc("repro", "evaluate")
    return json.loads(own.read("metrics/eval.json"))


def deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def test_it_is_the_deviation_over_runs_by_hand_and_leaves_all_else_as_it_was(tracked, tmp_path):
    """Sample standard deviation, over the seeds after the user's own."""
    project = tracked.copy(tmp_path / "my pr\u00f6ject")
    before = snapshot(project)
    output = measure(project, "--seeds", "3")
    after = snapshot(project)
    document = json.loads(project.read("metrics/noise.json"))
    scores = [by_hand(project, tmp_path, seed) for seed in (2, 3, 4)]

    assert before == {name: entry for name, entry in after.items() if name != "metrics/noise.json"}
    assert {"metrics/noise.json"} == after.keys() - before.keys()
    assert {"commit", "metrics", "protocol", "recipe", "seeds"} == document.keys()
    assert dvc_lock.recipe(dvc_lock.stages(project.root)) == document["recipe"]
    assert [2, 3, 4] == document["seeds"]
    assert project.git("rev-parse", "HEAD").strip() == document["commit"]
    assert json.loads(project.read("metrics/eval.json"))["protocol"] == document["protocol"]
    assert {"accuracy", "miou", "ece", "iou"} == document["metrics"].keys()
    for name in ("accuracy", "miou", "ece"):
        assert math.isclose(deviation([found[name] for found in scores]), document["metrics"][name], abs_tol=1e-6)
    assert scores[0]["iou"].keys() == document["metrics"]["iou"].keys()
    for name, found in document["metrics"]["iou"].items():
        assert math.isclose(deviation([one["iou"][name] for one in scores]), found, abs_tol=1e-6)
    assert 0 < document["metrics"]["accuracy"]
    assert [f"seed {seed}: accuracy " in output for seed in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert set() == project.changed()


def test_a_failure_leaves_the_old_file(project):
    project.append("segline/training/losses.py", BROKEN_LOSS)
    project.dvc("commit", "--force")
    project.write("metrics/noise.json", "old")
    output = measure(project, fails=True)

    assert "loss is nan" in output
    assert "Traceback" not in output
    assert "old" == project.read("metrics/noise.json")


def test_several_at_once_give_the_file_and_the_lines_of_one_after_another(tracked, tmp_path):
    said, written = [], []
    for count in ("1", "2"):
        project = tracked.copy(tmp_path / count)
        output = project.run("python", "-m", "segline", "noise", "--seeds", "3", SEGLINE_WORKERS=count)
        said.append([line for line in output.splitlines() if line.startswith(("seed ", "metrics/"))])
        written.append((project.root / "metrics/noise.json").read_bytes())

    assert 4 == len(said[0])
    assert said[0] == said[1]
    assert written[0] == written[1]


def test_of_several_at_once_the_one_that_fails_is_named_with_its_reason(project):
    project.append("segline/training/losses.py", BROKEN_LOSS)
    project.dvc("commit", "--force")
    output = project.run("python", "-m", "segline", "noise", fails=True, SEGLINE_WORKERS="2")

    planned, error = output.splitlines()
    assert "to train: seed 2; seed 3; seed 4; seed 5; seed 6" == planned
    assert re.match(r"error: seed [23]: train: .* ended with exit code 1 .* It said: error: .*loss is nan", error)


def test_too_few_seeds_are_refused(reproduced):
    assert "--seeds: expected at least 3, got 2. " in measure(reproduced, "--seeds", "2", fails=True)


def test_a_project_that_is_edited_is_not_measured(project):
    project.set(preprocess__height=32)

    assert "does not match this folder: preprocess (" in measure(project, fails=True)


def test_without_inputs_it_says_dvc_pull(reproduced, tmp_path):
    output = measure(reproduced.clone(tmp_path / "clone"), fails=True)

    assert "data/processed/train" in output
    assert "Run `dvc pull`; " in output


def test_a_commit_that_does_not_hold_this_state_is_not_named(project):
    """Parameters that a stage does not read change no output, but the commit has others."""
    head = project.git("rev-parse", "HEAD").strip()

    assert head == seed_noise.current_commit(project.root)
    project.append("params.yaml", "# edited\n")
    assert seed_noise.current_commit(project.root) is None
    assert seed_noise.current_commit(project.root.parent) is None


def test_the_noise_file_is_not_an_output_of_a_stage():
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

    assert not [path for stage in pipeline.values() for path in outputs(stage) if path == str(seed_noise.FILE)]
    assert set(seed_noise.STAGES) < set(pipeline)
