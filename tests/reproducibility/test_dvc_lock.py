"""dvc.lock as DVC writes it, and the bytes that it names: found in DVC's cache or in the folder, and verified."""

import subprocess
import sys
from pathlib import Path

import pytest

from segline.core.errors import DataError
from segline.reproducibility import dvc_lock

PIPELINE = """\
stages:
  make:
    cmd: mkdir -p out/sub && echo 1 > out/b && echo 2 > out/sub/a && echo 3 > "out/\u00e9 x" && echo 4 > one.txt
    deps: [source.txt]
    outs: [out, one.txt]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project whose one stage DVC has run; not to be changed but by who puts it back."""
    folder = tmp_path_factory.mktemp("lock")
    root = folder / "project"
    root.mkdir()
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (root / "source.txt").write_text("source\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        for arguments in (["init", "--quiet", "--no-scm"], ["repro", "--quiet"]):
            subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def store(made, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(made.parent / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return dvc_lock.Store(made, dvc_lock.stages(made))


def cached(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.fixture
def hide():
    """A function that takes a path away until the end of the test."""
    moved = []

    def take(path: Path) -> None:
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        moved.append((aside, path))

    yield take
    for aside, path in reversed(moved):
        aside.rename(path)


def test_hashes_are_those_that_dvc_computed(made):
    """Oracle: what DVC wrote into dvc.lock, for files and for folders."""
    stage = dvc_lock.stages(made)["make"]

    assert {"source.txt", "out", "one.txt"} == {*stage.inputs, *stage.outputs}
    for path, md5 in (stage.inputs | stage.outputs).items():
        assert md5 == dvc_lock.md5(made / path)


def test_what_is_not_cached_comes_from_the_folder(made, store, hide, tmp_path):
    outputs = dvc_lock.stages(made)["make"].outputs
    for md5 in (*outputs.values(), *dvc_lock.contents(made / "out").values()):
        hide(cached(made, md5))
    store.copy("out", tmp_path / "copy")

    assert dvc_lock.contents(made / "out") == dvc_lock.contents(tmp_path / "copy")


def test_what_is_not_in_the_folder_comes_from_the_cache(made, store, hide, tmp_path):
    expected = dvc_lock.contents(made / "out")
    hide(made / "out")
    store.copy("out", tmp_path / "copy")
    store.copy("out/sub", tmp_path / "part")

    assert expected == dvc_lock.contents(tmp_path / "copy")
    assert ["a"] == [path.name for path in (tmp_path / "part").rglob("*")]


def test_a_copy_is_no_link(made, store, tmp_path):
    """Whoever writes into the copy leaves the cache as it is."""
    store.copy("one.txt", tmp_path / "copy")
    (tmp_path / "copy").write_text("changed", encoding="utf-8")

    assert store.has("one.txt")
    assert "4\n" == (made / "one.txt").read_text(encoding="utf-8")


def test_other_bytes_under_the_right_name_are_not_taken(made, store, hide, tmp_path):
    """Neither a damaged file of the cache nor an edited one of the folder."""
    md5 = dvc_lock.stages(made)["make"].outputs["one.txt"]
    for path in (cached(made, md5), made / "one.txt"):
        hide(path)
    cached(made, md5).write_text("damaged", encoding="utf-8")
    (made / "one.txt").write_text("edited", encoding="utf-8")

    assert not store.has("one.txt")
    with pytest.raises(DataError, match="dvc pull"):
        store.copy("one.txt", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_part_of_an_output_has_the_md5_that_dvc_would_give_it(made, store):
    paths = ["out", "one.txt", "out/b", "out/sub", "out/sub/a"]

    assert [dvc_lock.md5(made / path) for path in paths] == [store.md5(path) for path in paths]
    assert [None, None] == [store.md5(path) for path in ("source.txt", "out/gone")]


def test_what_lies_in_an_output_has_that_owner(store):
    assert ["out", "out", None, None] == [
        store.owner(path) for path in ("out", "out/sub/a", "source.txt", "outside/out")
    ]
