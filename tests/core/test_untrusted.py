"""Files of unknown origin are bounded, typed, and refused in one short line."""

import os
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from segline.core import untrusted


def test_a_file_is_read_whole_up_to_its_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")

    assert untrusted.read(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="5 bytes, expected at most 4"):
        untrusted.read(tmp_path / "a", 4)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: None, "missing"),  # noqa: ARG005
        (lambda path: path.symlink_to("gone"), "a link that leads nowhere"),
        (lambda path: path.mkdir(), "a folder, pipe or device, expected a file"),
        (os.mkfifo, "a folder, pipe or device, expected a file"),
        (lambda path: path.symlink_to("/dev/zero"), "a folder, pipe or device, expected a file"),
        (lambda path: path.symlink_to(path), "cannot be read (Too many levels of symbolic links)"),
    ],
    ids=["nothing", "dangling", "folder", "pipe", "device", "circle"],
)
def test_anything_else_is_named_and_never_waited_for(tmp_path, make, expected):
    make(tmp_path / "a")
    start = time.monotonic()
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the words are checked below
        untrusted.read(tmp_path / "a", 1 << 20)

    assert expected == untrusted.problem(caught.value)
    assert caught.value.filename == str(tmp_path / "a") or Path(caught.value.filename) == tmp_path / "a"
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, "2"]}', "a.1: input should be a valid integer, got '2'"),
        ('{"a": 1', "invalid JSON: EOF while parsing an object at line 1 column 7"),
        ('{"' + "k" * 10**6 + '": ["' + "v" * 10**6 + '"]}', "input should be a valid integer, got 'vvv"),
        ("[" * 10**6, "invalid JSON: recursion limit exceeded"),
        ('{"\\u001b": [0.5]}', r"\x1b.0: input should be a valid integer, got 0.5"),
    ],
    ids=["type", "cut", "huge", "deep", "control"],
)
def test_the_first_mismatch_is_one_short_line(text, expected):
    with pytest.raises(ValueError, match=r".") as caught:
        untrusted.parse_json(text, TypeAdapter(dict[str, list[int]]))

    assert expected in str(caught.value)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()
