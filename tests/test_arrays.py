import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segline import arrays, encode
from segline.dataset import Label, Void
from segline.errors import DataError

CLASSES = (Label("sky", (1, 2, 3)), Label("tree", (4, 5, 6)))
ROWS = tuple(
    arrays.Row(name, group, 5, 7, f"images/{name}.png", f"masks/{name}.png", "a" * 64, "b" * 64)
    for name, group in (("a", "drive"), ("b", None), ("c", "drive"))
)
VALUES = ((0, 0), (7, 1), (8, 1), (255, None))
INDEX = arrays.Index("street", "train", CLASSES, Void(255, (0, 0, 0)), False, "index", VALUES, ROWS)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
ONEHOT = np.random.default_rng(1).choice(np.array([0, 1, 2], np.uint8), (3, 5, 7, 1))


def write(folder: Path, index: arrays.Index = INDEX) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in ((arrays.IMAGES, IMAGES), (arrays.ONEHOT, ONEHOT)):
        with arrays.writing(folder / name, content.shape) as append:
            for row in content:
                append(row)
    arrays.write_index(folder, index)
    return folder


def test_what_was_written_is_read(tmp_path):
    split = arrays.read(write(tmp_path / "train"))

    assert split.index == INDEX
    np.testing.assert_array_equal(split.images, IMAGES)
    np.testing.assert_array_equal(split.onehot, ONEHOT)


def test_the_arrays_are_plain_npy_files(tmp_path):
    """Anyone can open them with np.load."""
    folder = write(tmp_path / "train")

    np.testing.assert_array_equal(np.load(folder / arrays.IMAGES), IMAGES)


def test_the_arrays_are_mapped_read_only(tmp_path):
    split = arrays.read(write(tmp_path / "train"))

    assert isinstance(split.images, np.memmap)
    assert isinstance(split.onehot, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0


def test_writing_twice_gives_equal_bytes(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "two")

    for name in (arrays.IMAGES, arrays.ONEHOT, arrays.INDEX):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_void_none_comes_back_as_none(tmp_path):
    index = replace(INDEX, void=None, values=VALUES[:3])

    assert arrays.read(write(tmp_path / "train", index)).index == index


@pytest.mark.parametrize("row", [np.zeros((5, 7, 1), np.uint8), np.zeros((5, 7, 3), np.float32)])
def test_a_row_of_another_shape_or_type_is_refused(tmp_path, row):
    with arrays.writing(tmp_path / arrays.IMAGES, IMAGES.shape) as append, pytest.raises(ValueError, match="expected"):
        append(row)


@pytest.mark.parametrize("name", [arrays.IMAGES, arrays.ONEHOT, arrays.INDEX])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write(tmp_path / "train")
    (folder / name).unlink()

    with pytest.raises(DataError, match=f"{name}: missing"):
        arrays.read(folder)


@pytest.mark.parametrize("name", [arrays.IMAGES, arrays.ONEHOT, arrays.INDEX])
@pytest.mark.parametrize("kept", [0, 1, 60, -1])
def test_a_cut_file_is_refused(tmp_path, name, kept):
    folder = write(tmp_path / "train")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: kept if kept >= 0 else len(content) - 2])

    with pytest.raises(DataError, match="preprocess"):
        arrays.read(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (arrays.IMAGES, IMAGES[:2]),
        (arrays.IMAGES, IMAGES[..., 0]),
        (arrays.IMAGES, IMAGES[..., :2]),
        (arrays.IMAGES, IMAGES.astype(np.float32)),
        (arrays.ONEHOT, ONEHOT[:, :4]),
        (arrays.ONEHOT, ONEHOT.repeat(2, axis=-1)),
        (arrays.ONEHOT, ONEHOT.astype(np.int64)),
        (arrays.IMAGES, np.array([None])),
        (arrays.IMAGES, np.uint8(1)),
    ],
    ids=["rows", "no-channels", "two-channels", "float", "height", "depth", "int64", "object", "scalar"],
)
def test_files_that_do_not_fit_each_other_are_refused(tmp_path, name, content):
    folder = write(tmp_path / "train")
    np.save(folder / name, content)

    with pytest.raises(DataError, match="train"):
        arrays.read(folder)


@pytest.mark.parametrize(
    "damage",
    [{"rows": [{"stem": "a"}]}, {"classes": 3}, {"void": {}}, {"values": [[1]]}, {"values": [[1, "a"]]}, {"new": 1}],
)
def test_an_index_of_another_form_is_refused(tmp_path, damage):
    folder = write(tmp_path / "train")
    content = json.loads((folder / arrays.INDEX).read_text())
    (folder / arrays.INDEX).write_text(json.dumps(content | damage))

    with pytest.raises(DataError, match="not a processed split"):
        arrays.read(folder)


def test_one_hot_rows_unpack_to_classes(tmp_path):
    split = arrays.read(write(tmp_path / "train"))

    expected = np.select([ONEHOT[..., 0] == 1, ONEHOT[..., 0] == 2], [0, 1], encode.VOID)

    np.testing.assert_array_equal(encode.unpack(split.onehot, len(split.index.classes)), expected)
