"""The images of a split are read from the disk, a line each, and every line is checked once."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset import origins
from segline.dataset.origins import Origin, Origins

ONE = Origin("ä b", None, 5, 7, "images/ä b.png", "masks/\u2028.png", "a" * 64, "b" * 64)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


def written(path: Path, *listed: Origin, with_objects: bool = False) -> Origins:
    origins.write(path, listed, with_objects=with_objects)
    return Origins(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("origins") / "origins.jsonl"


@given(stems=st.lists(NAMES, max_size=5), group=st.none() | NAMES, page=st.none() | st.integers(1, 99))
def test_whatever_was_written_is_read(path, stems, group, page):
    listed = [replace(ONE, stem=stem, group=group, page=page) for stem in stems]
    read = written(path, *listed)

    assert listed == [*read]
    assert tuple(listed[1:3]) == read[1:3]
    assert len(listed) == len(read)
    assert listed[-1:] == ([read[-1]] if listed else [])
    assert len(listed) == len(path.read_bytes().splitlines())


def test_only_lines_with_objects_speak_of_them(tmp_path):
    numbered = replace(ONE, objects="o.png", sha256_objects="c" * 64)

    assert [numbered] == [*written(tmp_path / "with", numbered, with_objects=True)]
    assert [ONE] == [*written(tmp_path / "without", numbered)]
    assert b"objects" not in (tmp_path / "without").read_bytes()


def test_there_is_none_beyond_the_last(tmp_path):
    read = written(tmp_path / "two", ONE, ONE)

    for number in (2, -3):
        with pytest.raises(IndexError):
            read[number]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'"height": 5', b'"height": 0'),
        (b'"height": 5', b'"height": 5.0'),
        (b'"width": 7', b'"width": 1000000000'),
        (b"masks/", b"\\u0000"),
        (b'"image"', b'"picture"'),
        (b'{"', b'{"new": 1, "'),
        (b"\n", b""),
        (b"\n", b"\n\n"),
        (b'"stem": ', b'"stem": ' + b" " * origins.MAX_LINE),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path, line, said):
    path = tmp_path / "origins.jsonl"
    written(path, ONE, ONE)
    content = path.read_bytes()
    place = content.rindex(line)
    path.write_bytes(content[:place] + said + content[place + len(line) :])

    with pytest.raises(ValueError, match=r"^origins\.jsonl, line [23]: ") as caught:
        Origins(path)
    assert 1 == len(str(caught.value).splitlines())


def test_they_stay_on_the_disk(tmp_path):
    count = 5000
    written(tmp_path / "many", *[ONE] * count)
    tracemalloc.start()
    read = Origins(tmp_path / "many")
    sides = sum(origin.height for origin in read)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 5 * count == sides
    assert peak < 40 * count
