import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from segline.core import atomic


class BrokenError(Exception):
    """What a failing block raises here."""


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_appears_with_its_content_and_no_partial_stays(tmp_path):
    with atomic.file(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("whole")

    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    assert listing(tmp_path) == ["new", "new/a.txt"]


def test_nothing_lies_at_the_name_before_the_block_ends(tmp_path):
    with atomic.file(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")

        assert listing(tmp_path) == [".a.txt.partial"]


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, SystemExit])
def test_a_failing_block_keeps_the_old_file_and_no_partial(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    with pytest.raises(error):  # noqa: PT012, SIM117 - the block that fails is the point
        with atomic.file(path) as temporary:
            temporary.write_text("half")
            raise error

    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
def test_a_failing_block_keeps_the_old_folder_and_no_partial(tmp_path, error):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")

    with pytest.raises(error):  # noqa: PT012, SIM117 - the block that fails is the point
        with atomic.folder(tmp_path / "out") as temporary:
            (temporary / "half").write_text("half")
            raise error

    assert listing(tmp_path) == ["out", "out/old"]


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale").write_text("old")

    with atomic.folder(tmp_path / "out") as temporary:
        (temporary / "new").write_text("new")

    assert listing(tmp_path) == ["out", "out/new"]


def test_a_file_takes_the_place_of_a_link_not_of_what_it_leads_to(tmp_path):
    """DVC may link an output to its cache: writing through the link would corrupt the cache."""
    cached, path = tmp_path / "cached", tmp_path / "a.txt"
    cached.write_text("cached")
    path.symlink_to(cached)

    with atomic.file(path) as temporary:
        temporary.write_text("new")

    assert (cached.read_text(), path.read_text(), path.is_symlink()) == ("cached", "new", False)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path, kind):
    """SIGKILL inside the block: the old output stays, the leftover goes at the next run."""
    target = tmp_path / "out"
    code = (
        "import os, pathlib, signal\nfrom segline.core import atomic\n"
        f"with atomic.{kind}(pathlib.Path({str(target)!r})) as temporary:\n"
        "    (temporary / 'half' if temporary.is_dir() else temporary).write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / ".out.partial").exists()
    assert not target.exists()

    with getattr(atomic, kind)(target) as temporary:
        (temporary / "new" if temporary.is_dir() else temporary).write_text("new")

    assert listing(tmp_path) == (["out"] if kind == "file" else ["out", "out/new"])


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("name", ["a" * 251 + ".png", "\u00e9" * 127, "b" * 41, "c" * 40, "d"])
def test_a_name_that_the_file_system_allows_can_be_written(tmp_path, kind, name):
    """The temporary name is longer than none but a short one."""
    with getattr(atomic, kind)(tmp_path / name) as temporary:
        assert len(os.fsencode(temporary.name)) <= max(len(os.fsencode(name)), 49)
        assert re.fullmatch(r"\..*\.partial", temporary.name)
        if kind == "file":
            temporary.touch()

    assert listing(tmp_path) == [name]


def test_what_a_killed_run_left_of_a_long_name_is_swept_by_the_next(tmp_path):
    target = tmp_path / ("long" * 60)
    with atomic.file(target) as temporary:
        temporary.touch()
    temporary.write_text("of a run that was killed")

    with atomic.file(target) as again:
        assert again == temporary
        assert not again.exists()
        again.touch()

    assert listing(tmp_path) == [target.name]


def test_a_full_disk_is_an_error_about_the_output_and_says_how_far_it_came(tmp_path):
    with pytest.raises(OSError, match="No space left on device after 3 bytes") as caught:  # noqa: PT012, SIM117
        with atomic.file(tmp_path / "model") as temporary:
            temporary.write_bytes(b"abc")
            Path("/dev/full").write_bytes(b"x")

    assert caught.value.filename == str(tmp_path / "model")
    assert listing(tmp_path) == []


def test_an_error_within_a_folder_names_the_final_place(tmp_path):
    with pytest.raises(OSError, match="No space") as caught:  # noqa: SIM117
        with atomic.folder(tmp_path / "out") as folder, atomic.file(folder / "split" / "index.json"):
            Path("/dev/full").write_bytes(b"x")

    assert caught.value.filename == str(tmp_path / "out" / "split" / "index.json")


def test_errors_that_are_not_about_the_disk_keep_what_they_say(tmp_path):
    with pytest.raises(OSError, match="reset by peer") as caught, atomic.file(tmp_path / "a"):
        raise ConnectionResetError(errno.ECONNRESET, "reset by peer")

    assert caught.value.filename is None


@pytest.mark.parametrize("make", ["file", "folder", "link", "nothing"])
def test_remove_leaves_nothing_at_the_name_and_all_else_alone(tmp_path, make):
    other, path = tmp_path / "other", tmp_path / "path"
    other.mkdir()
    (other / "kept").write_text("kept")
    if make == "file":
        path.write_text("x")
    elif make == "folder":
        (path / "inner").mkdir(parents=True)
    elif make == "link":
        path.symlink_to(other)

    atomic.remove(path)

    assert not os.path.lexists(path)
    assert (other / "kept").read_text() == "kept"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_error_of_the_cleaning_up_does_not_hide_the_first(tmp_path, monkeypatch, kind):
    """A disk that fails once usually fails again."""
    with pytest.raises(OSError, match="No space left") as caught:  # noqa: PT012, SIM117
        with getattr(atomic, kind)(tmp_path / "out"):
            monkeypatch.setattr(atomic, "remove", fails)
            Path("/dev/full").write_bytes(b"x")

    assert caught.value.filename == str(tmp_path / "out")


def test_an_error_of_removing_an_earlier_leftover_names_the_output(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "remove", fails)

    with pytest.raises(OSError, match="Input/output error") as caught, atomic.file(tmp_path / "out"):
        pass
    assert caught.value.filename == str(tmp_path / "out")


def fails(path):
    raise OSError(errno.EIO, "Input/output error", str(path))
