import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segline.core.errors import DataError, IntegrityError, PipelineError
from segline.dataset import onehot, origins, parts, processed
from segline.dataset.origins import ORIGINS as ORIGINS_FILE
from segline.dataset.origins import Origin
from segline.dataset.raw import Label, Void
from tests import tiny

CLASSES = (Label("sky", (1, 2, 3)), Label("tree", (4, 5, 6)))
ORIGINS = tuple(
    Origin(name, group, 5, 7, f"images/{name}.png", f"masks/{name}.png", "a" * 64, "b" * 64)
    for name, group in (("a", "drive"), ("b", None), ("c", "drive"))
)
VALUES = ((0, 0), (7, 1), (8, 1), (255, None))
INDEX = processed.Index(
    "street", "train", CLASSES, Void(255, (0, 0, 0)), False, "index", VALUES, tiny.stretched(5, 7), origins=ORIGINS
)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), np.uint8)
ONEHOT = np.random.default_rng(1).choice(np.array([0, 1, 2], np.uint8), (3, 5, 7, 1))


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def write(folder: Path, index: processed.Index = INDEX) -> Path:
    folder.mkdir(exist_ok=True)
    tiny.write_split(folder, index, IMAGES, ONEHOT)
    return folder


def in_memory(index: processed.Index) -> processed.Index:
    return replace(index, origins=tuple(index.origins))


def test_what_was_written_is_read(tmp_path):
    split = processed.read(write(tmp_path / "train"))

    assert INDEX == in_memory(split.index)
    np.testing.assert_array_equal(split.images, IMAGES)
    np.testing.assert_array_equal(split.onehot, ONEHOT)


def test_the_arrays_are_plain_npy_files(tmp_path):
    """Anyone can open them with np.load."""
    folder = write(tmp_path / "train")

    np.testing.assert_array_equal(np.load(folder / tiny.IMAGES), IMAGES)


def test_the_arrays_are_mapped_read_only(tmp_path):
    split = processed.read(write(tmp_path / "train"))

    assert isinstance(split.images, np.memmap)
    assert isinstance(split.onehot, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0


def test_writing_twice_gives_equal_bytes(tmp_path):
    one, two = write(tmp_path / "one"), write(tmp_path / "two")

    for name in (tiny.IMAGES, tiny.ONEHOT, processed.INDEX, ORIGINS_FILE):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize(("rows_of_part", "files"), [(1, 3), (2, 2), (3, 1), (9, 1)])
def test_in_parts_of_any_size_the_same_is_read(tmp_path, monkeypatch, rows_of_part, files):
    """Both arrays are cut at the same rows, as the larger one needs."""
    monkeypatch.setattr(parts, "MAX_BYTES", parts.HEADER + rows_of_part * IMAGES[0].nbytes)
    folder = write(tmp_path / "train")
    split = processed.read(folder)

    assert INDEX == in_memory(split.index)
    assert [*IMAGES.tobytes()] == [*np.array(split.images).tobytes()]
    assert [*ONEHOT.tobytes()] == [*np.array(split.onehot).tobytes()]
    for name in ("images", "onehot"):
        sizes = [len(np.load(path)) for path in sorted(folder.glob(f"{name}-*.npy"))]
        assert files == len(sizes)
        assert [min(3, rows_of_part)] * (files - 1) == sizes[:-1]
        assert 3 == sum(sizes)


def test_a_damaged_or_missing_part_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MAX_BYTES", 1)
    folder = write(tmp_path / "train")
    path = folder / "onehot-00001.npy"
    path.write_bytes(flipped(path.read_bytes(), -1))
    with pytest.raises(IntegrityError, match=r"train/onehot-00001\.npy: damaged: sha256 "):
        processed.read(folder)
    path.unlink()

    with pytest.raises(DataError, match=r"train/onehot-00001\.npy: missing\. Run the preprocess stage again"):
        processed.read(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows_of_part": 2}, "3 parts of images, expected 2 for 3 rows"),
        ({"rows_of_part": 0}, "rows_of_part: input should be greater"),
        ({"sha256_onehot": []}, "0 parts of onehot, expected 3 for 3 rows"),
        ({"sha256_images": ["0" * 63]}, "sha256_images.0"),
    ],
)
def test_an_index_of_other_parts_is_refused(tmp_path, monkeypatch, changes, said):
    monkeypatch.setattr(parts, "MAX_BYTES", 1)
    folder = write(tmp_path / "train")
    tiny.seal_again(folder, **changes)

    with pytest.raises(DataError, match=f"not a processed split .*{said}"):
        processed.read(folder)


def test_origins_of_more_rows_than_a_disk_has_are_refused_before_they_take_memory(tmp_path):
    folder = write(tmp_path / "train")
    huge = [replace(ORIGINS[0], height=(1 << 26) - 32 * n, width=1 << 26) for n in range(9)]
    origins.write(folder / ORIGINS_FILE, huge, with_objects=False)
    tiny.seal_again(folder, preparation=replace(tiny.stretched(32, 32), fit="tile").as_dict(), rows_of_part=1)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"not a processed split \(1 parts of images, expected \d{14} for \d{14} rows"):
        processed.read(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 20


def test_parts_that_were_exchanged_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MAX_BYTES", 1)
    folder = write(tmp_path / "train")
    one, two, spare = (folder / name for name in ("images-00000.npy", "images-00002.npy", "spare"))
    one.rename(spare)
    two.rename(one)
    spare.rename(two)

    with pytest.raises(IntegrityError, match=r"images-00000\.npy: damaged"):
        processed.read(folder)


def test_a_split_without_rows_has_one_empty_part(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    index = replace(INDEX, origins=())
    tiny.write_split(folder, index, IMAGES[:0], ONEHOT[:0])
    split = processed.read(folder)

    assert (0, 5, 7, 3) == split.images.shape
    assert (0, 5, 7, 1) == split.onehot.shape
    assert index == in_memory(split.index)


def test_void_none_comes_back_as_none(tmp_path):
    index = replace(INDEX, void=None, values=VALUES[:3])

    assert index == in_memory(processed.read(write(tmp_path / "train", index)).index)


@pytest.mark.parametrize("name", [tiny.IMAGES, tiny.ONEHOT, processed.INDEX, ORIGINS_FILE])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write(tmp_path / "train")
    (folder / name).unlink()

    with pytest.raises(DataError, match=f"{name}: missing"):
        processed.read(folder)


@pytest.mark.parametrize("name", [tiny.IMAGES, tiny.ONEHOT, processed.INDEX, ORIGINS_FILE])
@pytest.mark.parametrize("kept", [0, 1, 60, -1])
def test_a_cut_file_is_refused(tmp_path, name, kept):
    folder = write(tmp_path / "train")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: kept if kept >= 0 else len(content) - 2])

    with pytest.raises(PipelineError, match="preprocess"):
        processed.read(folder)


@pytest.mark.parametrize("name", [tiny.IMAGES, tiny.ONEHOT, processed.INDEX, ORIGINS_FILE])
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
    with (folder / tiny.IMAGES).open("r+b") as stream:
        stream.truncate(1 << 28)  # a hole: it takes no space
    with pytest.raises(IntegrityError, match=r"images-00000\.npy: damaged: sha256 \w{12}\.\.\., expected \w{12}"):
        processed.read(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 1 << 23


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (tiny.IMAGES, IMAGES[:2]),
        (tiny.IMAGES, IMAGES[..., 0]),
        (tiny.IMAGES, IMAGES[..., :2]),
        (tiny.IMAGES, IMAGES.astype(np.float32)),
        (tiny.ONEHOT, ONEHOT[:, :4]),
        (tiny.ONEHOT, ONEHOT.repeat(2, axis=-1)),
        (tiny.ONEHOT, ONEHOT.astype(np.int64)),
        (tiny.IMAGES, np.array([None])),
        (tiny.IMAGES, np.uint8(1)),
    ],
    ids=["rows", "no-channels", "two-channels", "float", "height", "depth", "int64", "object", "scalar"],
)
def test_files_that_do_not_fit_each_other_are_refused(tmp_path, name, content):
    folder = write(tmp_path / "train")
    np.save(folder / name, content)
    tiny.seal_again(folder)

    with pytest.raises(
        DataError, match=rf"train: not a processed split \({name}: .*(expected uint8 \(3, 5, 7, |objects)"
    ):
        processed.read(folder)


def test_the_arrays_of_an_older_version_are_one_line_that_says_what_to_do(tmp_path):
    folder = write(tmp_path / "train")
    for name in ("images", "onehot"):
        (folder / f"{name}-00000.npy").rename(folder / f"{name}.npy")
    old = "written by an older version: images.npy, where arrays now have parts. Run the preprocess stage again"

    with pytest.raises(DataError, match=old):
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
    (folder / tiny.IMAGES).write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(315))
    tiny.seal_again(folder)

    with pytest.raises(DataError, match="not a processed split") as caught:
        processed.read(folder)
    assert 1 == len(str(caught.value).splitlines())
    assert len(str(caught.value)) < 1000


def test_a_pipe_or_a_folder_in_place_of_an_array_is_named_and_not_waited_for(tmp_path):
    folder = write(tmp_path / "train")
    (folder / tiny.ONEHOT).unlink()
    os.mkfifo(folder / tiny.ONEHOT)

    with pytest.raises(DataError, match=r"onehot-00000\.npy: a folder, pipe or device, expected a file"):
        processed.read(folder)


@pytest.mark.parametrize(
    "damage",
    [
        *({"origins": []}, {"rows": []}, {"classes": 3}, {"void": {}}, {"values": [[1]]}, {"values": [[1, "a"]]}),
        {"new": 1},
        *({"values": [[1.0, 1]]}, {"values": [[1, 255]]}, {"values": [[-1, 0]]}, {"void_is_class": 1}, {"split": 1}),
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
