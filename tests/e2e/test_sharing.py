"""A colleague gets the data and the model from a remote, and runs nothing; without git it works as well."""

import shutil

import pytest

from tests.e2e.project import stages_from_cache, stages_run

pytestmark = pytest.mark.slow


def test_a_clone_that_pulls_runs_nothing(project, tmp_path):
    remote = tmp_path / "shared r\u00e9mote"
    project.dvc("remote", "add", "--default", "shared", str(remote))
    project.commit("Add a remote")
    project.dvc("push")

    clone = project.clone(tmp_path / "a colleague's")
    clone.dvc("pull")

    assert set() == clone.changed()
    output = clone.dvc("repro")
    assert ([], []) == (stages_run(output), stages_from_cache(output))
    assert "" == clone.git("status", "--short")
    report = "metrics/report.html"
    assert (project.root / report).read_bytes() == (clone.root / report).read_bytes()


def test_an_archive_without_git_can_be_run_and_inspected(project):
    """The Makefile writes this setting where it finds no git."""
    shutil.rmtree(project.root / ".git")
    assert "not a git repository" in project.dvc("status", fails=True)
    project.write(".dvc/config.local", "[core]\n    no_scm = true\n")
    assert set() == project.changed()

    project.set(plot__images=2)
    assert ["plot"] == stages_run(project.dvc("repro"))
    assert "miou" in project.dvc("metrics", "show")
    assert "plot" in project.dvc("dag")


def test_the_makefile_writes_that_setting():
    from tests.e2e.reruns import ROOT

    assert r"'[core]\n    no_scm = true\n' > .dvc/config.local" in (ROOT / "Makefile").read_text(encoding="utf-8")
