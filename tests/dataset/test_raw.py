import errno
import json
import math
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core.errors import DataError
from segline.dataset import raw
from segline.dataset.raw import Dataset, Label, Pair, Void


def pair(stem: str, group: str | None = None) -> Pair:
    return Pair(stem, group, f"images/{stem}.png", f"masks/{stem}.png", "a" * 64, "b" * 64)


WRONG_PAIRS = (
    *({"stem": 1}, {"stem": ["a"]}, {"stem": None}, {"stem": ""}, {"group": 3}, {"image": {}}, {"image": "a\0b"}),
    *({"mask": None}, {"mask": "m" * 5000}, {"sha256_image": "A" * 64}, {"sha256_mask": 3}, {"sha256_mask": "a"}),
    *({"objects": ""}, {"objects": 7}, {"objects": "o" * 5000}, {"sha256_objects": "A" * 64}, {"sha256_objects": 3}),
)
STREET = Dataset(
    name="street",
    classes=(Label("sky", (128, 128, 128)), Label("road", (128, 64, 128))),
    values=(0, 1),
    void=Void(255, (0, 0, 0)),
    encoding="index",
    splits={"train": [pair("a", "drive"), pair("b")], "val": [pair("c")]},
)


def test_the_summary_counts_pairs_and_known_groups():
    splits = {"train": [pair("a", "drive"), pair("b"), pair("c", "drive"), pair("d", "walk")], "val": [pair("e")]}

    expected = "street, 2 classes; pairs (groups): train 4 (2), val 1 (0)"

    assert expected == raw.summary(replace(STREET, splits=splits))


@pytest.mark.parametrize("void", [STREET.void, None])
def test_what_was_written_is_read(tmp_path, void):
    expected = replace(STREET, void=void)

    raw.write(tmp_path, expected)

    assert raw.read(tmp_path) == expected


def test_object_numbers_are_read_where_a_pair_has_them_and_null_where_not(tmp_path):
    numbered = replace(pair("a"), objects="objects/a.png", sha256_objects="c" * 64)
    expected = replace(STREET, splits={"train": [numbered, pair("b")]})

    raw.write(tmp_path, expected)

    rows = json.loads((tmp_path / raw.DATASET_FILE).read_text())["splits"]["train"]
    assert [("objects/a.png", "c" * 64), (None, None)] == [(row["objects"], row["sha256_objects"]) for row in rows]
    assert raw.read(tmp_path) == expected


def test_an_index_from_before_there_were_object_numbers_is_read(tmp_path):
    raw.write(tmp_path, STREET)
    path = tmp_path / raw.DATASET_FILE
    content = json.loads(path.read_text())
    for rows in content["splits"].values():
        for row in rows:
            del row["objects"], row["sha256_objects"]
    path.write_text(json.dumps(content))

    assert raw.read(tmp_path) == STREET


def test_bytes_do_not_depend_on_the_order_of_pairs_and_splits(tmp_path):
    splits = {"val": [pair("c")], "train": [pair("b"), pair("a", "drive")]}
    shuffled = replace(STREET, splits=splits)
    raw.write(tmp_path / "one", STREET)
    raw.write(tmp_path / "two", shuffled)

    assert (tmp_path / "one" / raw.DATASET_FILE).read_bytes() == (tmp_path / "two" / raw.DATASET_FILE).read_bytes()


def test_pairs_are_sorted_by_stem(tmp_path):
    raw.write(tmp_path, replace(STREET, splits={"train": [pair("b"), pair("a")]}))

    assert [row.stem for row in raw.read(tmp_path).splits["train"]] == ["a", "b"]


def test_a_missing_index_tells_to_download(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.json: missing\. Run the download stage"):
        raw.read(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '{"name": "x"}', "\x00", '"\\ud800"'])
def test_a_broken_index_is_named(tmp_path, content):
    (tmp_path / raw.DATASET_FILE).write_text(content)

    with pytest.raises(DataError, match=r"dataset\.json: not a data set index"):
        raw.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": [{"name": "sky", "rgb": [1, 2]}]},
        {"classes": None},
        {"void": {"value": 3}},
        {"void": {"index": 3, "rgb": [0, 0, 0]}},
        {"values": 3},
        {"values": [0, 1.0]},
        {"values": [0, math.inf]},
        {"values": [0, math.nan]},
        {"values": [0, 10**30]},
        {"values": [0, True]},
        {"values": [0, "1"]},
        {"name": None},
        {"name": ["street"]},
        {"encoding": 3},
        {"void": {"value": math.inf, "rgb": [0, 0, 0]}},
        {"void": {"value": 3, "rgb": [0, 0, 256]}},
        {"classes": [{"name": 3, "rgb": [1, 2, 3]}]},
        {"classes": [{"name": "x" * 10_000_000, "rgb": [1, 2, 3]}]},
        {"classes": [{"name": "\x1b]0;title\x07", "rgb": [1, 2, 3]}]},
        {"classes": [{"name": "sky", "rgb": [1, 2, 3], "alpha": 1}]},
        {"splits": []},
        {"splits": {"train": {}}},
        {"splits": {"train": [1]}},
        *({"splits": {"train": [asdict(pair("a")) | wrong]}} for wrong in WRONG_PAIRS),
        {"splits": {"train": [{"stem": "a"}]}},
        {"splits": {"train": [{**asdict(pair("a")), "depth": "a.exr"}]}},
    ],
)
def test_an_index_of_another_form_is_refused(tmp_path, change):
    raw.write(tmp_path, STREET)
    content = json.loads((tmp_path / raw.DATASET_FILE).read_text())
    (tmp_path / raw.DATASET_FILE).write_text(json.dumps(content | change))

    with pytest.raises(DataError, match=r"dataset\.json: not a data set index") as caught:
        raw.read(tmp_path)
    assert 1 == len(str(caught.value).splitlines())
    assert len(str(caught.value)) < 500


def test_an_index_nested_a_million_deep_is_refused(tmp_path):
    (tmp_path / raw.DATASET_FILE).write_text('{"name": ' + "[" * 1_000_000)

    with pytest.raises(DataError, match=r"dataset\.json: not a data set index"):
        raw.read(tmp_path)


def test_an_index_that_leads_to_a_device_is_not_read(tmp_path):
    (tmp_path / raw.DATASET_FILE).symlink_to("/dev/zero")

    with pytest.raises(DataError, match=r"dataset\.json: a folder, pipe or device, expected a file"):
        raw.read(tmp_path)


def test_an_index_without_permission_is_not_missing(tmp_path, monkeypatch):
    raw.write(tmp_path, STREET)
    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(DataError, match=r"dataset\.json: cannot be read \(Permission denied\)"):
        raw.read(tmp_path)


def refuse(path: os.PathLike[str], *_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


@given(st.data())
def test_a_changed_byte_is_read_or_refused_in_one_line(data):
    """It has no digest of its own: DVC compares the one of the folder."""
    with tempfile.TemporaryDirectory() as folder:
        raw.write(Path(folder), STREET)
        path = Path(folder) / raw.DATASET_FILE
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        message = ""
        try:
            raw.read(Path(folder))
        except DataError as error:
            message = str(error)

    assert len(message.splitlines()) <= 1


def test_an_unknown_mask_encoding_is_refused(tmp_path):
    raw.write(tmp_path, replace(STREET, encoding="polygons"))

    with pytest.raises(DataError, match="mask encoding 'polygons'"):
        raw.read(tmp_path)
