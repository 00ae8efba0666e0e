import os
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from segline.core.errors import DataError, IntegrityError, PipelineError
from segline.dataset import onehot, processed
from segline.dataset.raw import Label, Void
from tests import tiny

CLASSES = (Label("sky", (1, 2, 3)), Label("tree", (4, 5, 6)))
ORIGINS = tuple(
    processed.Origin(name, group, 5, 7, f"images/{name}.png", f"masks/{name}.png", "a" * 64, "b" * 64)
    for name, group in (("a", "drive"), ("b", None), ("c", "drive"))
)
ROWS = tuple(processed.Row(number, 0, 0) for number in range(3))
VALUES = ((0, 0), (7, 1), (8, 1), (255, None))
INDEX = processed.Index(
    "street", "train", CLASSES, Void(255, (0, 0, 0)), False, "index", VALUES, tiny.stretched(5, 7), ORIGINS, ROWS
)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
ONEHOT = np.random.default_rng(1).choice(np.array([0, 1, 2], np.uint8), (3, 5, 7, 1))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


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

    with pytest.raises(PipelineError, match="preprocess"):
        processed.read(folder)


@pytest.mark.parametrize("name", [processed.IMAGES, processed.ONEHOT, processed.INDEX])
def test_every_flipped_bit_is_noticed(tmp_path, name):
    path = write(tmp_path / "train") / name
    content = path.read_bytes()
    for position in np.random.default_rng(5).integers(0, 8 * len(content), 300):
        path.write_bytes(flipped(content, int(position)))
        with pytest.raises(PipelineError, match="preprocess"):
            processed.read(path.parent)
    path.write_bytes(content)
    processed.read(path.parent)


def test_arrays_are_hashed_in_pieces_because_they_may_be_larger_than_memory(tmp_path):
    folder = write(tmp_path / "train")
    tracemalloc.start()
    with (folder / processed.IMAGES).open("r+b") as stream:
        stream.truncate(1 << 28)  # a hole: it takes no space
    with pytest.raises(IntegrityError, match=r"images\.npy: damaged: sha256 \w{12}\.\.\., expected \w{12}"):
        processed.read(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 23


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
    tiny.seal_again(folder)

    with pytest.raises(DataError, match="train"):
        processed.read(folder)


HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3, 5, 7, 3), }"


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace(b"7, 3)", b"7, 3"),
        HEADER.replace(b"(3, 5", b"(-3, 5"),
        HEADER.replace(b"(3, 5", b"(3" + b"0" * 30 + b", 5"),
        HEADER.replace(b"(3, 5", b"(3000000, 5"),
        HEADER.replace(b"|u1", b"|O"),
        HEADER.replace(b"|u1", b"<U9999999999999"),
        HEADER.replace(b"False", b"'" * 3),
        b"[" * 3000,
        b"{" + b" " * 20000 + HEADER[1:],
        b"\xff" * 40,
        b"",
    ],
    ids=["open", "negative", "overflow", "short", "object", "text", "token", "deep", "long", "bytes", "empty"],
)
def test_an_array_that_lies_in_its_header_is_one_line(tmp_path, header):
    """With the right digest, as only somebody who means it can write it."""
    folder = write(tmp_path / "train")
    (folder / processed.IMAGES).write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(315))
    tiny.seal_again(folder)

    with pytest.raises(DataError, match="not a processed split") as caught:
        processed.read(folder)
    assert 1 == len(str(caught.value).splitlines())
    assert len(str(caught.value)) < 1000


def test_a_pipe_or_a_folder_in_place_of_an_array_is_named_and_not_waited_for(tmp_path):
    folder = write(tmp_path / "train")
    (folder / processed.ONEHOT).unlink()
    os.mkfifo(folder / processed.ONEHOT)

    with pytest.raises(DataError, match=r"onehot\.npy: a folder, pipe or device, expected a file"):
        processed.read(folder)


def test_an_array_that_does_not_fit_on_the_disk_is_named_with_its_size():
    with pytest.raises(OSError, match=r"No space left on device after 0 of 443 bytes: '/dev/full'"):  # noqa: SIM117
        with processed.writing(Path("/dev/full"), IMAGES.shape):
            pass


@pytest.mark.parametrize("shape", [(3, 5, 7, 3), (1, 1), (4, 2, 3)])
def test_saved_arrays_have_the_bytes_of_numpy(tmp_path, shape):
    array = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    processed.save(tmp_path / "ours.npy", array)
    np.save(tmp_path / "numpy.npy", array)

    assert (tmp_path / "numpy.npy").read_bytes() == (tmp_path / "ours.npy").read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        *({"rows": [{"stem": "a"}]}, {"classes": 3}, {"void": {}}, {"values": [[1]]}, {"values": [[1, "a"]]}),
        {"new": 1},
        *({"values": [[1.0, 1]]}, {"values": [[1, 255]]}, {"values": [[-1, 0]]}, {"void_is_class": 1}, {"split": 1}),
        *(
            {"rows": [asdict(ROWS[0]) | wrong]}
            for wrong in ({"height": 0}, {"width": 1e9}, {"mask": "\0"}, {"stem": 1})
        ),
        *({"classes": [{"name": name, "rgb": [1, 2, 3]}]} for name in ("", "a\nb", "\x1b[2J", "x" * 201, 3)),
    ],
)
def test_an_index_of_another_form_is_refused(tmp_path, damage):
    folder = write(tmp_path / "train")
    tiny.seal_again(folder, **damage)

    with pytest.raises(DataError, match="not a processed split"):
        processed.read(folder)


def test_one_hot_rows_unpack_to_classes(tmp_path):
    split = processed.read(write(tmp_path / "train"))

    expected = np.select([ONEHOT[..., 0] == 1, ONEHOT[..., 0] == 2], [0, 1], onehot.VOID)

    np.testing.assert_array_equal(onehot.unpack(split.onehot, len(split.index.classes)), expected)
