"""What `segline restore` says where nothing can be restored. What it restores: tests/e2e/test_failures.py."""

import subprocess
import sys
from pathlib import Path

import pytest

from segline import restore
from segline.errors import DataError

LOCK = """\
schema: '2.0'
stages:
  train:
    cmd: train
    outs:
    - path: model.bin
      hash: md5
      md5: 0123456789abcdef0123456789abcdef
      size: 3
"""


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A project as cloned: a lock file, and a cache without anything."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    root = tmp_path / "clone"
    root.mkdir()
    dvc(root, "init", "--quiet", "--no-scm")
    (root / "dvc.yaml").write_text("stages: {train: {cmd: train, outs: [model.bin]}}\n", encoding="utf-8")
    (root / "dvc.lock").write_text(LOCK, encoding="utf-8")
    return root


def dvc(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)


def refusal(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        restore.restore(root)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.slow
def test_without_a_cache_it_names_the_commands_that_bring_outputs(clone):
    """`dvc pull` only where there is a remote to pull from."""
    alone = refusal(clone)
    dvc(clone, "remote", "add", "--default", "store", str(clone.parent / "store"))
    shared = refusal(clone)

    assert "not in the cache: model.bin" == alone.found == shared.found
    assert "Run `make repro` to make them anew from params.yaml, which is left as it is." == alone.remedy
    assert "Run `dvc pull` to fetch them, or `make repro` to make them anew from params.yaml" in shared.remedy


def test_a_conflicted_lock_is_one_line_that_says_how_to_settle_it(tmp_path):
    (tmp_path / "dvc.lock").write_text(f"<<<<<<< HEAD\n{LOCK}=======\n{LOCK}>>>>>>> other\n", encoding="utf-8")

    assert (
        f"{tmp_path}/dvc.lock: holds an unsettled merge conflict. "
        "Take one side of it, git checkout --ours dvc.lock (or --theirs), then run again."
    ) == str(refusal(tmp_path))


@pytest.mark.parametrize("content", ["", "stages: 3\n", "just text\n", "a: [\n", "\ufffe"])
def test_a_lock_that_is_none_is_one_line(tmp_path, content):
    (tmp_path / "dvc.lock").write_text(content, encoding="utf-16" if content == "\ufffe" else "utf-8")

    assert "not a lock file of DVC" == refusal(tmp_path).found


def test_a_project_without_a_lock_has_nothing_to_restore(tmp_path):
    assert "missing: nothing was ever produced here" == refusal(tmp_path).found
