"""A run that fails says why in one line, and what it took away can be brought back."""

import hashlib
from pathlib import Path

import pytest

from tests.e2e.project import Project

pytestmark = pytest.mark.slow

# Training runs, and its first loss is not a number.
BROKEN_LOSS = """

_finite = cross_entropy


def cross_entropy(*tensors, **options):
    return _finite(*tensors, **options) * float("nan")
"""

FULL_DISK = """

def write_json(path, document):
    raise OSError(28, "No space left", str(path))
"""


def present(project: Project) -> dict[str, str]:
    """md5 of every output of dvc.lock that exists as a file; folders have none and are left to `dvc status`."""
    files = [path for path in project.locked() if (project.root / path).is_file()]
    return {path: hashlib.md5((project.root / path).read_bytes()).hexdigest() for path in files}


def files_of(locked: dict[str, str]) -> dict[str, str]:
    return {path: md5 for path, md5 in locked.items() if not md5.endswith(".dir")}


def test_a_wrong_parameter_is_refused_before_anything_is_removed(project):
    project.set(train__learning_rate=-1.0)
    output = project.run("python", "-m", "segline", "check", fails=True)

    assert 1 == len(output.splitlines())
    assert output.startswith("error: params.yaml: train.learning_rate: ")
    assert files_of(project.locked()) == present(project)


@pytest.fixture
def failed(project):
    """A project whose training has failed: DVC has removed the model and its scores."""
    project.append("segline/training/losses.py", BROKEN_LOSS)
    output = project.dvc("repro", fails=True)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]

    assert 1 == len(errors)
    assert "loss is nan at step 1 of epoch 1" in errors[0]
    assert "to bring the last good outputs back: make restore" in output
    assert "Traceback" not in output
    assert not {"models/model.safetensors", "metrics/train.json", "metrics/history.csv"} & present(project).keys()
    return project


def test_restore_brings_back_what_a_failed_stage_took_away(failed):
    failed.run("python", "-m", "segline", "restore")

    assert files_of(failed.locked()) == present(failed)
    assert {"train"} == failed.changed(), "the code is still broken, and nothing else differs"
    failed.git("checkout", "--quiet", "segline/training/losses.py")
    assert set() == failed.changed()
    assert "" == failed.git("status", "--short")


def test_restore_replaces_what_a_failed_stage_left(project):
    """The model is written before the scores are: a stage that fails in between leaves a model of no complete run."""
    project.set(train__seed=2)
    project.append("segline/core/records.py", FULL_DISK)
    output = project.dvc("repro", "train", fails=True)
    left = present(project)["models/model.safetensors"]
    project.run("python", "-m", "segline", "restore")

    assert "error: metrics/train.json: No space left." in output
    assert left != project.locked()["models/model.safetensors"]
    assert files_of(project.locked()) == present(project)


def test_restore_brings_back_what_was_never_committed(project):
    """The last good run counts, not the last commit."""
    project.set(train__epochs=1)
    project.dvc("repro")
    last = project.locked()
    project.append("segline/training/losses.py", BROKEN_LOSS)
    project.dvc("repro", fails=True)
    project.run("python", "-m", "segline", "restore")

    assert files_of(last) == present(project)
    assert {"train"} == project.changed()


def test_restore_brings_back_folders_too(project):
    for folder in ("data/raw", "data/processed", "data/predictions"):
        (project.root / folder).rename(project.root.parent / Path(folder).name)
    project.run("python", "-m", "segline", "restore")

    assert set() == project.changed()


def remove_from_cache(project: Project, path: str) -> None:
    md5 = project.locked()[path]
    cached = project.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.chmod(0o600)
    cached.unlink()


@pytest.mark.parametrize("lost", ["metrics/eval.json", "models/model.safetensors", "data/predictions"])
def test_restore_names_what_neither_the_cache_nor_git_has(project, lost):
    """The rest is restored all the same."""
    project.git("rm", "--quiet", "--cached", "--ignore-unmatch", lost)
    project.git("commit", "--quiet", "--allow-empty", "--message", "Forget it")
    remove_from_cache(project, lost)
    (project.root / lost).rename(project.root.parent / "gone")
    (project.root / "metrics/train.json").unlink()
    output = project.run("python", "-m", "segline", "restore", fails=True)

    remedy = "Run `make repro` to rebuild them from params.yaml, which is left as it is."
    assert [f"error: {project.root}/dvc.lock: not in the cache: {lost}. {remedy}"] == output.splitlines()
    assert "metrics/train.json" in present(project)


def test_restore_takes_from_git_what_the_cache_has_not(project):
    remove_from_cache(project, "metrics/eval.json")
    (project.root / "metrics/eval.json").unlink()

    assert "restored metrics/eval.json\n" == project.run("python", "-m", "segline", "restore")
    assert files_of(project.locked()) == present(project)


def test_restore_never_takes_another_version_from_git(project):
    """The committed curves are those of a longer run than the last one."""
    project.set(train__epochs=1)
    project.dvc("repro", "train")
    remove_from_cache(project, "metrics/history.csv")
    (project.root / "metrics/history.csv").unlink()
    output = project.run("python", "-m", "segline", "restore", fails=True)

    assert "not in the cache: metrics/history.csv. " in output
    assert not (project.root / "metrics/history.csv").exists()


def test_restore_finds_a_cache_that_lies_elsewhere(project):
    (project.root / ".dvc/cache").rename(project.root.parent / "cache")
    project.append(".dvc/config", "[cache]\n    dir = ../../cache\n")
    (project.root / "metrics/eval.json").unlink()

    assert "restored metrics/eval.json\n" == project.run("python", "-m", "segline", "restore")


def test_a_stage_runs_again_after_the_cause_is_mended(failed):
    """No restore is needed where the next run succeeds: unchanged stages come from the run-cache."""
    before = failed.locked()
    failed.git("checkout", "--quiet", "segline/training/losses.py")
    failed.dvc("repro")

    assert files_of(before) == present(failed)
    assert set() == failed.changed()
