"""What `segline preset` says when edits would be lost. What it does: tests/e2e/test_presets.py."""

import subprocess

import pytest

from segline.commands import presets
from segline.core.errors import ParameterError


@pytest.fixture
def project(tmp_path):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "plain.yaml").write_text("a: 1\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text("a: 2\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    return tmp_path


def git(folder, *arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_what_it_tells_to_type_lets_the_preset_through(project):
    """Each suggested command works on its own, also for staged edits."""
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "Start")
    for command in ("cp params.yaml presets/NAME.yaml", "git commit params.yaml", "git checkout HEAD params.yaml"):
        (project / "params.yaml").write_text(f"a: 3  # before {command}\n", encoding="utf-8")
        git(project, "add", "params.yaml")
        with pytest.raises(ParameterError, match="has edits that are not committed") as caught:
            presets.use("plain", project)

        assert f"`{command}`" in caught.value.remedy
        configured = "GIT_EDITOR='echo edit >' GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x"
        script = f"{configured} GIT_COMMITTER_EMAIL=x {command}"
        subprocess.run(["sh", "-c", script], cwd=project, check=True, capture_output=True)
        presets.use("plain", project)

        assert "a: 1\n" == (project / "params.yaml").read_text(encoding="utf-8")
