import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segline.core.errors import DataError
from segline.dataset import onehot, processed
from segline.dataset.raw import Label, Void

CLASSES = (Label("sky", (1, 2, 3)), Label("tree", (4, 5, 6)))
ROWS = tuple(
    processed.Row(name, group, 5, 7, f"images/{name}.png", f"masks/{name}.png", "a" * 64, "b" * 64)
    for name, group in (("a", "drive"), ("b", None), ("c", "drive"))
)
VALUES = ((0, 0), (7, 1), (8, 1), (255, None))
INDEX = processed.Index("street", "train", CLASSES, Void(255, (0, 0, 0)), False, "index", VALUES, ROWS)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
ONEHOT = np.random.default_rng(1).choice(np.array([0, 1, 2], np.uint8), (3, 5, 7, 1))


def write(folder: Path, index: processed.Index = INDEX) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in ((processed.IMAGES, IMAGES), (processed.ONEHOT, ONEHOT)):
        with processed.writing(folder / name, content.shape) as append:
            for row in content:
                append(row)
    processed.write_index(folder, index)
    return folder


def test_what_was_written_is_read(tmp_path):
    split = processed.read(write(tmp_path / "train"))

    assert split.index == INDEX
    np.testing.assert_array_equal(split.images, IMAGES)
    np.testing.assert_array_equal(split.onehot, ONEHOT)


def test_the_arrays_are_plain_npy_files(tmp_path):
    """Anyone can open them with np.load."""
    folder = write(tmp_path / "train")

    np.testing.assert_array_equal(np.load(folder / processed.IMAGES), IMAGES)


def test_the_arrays_are_mapped_read_only(tmp_path):
    split = processed.read(write(tmp_path / "train"))

    assert isinstance(split.images, np.memmap)
    assert isinstance(split.onehot, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0


def test_writing_twice_gives_equal_bytes(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "two")

    for name in (processed.IMAGES, processed.ONEHOT, processed.INDEX):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_void_none_comes_back_as_none(tmp_path):
    index = replace(INDEX, void=None, values=VALUES[:3])

    assert processed.read(write(tmp_path / "train", index)).index == index


@pytest.mark.parametrize("row", [np.zeros((5, 7, 1), np.uint8), np.zeros((5, 7, 3), np.float32)])
def test_a_row_of_another_shape_or_type_is_refused(tmp_path, row):
    with (
        processed.writing(tmp_path / processed.IMAGES, IMAGES.shape) as append,
        pytest.raises(ValueError, match="expected"),
    ):
        append(row)


@pytest.mark.parametrize("name", [processed.IMAGES, processed.ONEHOT, processed.INDEX])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write(tmp_path / "train")
    (folder / name).unlink()

    with pytest.raises(DataError, match=f"{name}: missing"):
        processed.read(folder)


@pytest.mark.parametrize("name", [processed.IMAGES, processed.ONEHOT, processed.INDEX])
@pytest.mark.parametrize("kept", [0, 1, 60, -1])
def test_a_cut_file_is_refused(tmp_path, name, kept):
    folder = write(tmp_path / "train")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: kept if kept >= 0 else len(content) - 2])

    with pytest.raises(DataError, match="preprocess"):
        processed.read(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (processed.IMAGES, IMAGES[:2]),
        (processed.IMAGES, IMAGES[..., 0]),
        (processed.IMAGES, IMAGES[..., :2]),
        (processed.IMAGES, IMAGES.astype(np.float32)),
        (processed.ONEHOT, ONEHOT[:, :4]),
        (processed.ONEHOT, ONEHOT.repeat(2, axis=-1)),
        (processed.ONEHOT, ONEHOT.astype(np.int64)),
        (processed.IMAGES, np.array([None])),
        (processed.IMAGES, np.uint8(1)),
    ],
    ids=["rows", "no-channels", "two-channels", "float", "height", "depth", "int64", "object", "scalar"],
)
def test_files_that_do_not_fit_each_other_are_refused(tmp_path, name, content):
    folder = write(tmp_path / "train")
    np.save(folder / name, content)

    with pytest.raises(DataError, match="train"):
        processed.read(folder)


@pytest.mark.parametrize(
    "damage",
    [{"rows": [{"stem": "a"}]}, {"classes": 3}, {"void": {}}, {"values": [[1]]}, {"values": [[1, "a"]]}, {"new": 1}],
)
def test_an_index_of_another_form_is_refused(tmp_path, damage):
    folder = write(tmp_path / "train")
    content = json.loads((folder / processed.INDEX).read_text())
    (folder / processed.INDEX).write_text(json.dumps(content | damage))

    with pytest.raises(DataError, match="not a processed split"):
        processed.read(folder)


def test_one_hot_rows_unpack_to_classes(tmp_path):
    split = processed.read(write(tmp_path / "train"))

    expected = np.select([ONEHOT[..., 0] == 1, ONEHOT[..., 0] == 2], [0, 1], onehot.VOID)

    np.testing.assert_array_equal(onehot.unpack(split.onehot, len(split.index.classes)), expected)
