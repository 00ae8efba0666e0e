"""The processed splits of a raw data set: complete, or not written at all."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from segline.core.errors import DataError, PipelineError, Problems
from segline.dataset import processed
from segline.dataset import raw as raw_dataset
from segline.preprocessing import pairs, split_writer
from tests import tiny
from tests.preprocessing import faulty
from tests.preprocessing.test_headers import chunk
from tests.preprocessing.test_images import encoded, stored

SECTION = pairs.Section(**tiny.PARAMETERS["preprocess"] | {"height": 6, "width": 8})
SIZE = 8 * 6 * (3 + 1) * 5  # 8x6 pixels of 3 channels and a byte of one-hot bits, five pairs


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Three pairs in train, two in val."""
    made = faulty.begin(tmp_path, monkeypatch)
    made.write()
    return made


@pytest.fixture
def free_space(monkeypatch) -> Callable[[int], None]:
    """Makes the disk look as if it had so many bytes left."""
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def write() -> Path:
    data = raw_dataset.read(Path("raw"))
    split_writer.write(Path("raw"), Path("processed"), pairs.recipe(Path("raw"), data, SECTION), data)
    return Path("processed")


def test_each_split_has_a_row_for_each_pair(raw):
    folder = write()

    assert {"train", "val"} == {path.name for path in folder.iterdir()}
    for split, stems in raw.splits.items():
        assert stems == [origin.stem for origin in processed.read(folder / split).index.origins]


def test_problems_of_all_splits_come_together_and_nothing_is_written(raw):
    for split, stem in (("train", "train_1"), ("val", "val_0")):
        raw.mask(split, stem).unlink()

    with pytest.raises(Problems) as caught:
        write()

    assert ["raw/train/masks/train_1.png", "raw/val/masks/val_0.png"] == [each.where for each in caught.value.problems]
    assert {"raw", "params.yaml"} == {path.name for path in Path().iterdir()}


@pytest.mark.usefixtures("raw")
def test_too_little_disk_space_is_reported_before_any_work(free_space):
    free_space(0)

    with pytest.raises(PipelineError, match=r"processed: 0 MiB free on its disk, expected at least 1 MiB"):
        write()


@pytest.mark.usefixtures("raw")
def test_the_arrays_must_fit_twice_because_dvc_copies_them(free_space):
    free_space(2 * SIZE - 1)
    with pytest.raises(PipelineError, match=r"twice the size of the arrays: DVC's cache keeps a copy\. Free some"):
        write()
    free_space(2 * SIZE)

    assert write().is_dir()


def palette_mask(*colours: tuple[int, int, int]) -> bytes:
    """Stripes of three palette indices with these colours."""
    return stored(np.arange(3).repeat(4)[:, None].repeat(16, axis=1), 8, 3, chunk(b"PLTE", bytes(sum(colours, ()))))


def all_palettes(raw: faulty.Raw) -> None:
    """Masks of the same three colours, whose palettes are in an order of their own in each split."""
    for split, stems in raw.splits.items():
        for stem in stems:
            order = [(1, 2, 3), (255, 0, 0), (0, 0, 255)]
            raw.mask(split, stem).write_bytes(palette_mask(*(order if split == "train" else order[::-1])))


def test_one_index_of_two_colours_is_an_error_that_names_both_files(raw):
    all_palettes(raw)
    raw.write()

    with pytest.raises(DataError) as caught:
        write()

    assert str(caught.value).startswith(
        "raw/val/masks/val_0.png: palette index 0 is (0, 0, 255), but (1, 2, 3) in raw/train/masks/train_0.png; "
        "2 indices and 2 masks differ from earlier ones. If the colours are the classes, set data.folder.encoding to"
    )
    assert {"raw", "params.yaml"} == {path.name for path in Path().iterdir()}


def test_the_encoding_palette_maps_colours_to_classes_whatever_their_indices(raw):
    all_palettes(raw)
    raw.encoding, raw.values, raw.void = "palette", (0x010203, 0xFF0000, 0x0000FF), None
    raw.write()
    folder = write()
    train, val = (np.unpackbits(processed.read(folder / split).onehot, axis=-1) for split in ("train", "val"))

    np.testing.assert_array_equal(train[0], val[0, ::-1])


def test_a_threshold_admits_jpeg_masks_and_leaves_two_classes(raw):
    half = np.zeros((12, 16), np.uint8)
    half[:, 8:] = 255
    for split, stems in raw.splits.items():
        for stem in stems:
            raw.mask(split, stem).write_bytes(encoded(cv2.GaussianBlur(half, (3, 3), 0)))
    faulty.put(raw, "mask", encoded(half, ".jpg"), ".jpg")
    data = raw_dataset.read(Path("raw"))
    changed = replace(data, classes=data.classes[:2], values=(0, 1), void=None, threshold=127)
    raw_dataset.write(Path("raw"), changed)
    split = processed.read(write() / "train")

    assert 127 == split.index.threshold
    for onehot in split.onehot[:, :, :, 0]:
        np.testing.assert_array_equal(onehot, np.array([1] * 4 + [2] * 4)[None].repeat(6, axis=0))


def test_images_that_lose_their_levels_are_said_once_with_an_example(raw, capsys):
    for split, stems in raw.splits.items():
        for stem in stems:
            most = 65535 if stem == "val_0" else 4095
            seed = int.from_bytes(stem.encode(), "big")
            values = np.random.default_rng(seed).integers(0, most, (12, 16), np.uint16)
            raw.image(split, stem).write_bytes(encoded(values))
    raw.write()
    write()
    (line,) = capsys.readouterr().err.splitlines()

    assert line.startswith(
        "warning: 4 of 5 16-bit images keep fewer than 64 of 256 gray levels, such as raw/train/images/train_0.png (17 "
        "levels): a value v becomes v / 257"
    )
