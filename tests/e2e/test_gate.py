"""`segline gate` in real git repositories, as CI has them: a branch, a shallow clone, a clone of one branch."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.e2e import reruns
from tests.gate import sides

pytestmark = pytest.mark.slow

TRUE = sides.truth(24)
GOOD, BAD = (sides.predicted(TRUE, rate) for rate in (0.85, 0.7))


@dataclass(frozen=True)
class Clone:
    """A checkout and what commands in it get to see."""

    root: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        hidden = ("GIT_", "GITHUB_", "SEGLINE_", "BASE", "MAKE")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
        environment |= {"PYTHONPATH": str(reruns.ROOT), "HOME": str(self.root.parent), "GIT_CONFIG_NOSYSTEM": "1"}
        environment |= {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)

    def git(self, *arguments: str) -> str:
        done = self.run("git", *arguments)
        assert 0 == done.returncode, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def gate(self, base: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "segline", "gate", "--base", base, *arguments)

    def save(self, counts: np.ndarray) -> None:
        sides.save(self.root / "metrics", counts)

    def clone(self, name: str, *arguments: str) -> "Clone":
        other = Clone(self.root.parent / name)
        self.git("clone", "--quiet", *arguments, self.root.as_uri(), str(other.root))
        return other


@pytest.fixture
def origin(tmp_path) -> Clone:
    """main: a commit without metrics, then one with good ones; branch `worse`: bad ones."""
    project = Clone(tmp_path / "my pr\u00f6ject")
    project.root.mkdir()
    (project.root / "dvc.yaml").touch()
    (project.root / "gate.yaml").write_text(sides.RULES)
    project.git("init", "--quiet", "--initial-branch", "main")
    project.commit("Start")
    project.save(GOOD)
    project.commit("Measure")
    project.git("switch", "--quiet", "--create", "worse")
    project.save(BAD)
    project.commit("Regress on purpose")
    return project


def test_a_branch_that_regresses_is_1_and_one_that_does_not_is_0(origin):
    done = origin.gate("main")
    assert (1, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith(f"Gate: REGRESSION against main ({origin.git('rev-parse', 'main')[:10]})")

    origin.git("switch", "--quiet", "main")
    assert 0 == origin.gate("worse").returncode


def test_the_working_tree_is_what_is_judged(origin):
    """Also against its own commit, before anything is committed."""
    same = origin.gate("HEAD", "--json")
    assert (0, "pass") == (same.returncode, json.loads(same.stdout)["verdict"])
    assert {0.0} == {metric["difference"] for metric in json.loads(same.stdout)["metrics"]}

    origin.git("switch", "--quiet", "main")
    origin.save(BAD)
    assert 1 == origin.gate("HEAD").returncode


@pytest.mark.parametrize("name", ["HEAD~1", "main", "refs/heads/main", "v1"])
def test_any_name_of_a_commit_will_do(origin, name):
    origin.git("tag", "-a", "v1", "main", "-m", "one")

    assert 1 == origin.gate(name).returncode
    assert 1 == origin.gate(origin.git("rev-parse", f"{name}^{{commit}}")[:12]).returncode


def test_neither_index_nor_working_tree_nor_references_are_changed(origin):
    before = origin.git("for-each-ref"), origin.git("status", "--porcelain", "--ignored")
    origin.gate("main")

    assert before == (origin.git("for-each-ref"), origin.git("status", "--porcelain", "--ignored"))


def test_a_project_below_the_top_of_its_repository(origin, tmp_path):
    """The paths are those of the project, not of the repository."""
    outer = Clone(tmp_path / "outer")
    (outer.root / "vision").mkdir(parents=True)
    outer.git("init", "--quiet")
    inner = Clone(outer.root / "vision")
    for name in ("dvc.yaml", "gate.yaml"):
        (inner.root / name).write_bytes((origin.root / name).read_bytes())
    inner.save(GOOD)
    inner.commit("Start")
    inner.save(BAD)

    assert 1 == inner.gate("HEAD").returncode


def test_a_shallow_clone_is_2_and_the_command_in_the_message_mends_it(origin):
    clone = origin.clone("shallow", "--depth", "1")
    done = clone.gate("origin/main")
    command = done.stderr.rpartition("Run: ")[2].split()

    assert 2 == done.returncode
    assert "no such revision in this shallow clone" in done.stderr
    assert ["git", "fetch", "--depth=1"] == command[:3]
    assert 0 == clone.run(*command).returncode
    assert 1 == clone.gate("origin/main").returncode


def test_a_shallow_clone_without_the_parent_likewise(origin):
    clone = origin.clone("shallow", "--depth", "1")
    done = clone.gate("HEAD~1")

    assert 2 == done.returncode
    assert "Run: git fetch --unshallow" in done.stderr
    clone.git("fetch", "--unshallow", "--quiet")
    assert 1 == clone.gate("HEAD~1").returncode


def test_a_clone_of_one_branch_is_not_made_shallow(origin):
    clone = origin.clone("single", "--single-branch", "--branch", "worse")
    done = clone.gate("origin/main")
    command = done.stderr.rpartition("Run: ")[2].split()

    assert 2 == done.returncode
    assert 0 == clone.run(*command).returncode
    assert "false" == clone.git("rev-parse", "--is-shallow-repository")
    assert 1 == clone.gate("origin/main").returncode


def test_a_revision_without_metrics_is_2(origin):
    done = origin.gate("main~1")

    assert 2 == done.returncode
    assert "error: main~1:metrics/eval.json: not in that commit. Commit metrics/ there" in done.stderr


def test_a_folder_at_the_revision_instead_of_a_file_is_2(origin):
    (origin.root / "metrics/eval.json").unlink()
    (origin.root / "metrics/eval.json").mkdir()
    (origin.root / "metrics/eval.json/x").touch()
    origin.commit("Break it")
    (origin.root / "metrics/eval.json/x").unlink()
    (origin.root / "metrics/eval.json").rmdir()
    origin.save(GOOD)
    done = origin.gate("HEAD")

    assert 2 == done.returncode
    assert "metrics/eval.json: a folder, expected a file" in done.stderr


def test_a_link_at_the_revision_is_not_followed(origin):
    path = origin.root / "metrics/eval.json"
    path.rename(origin.root / "elsewhere.json")
    path.symlink_to("../elsewhere.json")
    origin.commit("Link it")

    done = origin.gate("HEAD")
    assert 2 == done.returncode
    assert "HEAD:metrics/eval.json: not JSON" in done.stderr


@pytest.mark.parametrize(
    "base", ["nosuch", "origin/nosuch", "main...HEAD", "HEAD:metrics", "-x", "--all", "a b", "\u00e9"]
)
def test_what_names_no_commit_is_2(origin, base):
    done = origin.run(sys.executable, "-m", "segline", "gate", f"--base={base}")

    assert (2, "") == (done.returncode, done.stdout)
    assert f"error: --base {base}: no such folder or revision" in done.stderr


def test_a_name_of_both_a_folder_and_a_branch_is_2_and_both_ways_out_work(origin):
    sides.save(origin.root / "saved", GOOD)
    origin.git("branch", "saved", "main~1")
    done = origin.gate("saved")

    assert 2 == done.returncode
    assert "both a folder and a revision. Write ./saved for the folder, or refs/heads/saved" in done.stderr
    assert 1 == origin.gate("./saved").returncode
    assert 2 == origin.gate("refs/heads/saved").returncode


def test_a_folder_of_saved_metrics_needs_no_git(origin, tmp_path):
    sides.save(tmp_path / "saved", GOOD)
    (origin.root / ".git").rename(tmp_path / "git")

    assert 1 == origin.gate(str(tmp_path / "saved")).returncode
    assert 2 == origin.gate("main").returncode


def test_a_branch_cannot_move_its_own_margins(origin):
    (origin.root / "gate.yaml").write_text(sides.RULES.replace("0.01", "0.5"))
    done = origin.gate("main")

    assert 1 == done.returncode
    assert "This branch changes gate.yaml: the version in main decides; the change takes effect once" in done.stdout
    assert "This branch changes metrics/noise.json" not in done.stdout
    origin.commit("Widen the margins")
    assert 0 == origin.gate("HEAD").returncode


def test_make_gate_hands_the_base_on_as_it_is(origin):
    """A branch name is somebody else's text: no shell reads it."""
    origin.git("branch", "x;touch${IFS}pwned", "main")
    recipe = Clone(reruns.ROOT).run("make", "-n", "gate", "BASE=main").stdout.splitlines()[-1]
    assert recipe.startswith("python -m segline gate")
    done = origin.run("env", "BASE=x;touch${IFS}pwned", "sh", "-c", recipe.replace("python", f'"{sys.executable}"', 1))

    assert 1 == done.returncode, done.stderr
    assert not (origin.root / "pwned").exists()
