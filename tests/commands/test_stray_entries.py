"""What is not a file is found anywhere in the input before DVC reads it, and nothing that DVC can read is refused."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from segline.commands import check, stray_entries
from segline.core import params
from tests.folders import pairs

ROOT = Path(__file__).parents[2]
REMEDY = "Remove it, or move it out of data.input: DVC reads everything there."


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of the user's, named relative to the current one: the name of a socket may be short only."""
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "mine", "images/{}.jpg", "masks/{}.png", ["a"], [0, 1])
    return tmp_path / "mine"


def lines(place):
    return [str(problem) for problem in stray_entries.problems(place)]


def test_files_folders_and_links_to_them_are_no_problem(mine):
    (mine / "linked.txt").symlink_to("images/a.jpg")
    (mine / "loop").symlink_to(".")
    (mine / "elsewhere").symlink_to("/")
    (mine / ".git").mkdir()
    (mine / ".git/x").symlink_to("/nowhere")

    assert [] == lines(mine)
    assert [] == lines(mine / "images/a.jpg")
    assert [] == lines(mine / "missing")


def test_links_without_a_target_are_named_with_it(mine):
    (mine / "images/notes.txt").symlink_to("/nowhere")
    (mine / ".hidden").symlink_to(".hidden")

    assert [
        f"{mine}/.hidden: a link to .hidden: Too many levels of symbolic links. {REMEDY}",
        f"{mine}/images/notes.txt: a link to /nowhere: No such file or directory. {REMEDY}",
    ] == lines(mine)


def test_pipes_sockets_and_devices_are_named(mine):
    os.mkfifo(mine / "images/pipe")
    (mine / "zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("mine/socket")

    assert [
        f"{mine}/socket: a socket. {REMEDY}",
        f"{mine}/zero: a device. {REMEDY}",
        f"{mine}/images/pipe: a named pipe. {REMEDY}",
    ] == lines(mine)
    assert [f"{mine}/images/pipe: a named pipe. {REMEDY}"] == lines(mine / "images/pipe")


def test_a_folder_that_cannot_be_listed_is_named(mine, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(stray_entries.os, "scandir", refuse)

    assert [f"{mine}: Permission denied. Make the folder readable, or move it elsewhere."] == lines(mine)


def test_a_large_folder_takes_little_time_and_few_lines(mine):
    for number in range(5000):
        (mine / f"{number}.txt").symlink_to("images/a.jpg")
        (mine / f"images/{number}").symlink_to("/nowhere")
    before = time.monotonic()

    assert stray_entries.SHOWN == len(lines(mine))
    assert time.monotonic() - before < 5


def test_check_refuses_them_in_a_line_each(mine):
    """Before the images and masks are looked for: the patterns of the preset match none of these."""
    os.mkfifo(mine / "pipe")
    (mine / "notes.txt").symlink_to("/nowhere")
    document = params.load(ROOT / "presets/folder.yaml")
    document["data"]["input"] = "mine"
    Path("params.yaml").write_text(json.dumps(document), encoding="utf-8")

    assert [
        f"mine/notes.txt: a link to /nowhere: No such file or directory. {REMEDY}",
        f"mine/pipe: a named pipe. {REMEDY}",
    ] == [str(problem) for problem in check.on_this_machine()]
