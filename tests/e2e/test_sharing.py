"""A colleague gets the data and the model from a remote, and runs nothing; without git it works as well."""

import shutil

import pytest

from tests.e2e.project import stages_from_cache, stages_run

pytestmark = pytest.mark.slow


def test_a_clone_that_pulls_runs_nothing(ascii_project, tmp_path):
    remote = tmp_path / "shared remote"
    ascii_project.dvc("remote", "add", "--default", "shared", str(remote))
    ascii_project.commit("Add a remote")
    ascii_project.dvc("push")

    clone = ascii_project.clone(tmp_path / "a colleague's")
    clone.dvc("pull")

    assert set() == clone.changed()
    output = clone.dvc("repro")
    assert ([], []) == (stages_run(output), stages_from_cache(output))
    assert "" == clone.git("status", "--short")
    report = "metrics/report.html"
    assert (ascii_project.root / report).read_bytes() == (clone.root / report).read_bytes()


def test_an_archive_without_git_can_be_run_and_inspected(project):
    """`make setup` writes this setting where it finds no git (test_make.py)."""
    shutil.rmtree(project.root / ".git")
    assert "not a git repository" in project.dvc("status", fails=True)
    project.write(".dvc/config.local", "[core]\n    no_scm = true\n")
    assert set() == project.changed()

    project.set(plot__images=2)
    assert ["plot"] == stages_run(project.dvc("repro"))
    assert "miou" in project.dvc("metrics", "show")
    assert "plot" in project.dvc("dag")
