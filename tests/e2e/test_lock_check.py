"""`make verify`: it judges what git holds, whatever data lie beside it."""

import shutil

import pytest

from tests.e2e.project import Project
from tests.e2e.test_make import install

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(reproduced: Project, tmp_path) -> Project:
    """What is committed, without data or cache."""
    return install(reproduced.clone(tmp_path / "a cl\u00f6ne"))


def test_a_clone_of_what_was_reproduced_is_fine(clone):
    assert clone.run("make", "verify").endswith("dvc.lock: that of this code and params.yaml\n")
    assert "" == clone.git("status", "--short")


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize(
    ("change", "stage"),
    [
        (lambda p: p.append("segline/training/losses.py", "# edited\n"), "train"),
        (lambda p: p.append("segline/reporting/report.css", "/* edited */\n"), "plot"),
        (lambda p: p.set(train__epochs=3), "train"),
        (lambda p: p.set(data__synthetic={**p.parameters()["data"]["synthetic"], "seed": 2}), "download"),
        (lambda p: p.append("metrics/eval.json", " "), "evaluate"),
        (lambda p: (p.root / "dvc.lock").unlink(), "download"),
    ],
    ids=["code", "style of the report", "parameter", "data", "edited metrics", "no lock"],
)
def test_what_does_not_belong_to_the_lock_is_refused(clone, project, with_data, change, stage):
    """The remedy is said, with or without the data that the lock names."""
    project = install(project) if with_data else clone
    change(project)
    said = project.run("make", "verify", fails=True)

    assert f"dvc.lock: not that of this code and params.yaml: {stage} would run. Run `make repro`, then commit" in said


def test_a_result_that_was_not_committed_is_named(clone):
    """DVC's own --allow-missing forgives it."""
    (clone.root / "metrics/eval.json").unlink()
    assert "up to date" in clone.dvc("repro", "--dry", "--allow-missing")

    assert "its results are missing: metrics/eval.json." in clone.run("make", "verify", fails=True)


def test_old_data_do_not_make_a_new_lock_wrong(project, tmp_path):
    """As after `git pull`: the lock is right, the data that lie here are not yet its own."""
    other = project.copy(tmp_path / "other")
    other.set(train__learning_rate=0.1)
    other.dvc("repro")
    other.commit("Learn faster")
    project.git("pull", "--quiet", str(other.root), "main")
    assert "Running stage" in project.dvc("repro", "--dry", "--allow-missing")

    install(project).run("make", "verify")


def test_a_lock_in_conflict_is_refused_in_the_words_of_dvc(clone):
    clone.append("dvc.lock", "<<<<<<< ours\n")

    assert "dvc.lock' is invalid (possible merge conflicts)" in clone.run("make", "verify", fails=True)


def test_without_git_nothing_is_judged(clone):
    shutil.rmtree(clone.root / ".git")

    assert "dvc.lock: cannot be checked without git" in clone.run("make", "verify", fails=True)
