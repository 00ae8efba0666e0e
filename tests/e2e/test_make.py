"""The commands that a user types, in a folder whose name has a space."""

import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.project import Project, overlaid, stages_from_cache, stages_run
from tests.e2e.reruns import STAGES

pytestmark = pytest.mark.slow

STAMPS = (".main", ".test")


def install(project: Project) -> Project:
    """The project, its `.venv` complete: it is that of these tests, by links."""
    folder = project.root / ".venv"
    folder.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in STAMPS:
            (folder / entry.name).symlink_to(entry)
    for stamp in STAMPS:
        (folder / stamp).touch()
    return project


@pytest.fixture
def installed(project: Project) -> Project:
    """A reproduced project whose `.venv` is complete."""
    return install(project)


def test_make_repro_runs_a_preset(installed):
    """`make repro PRESET=name` is all there is to type."""
    document = overlaid(installed.parameters(), {"plot.images": 2})
    installed.write("presets/mine.yaml", yaml.safe_dump(document))
    output = installed.run("make", "repro", "PRESET=mine")

    assert "params.yaml is now presets/mine.yaml" in output
    assert ["plot"] == stages_run(output)
    assert document == installed.parameters()
    assert output.endswith("now: git add params.yaml dvc.lock metrics && git commit\n")

    installed.commit("Take a preset")
    assert "now: git add" not in installed.run("make", "repro")


def test_make_repro_refuses_wrong_parameters_before_a_stage_runs(installed):
    installed.set(train__learning_rate=-1.0, plot__images=0)
    before = installed.locked()
    output = installed.run("make", "repro", fails=True)

    assert "params.yaml: train.learning_rate: " in output
    assert "params.yaml: plot.images: " in output
    assert "Traceback" not in output
    assert [] == stages_run(output)
    assert before == installed.locked()
    assert (installed.root / "models/model.safetensors").is_file()


def test_make_repro_does_not_go_on_with_another_preset_than_asked_for(installed):
    output = installed.run("make", "repro", "PRESET=nosuch", fails=True)

    assert "PRESET=nosuch: no such preset" in output
    assert [] == stages_run(output)


def test_make_restore_brings_outputs_back(installed):
    (installed.root / "metrics/eval.json").unlink()
    (installed.root / "models/model.safetensors").unlink()
    installed.run("make", "restore")

    assert set() == installed.changed()


def test_make_setup_switches_git_off_and_on_in_dvc(installed):
    """An archive without git works; after `git init` it is a repository like any other."""
    (installed.root / ".git").rename(installed.root.parent / "git")
    installed.run("make", "setup")
    assert set() == installed.changed()
    assert "no_scm" in installed.read(".dvc/config.local")

    (installed.root.parent / "git").rename(installed.root / ".git")
    installed.run("make", "setup")
    assert not (installed.root / ".dvc/config.local").exists()
    assert set() == installed.changed()


def test_make_repro_runs_everything_in_an_archive_without_git(unproduced, tmp_path):
    """As downloaded from a web page; the folder may become a repository later."""
    project = Project(tmp_path / "segline main", unproduced.environment)
    unproduced.git("archive", "--prefix", f"{project.root.name}/", "--output", str(tmp_path / "main.tar"), "HEAD")
    unproduced.run("tar", "--extract", "--file", str(tmp_path / "main.tar"), "--directory", str(tmp_path))
    output = install(project).run("make", "repro")
    again = project.run("make", "repro")

    assert list(STAGES) == stages_run(output)
    assert ([], []) == (stages_run(again), stages_from_cache(again))
    assert all("no git here: everything but diffs works" in said.splitlines() for said in (output, again))
    assert "no_scm" in project.read(".dvc/config.local")
    assert "git add" not in output + again

    project.git("init", "--quiet")
    project.commit("Start from an archive")
    output = project.run("make", "repro")

    assert not (project.root / ".dvc/config.local").exists()
    assert "no git here" not in output
    assert ([], []) == (stages_run(output), stages_from_cache(output))
    assert "" == project.git("status", "--short")
