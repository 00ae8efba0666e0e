"""Projects for the end-to-end tests: made once, copied for each test that changes something."""

from pathlib import Path

import pytest

from tests.e2e import reruns
from tests.e2e.project import Project, create, stages_run


@pytest.fixture(scope="session")
def unproduced(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed checkout of the working tree in which nothing has been run. Not to be changed: copy it."""
    folder = tmp_path_factory.mktemp("e2e")
    return create(folder / "str\u00e4\u00dfe \u8857 1", folder / "home")


@pytest.fixture(scope="session")
def reproduced(unproduced: Project) -> Project:
    """The same after `dvc repro`, its results committed. Not to be changed: copy it."""
    project = unproduced.copy(unproduced.root.with_name("repro d\u00fcced"))
    assert list(reruns.STAGES) == stages_run(project.dvc("repro"))
    project.commit("Reproduce")
    return project


@pytest.fixture(scope="session")
def tracked(unproduced: Project) -> Project:
    """As `reproduced`, but with tracking: its runs are in mlflow.db. Not to be changed: copy it."""
    project = unproduced.copy(unproduced.root.with_name("tr\u00e4cked"))
    output = project.dvc("repro", SEGLINE_TRACKING="on")
    assert list(reruns.STAGES) == stages_run(output)
    assert "warning" not in output
    project.commit("Reproduce")
    return project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A reproduced project of the test's own."""
    return reproduced.copy(tmp_path / "my pr\u00f6ject")


@pytest.fixture
def fresh(unproduced: Project, tmp_path: Path) -> Project:
    """A project of the test's own in which nothing has been run, in another folder than `reproduced`."""
    return unproduced.copy(tmp_path / "another pl\u00e4ce" / "deeper")


@pytest.fixture
def ascii_project(reproduced: Project, tmp_path: Path) -> Project:
    """The same in a folder of plain letters: DVC 3.67 fails to write any other into its own configuration files."""
    return reproduced.copy(tmp_path / "my project")
