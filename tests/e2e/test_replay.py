"""`segline replay`: are stages deterministic? The user's folder, cache and MLflow store stay as they are."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.reruns import STAGES

pytestmark = pytest.mark.slow

# A stage that takes bytes from the kernel: each run draws others.
UNSTEADY = """

import os as _os

_steady = cross_entropy


def cross_entropy(*tensors, **options):
    return _steady(*tensors, **options) * (1 + int.from_bytes(_os.urandom(4), "big") / 2**32)
"""


def replay(project: Project, *stages: str, expected: int, **environment: str) -> str:
    """What `segline replay` says; it must end with that exit code and leave nothing in the temporary folder."""
    before = set(Path(project.environment["TMPDIR"]).glob("segline-*"))
    command = f"python -m segline replay {' '.join(stages)}; test $? = {expected}"
    output = project.run("sh", "-c", command, **environment)
    assert before == set(Path(project.environment["TMPDIR"]).glob("segline-*"))
    return output


def snapshot(project: Project) -> dict[str, tuple[int, int, bytes]]:
    """Every file but compiled Python, git's own, and the locks that any DVC command takes."""
    aside = (".dvc/tmp/lock", ".dvc/tmp/rwlock", ".dvc/tmp/rwlock.lock")
    files = (path for path in project.root.rglob("*") if path.is_file())
    return {
        name: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in files
        if not (name := path.relative_to(project.root).as_posix()).startswith((".git/", *aside))
        and "__pycache__" not in name
    }


def verdicts(output: str) -> dict[str, str]:
    """Output -> what was said of it."""
    return dict(re.findall(r"^  (\S+): (.*)$", output, re.MULTILINE))


@pytest.fixture
def unsteady(tracked: Project, tmp_path: Path) -> Project:
    """A project whose training is not deterministic, while DVC believes that nothing has changed."""
    project = tracked.copy(tmp_path / "my pr\u00f6ject")
    project.append("segline/training/losses.py", UNSTEADY)
    project.dvc("commit", "--force")
    assert set() == project.changed()
    return project


def test_every_output_of_an_untouched_project_is_identical(tracked):
    """Tracking is on, but a replay is no run."""
    before = snapshot(tracked)
    output = replay(tracked, expected=0, SEGLINE_TRACKING="on")

    assert dict.fromkeys(tracked.locked(), "identical") == verdicts(output)
    assert output.endswith(f"identical: all {len(tracked.locked())} outputs of {', '.join(STAGES)}\n")
    assert before == snapshot(tracked)


def test_a_training_that_is_not_deterministic_is_named_and_does_not_spoil_what_follows(unsteady):
    before = snapshot(unsteady)
    output = replay(unsteady, "train", "evaluate", expected=1)
    found = verdicts(output)

    assert re.fullmatch(r"different: epoch 1: train_loss is [\d.]+ instead of [\d.]+", found["metrics/history.csv"])
    model = r"different: \d+ of \d+ tensors, the first is [\w.]+, by up to [\d.e-]+"
    assert re.fullmatch(model, found["models/model.safetensors"])
    assert found["metrics/train.json"].startswith("different: ")
    assert "identical" == found["data/augmented"] == found["metrics/eval.json"] == found["data/predictions"]
    assert "\ndifferent: 3 of 9 outputs\n" in output
    assert "this machine matches the one that trained the model" in output
    assert before == snapshot(unsteady)


def test_another_number_of_threads_is_named_beside_the_difference(unsteady):
    threads = "2" if (os.cpu_count() or 1) > 1 else pytest.skip("needs two cores")
    output = replay(unsteady, "train", expected=1, OMP_NUM_THREADS=threads)

    assert "this machine differs from the one that trained the model: threads 2 instead of 1\n" in output


def test_a_clone_without_a_cache_says_dvc_pull_but_can_replay_what_needs_no_inputs(reproduced, tmp_path):
    clone = reproduced.clone(tmp_path / "clone")
    output = replay(clone, expected=2)

    assert "data/processed/train" in output
    assert "Run `dvc pull`; " in output
    assert "Traceback" not in output
    assert 1 == len(output.splitlines())
    assert {"data/raw": "identical"} == verdicts(replay(clone, "download", expected=0))
    assert not (clone.root / "data/raw").exists()


def test_inputs_come_from_the_cache_where_the_folder_lacks_them(project):
    for name in ("data", "models"):
        shutil.rmtree(project.root / name)
    output = replay(project, "evaluate", expected=0)

    assert {"identical"} == set(verdicts(output).values())


def test_an_edited_project_is_not_that_of_the_lock(project):
    project.set(train__seed=2)
    project.append("segline/dataset/onehot.py", "# edited\n")
    output = replay(project, "train", expected=2)

    assert "dvc.lock: does not match this folder: train (segline/dataset, params.yaml: train" in output
    assert "Run `make repro` first" in output


def test_a_stage_that_does_not_exist_names_the_nearest(reproduced):
    assert "Did you mean train?" in replay(reproduced, "trian", expected=2)


def test_a_stage_that_fails_could_not_be_tried(project):
    """It reads a file that dvc.yaml does not name: here it is there, in a clean copy it is not."""
    project.write("hidden.txt", "1")
    project.append("segline/training/losses.py", '\n\nopen("hidden.txt").close()\n')
    project.dvc("commit", "--force")
    output = replay(project, "train", expected=2)

    assert "hidden.txt" in output
    assert "ended with exit code 1 in a copy of the project" in output
