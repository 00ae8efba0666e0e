import json
from dataclasses import replace

import pytest

from segline.core.errors import DataError
from segline.dataset import raw
from segline.dataset.raw import Dataset, Label, Pair, Void


def pair(stem: str, group: str | None = None) -> Pair:
    return Pair(stem, group, f"images/{stem}.png", f"masks/{stem}.png", "a" * 64, "b" * 64)


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
        {"splits": []},
        {"splits": {"train": [{"stem": "a"}]}},
        {"splits": {"train": [{**pair("a").__dict__, "depth": "a.exr"}]}},
    ],
)
def test_an_index_of_another_form_is_refused(tmp_path, change):
    raw.write(tmp_path, STREET)
    content = json.loads((tmp_path / raw.DATASET_FILE).read_text())
    (tmp_path / raw.DATASET_FILE).write_text(json.dumps(content | change))

    with pytest.raises(DataError, match=r"dataset\.json: not a data set index"):
        raw.read(tmp_path)


def test_an_unknown_mask_encoding_is_refused(tmp_path):
    raw.write(tmp_path, replace(STREET, encoding="polygons"))

    with pytest.raises(DataError, match="mask encoding 'polygons'"):
        raw.read(tmp_path)
