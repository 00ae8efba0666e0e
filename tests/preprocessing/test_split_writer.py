"""The processed splits of a raw data set: complete, or not written at all."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image

from segline.core import params
from segline.core.errors import DataError, PipelineError, Problems
from segline.dataset import parts, processed
from segline.dataset import raw as raw_dataset
from segline.dataset.onehot import VOID, unpack
from segline.preprocessing import pair_files, pairs, split_writer
from tests import pictures, tiny
from tests.preprocessing import faulty
from tests.preprocessing.image_files.test_headers import chunk
from tests.preprocessing.test_images import encoded, stored

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


def section(**changes: Any) -> pairs.Section:
    """Rows of 6x8, unless something else is said."""
    return params.section(
        {"preprocess": tiny.PARAMETERS["preprocess"] | {"height": 6, "width": 8} | changes}, "preprocess", pairs.Section
    )


def write(**changes: Any) -> Path:
    data = raw_dataset.read(Path("raw"))
    split_writer.write(Path("raw"), Path("processed"), pairs.recipe(Path("raw"), data, section(**changes)), data)
    return Path("processed")


def test_each_split_has_a_row_for_each_pair(raw):
    folder = write()

    assert {"train", "val"} == {path.name for path in folder.iterdir()}
    for split, stems in raw.splits.items():
        assert stems == [origin.stem for origin in processed.read(folder / split).index.origins]


@pytest.mark.usefixtures("raw")
def test_parts_are_the_same_however_many_threads_write_them(monkeypatch):
    monkeypatch.setattr(parts, "MAX_BYTES", 1)
    expected = {path.name: path.read_bytes() for path in (write() / "train").glob("images-*.npy")}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))

    assert {f"images-0000{row}.npy" for row in range(3)} == expected.keys()
    assert expected == {path.name: path.read_bytes() for path in (write() / "train").glob("images-*.npy")}


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
        "warning: 4 of 5 images of more than 8 bits keep fewer than 64 gray levels, such as raw/train/images/"
        "train_0.png: 17 levels of "
    )
    assert line.endswith("Better, in preprocess: intensity: {by: percentile, low: 0.5, high: 99.5}")


TILES = {"fit": "tile", "height": 32, "width": 32, "overlap": 0.25}


def put(raw: faulty.Raw, split: str, stem: str, image: bytes, mask: bytes) -> None:
    """Replaces a pair by TIFF files of this content."""
    raw.image(split, stem).unlink()
    raw.mask(split, stem).unlink()
    data = raw_dataset.read(raw.folder)
    listed = list(data.splits[split])
    (place,) = (number for number, pair in enumerate(listed) if pair.stem == stem)
    names = {"image": f"images/{stem}.tif", "mask": f"masks/{stem}.tif"}
    for (kind, name), content in zip(names.items(), (image, mask), strict=True):
        (raw.folder / split / name).write_bytes(content)
        names = {**names, f"sha256_{kind}": hashlib.sha256(content).hexdigest()}
    listed[place] = replace(listed[place], **names)
    raw_dataset.write(raw.folder, replace(data, splits={**data.splits, split: listed}))


def noise(height: int, width: int, bands: int = 3, most: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng([height, width, bands, most]).integers(0, most, (height, width, bands)).astype(dtype)


def test_tiles_are_rows_that_know_their_image_and_place(raw):
    pixels, mask = noise(70, 50), noise(70, 50, 1, 3)
    put(raw, "train", "train_1", pictures.geotiff(pixels), pictures.geotiff(mask))
    split = processed.read(write(**TILES) / "train")
    places = [(row.top, row.left) for row in split.index.rows if row.origin == 1]

    assert (70, 50) == (split.index.origins[1].height, split.index.origins[1].width)
    assert [(top, left) for top in (0, 32, 64) for left in (0, 32)] == places
    assert [0, *[1] * 6, 2] == [row.origin for row in split.index.rows]
    for (top, left), image, onehot in zip(places, split.images[1:7], split.onehot[1:7], strict=True):
        part = pixels[top : top + 32, left : left + 32]
        height, width, _ = part.shape
        np.testing.assert_array_equal(image[:height, :width], part)
        labels = np.full((32, 32), VOID, np.uint8)
        labels[:height, :width] = mask[top : top + 32, left : left + 32, 0]
        np.testing.assert_array_equal(unpack(onehot, 3), labels)


def test_every_pixel_counts_once(raw):
    mask = noise(70, 50, 1, 3)
    put(raw, "train", "train_1", pictures.geotiff(noise(70, 50)), pictures.geotiff(mask))
    split = processed.read(write(**TILES | {"overlap": 0.5}) / "train")
    counts = np.zeros(3, int)
    for row, onehot, (top, bottom, left, right) in zip(split.index.rows, split.onehot, split.index.owned, strict=True):
        if row.origin == 1:
            counts += np.bincount(unpack(onehot, 3)[top:bottom, left:right].ravel(), minlength=3)

    np.testing.assert_array_equal(np.bincount(mask.ravel()), counts)
    assert 70 * 50 + 2 * 12 * 16 == split.index.num_pixels


def test_the_summary_says_what_was_rounded(raw):
    def said(**changes: Any) -> str:
        folder = write(**TILES | {"width": 96} | changes)
        return split_writer.summary([processed.read(folder / split).index for split in ("train", "val")])

    assert said(overlap=0.0).endswith(" pixels")
    assert said(scale=0.7).endswith(
        " pixels; scale 0.6957 for 0.7; neighbours share 0 lines and 32 columns for overlap 0.25"
    )


def test_the_disk_needs_room_for_all_tiles(raw, free_space):
    put(raw, "train", "train_1", pictures.geotiff(noise(70, 50)), pictures.geotiff(noise(70, 50, 1, 3)))
    needed = 2 * (6 + 4) * 32 * 32 * (3 + 1)
    free_space(needed - 1)
    with pytest.raises(PipelineError, match=r"Free some, or lower preprocess\.scale or preprocess\.overlap"):
        write(**TILES)
    free_space(needed)

    assert write(**TILES).is_dir()


def test_pages_are_images_of_one_group_with_their_numbers(raw):
    images, masks = [noise(12, 16, 1, 99 + page) for page in range(11)], [noise(12, 16, 1, 3)] * 11
    put(raw, "train", "train_1", *(pages([*stack]) for stack in (images, masks)))
    split = processed.read(write(height=12, width=16) / "train")
    origins = split.index.origins[1:12]

    assert [f"train_1-page-{number:02}" for number in range(1, 12)] == [origin.stem for origin in origins]
    assert [*range(1, 12)] == [origin.page for origin in origins]
    assert {("train-drive", "images/train_1.tif")} == {(origin.group, origin.image) for origin in origins}
    np.testing.assert_array_equal(split.images[1:12, :, :, :1], images)


def pages(stack: list[np.ndarray]) -> bytes:
    first, *others = [Image.fromarray(page[:, :, 0]) for page in stack]
    return pictures.saved(first, "TIFF", save_all=True, append_images=others)


def test_percentiles_are_measured_on_train_alone_and_serve_every_split(raw):
    for split, stem, most in (("train", "train_0", 1000), ("train", "train_1", 1000), ("train", "train_2", 1000),
                              ("val", "val_0", 4000), ("val", "val_1", 4000)):  # fmt: skip
        seed = int.from_bytes(stem.encode(), "big")
        values = np.random.default_rng(seed).integers(100, most, (12, 16, 1)).astype(np.uint16)
        put(raw, split, stem, pictures.geotiff(values), pictures.geotiff(noise(12, 16, 1, 3)))
    rule = {"by": "percentile", "low": 0, "high": 100}
    folder = write(bands="gray", height=12, width=16, intensity=rule)
    train, val = (processed.read(folder / split) for split in ("train", "val"))
    low, high = train.index.preparation.intensity.low[0], train.index.preparation.intensity.high[0]

    assert 100 <= low < 110
    assert 990 < high < 1000
    assert train.index.preparation == val.index.preparation
    assert 255 == val.images.max()
    stored = rasterio.open("raw/val/images/val_0.tif").read(1).astype(np.float64)
    expected = np.floor(255 * (stored.clip(low, high) - low) / (high - low) + 0.5)
    np.testing.assert_array_equal(expected, val.images[0, :, :, 0])


@pytest.mark.parametrize(
    ("changes", "dtype", "bands"),
    [
        ({"bands": "rgb"}, None, None),
        ({"bands": [3, 1]}, None, 3),
        ({"bands": "rgb", "intensity": {"by": "window", "low": 0, "high": 200}}, "uint8", None),
        ({"bands": [2], "intensity": {"by": "percentile", "low": 1, "high": 99}}, "uint8", 3),
    ],
)
@pytest.mark.usefixtures("raw")
def test_the_type_and_the_bands_of_files_are_kept_where_they_must_be_the_same(changes, dtype, bands):
    folder = write(**changes)
    for split in ("train", "val"):
        form = processed.read(folder / split).index.preparation
        stored = json.loads((folder / split / "index.json").read_text())["preparation"]

        assert (dtype, bands) == (form.dtype, form.file_bands)
        assert {"dtype": dtype, "file_bands": bands} == {key: stored.get(key) for key in ("dtype", "file_bands")}
        assert ("dtype" in stored, "file_bands" in stored) == (dtype is not None, bands is not None)


def test_what_is_done_to_images_is_said_once_with_a_count(raw, capsys):
    opaque = np.dstack([noise(12, 16), np.full((12, 16), 255, np.uint8)])
    for number in (0, 1):
        pixels = opaque + np.array([number, 0, 0, 0], np.uint8)
        raw.image("val", f"val_{number}").write_bytes(pictures.saved(pixels, "PNG"))
    raw.write()
    write()

    assert "warning: 2 images: opaque alpha dropped, such as raw/val/images/val_0.png\n" == capsys.readouterr().err


def test_pixels_without_data_are_void_and_the_index_says_so(raw):
    pixels, mask = noise(12, 16), np.zeros((12, 16, 1), np.uint8)
    pixels[:6] = 255
    put(raw, "train", "train_1", pictures.geotiff(pixels, nodata=255), pictures.geotiff(mask))
    split = processed.read(write(height=12, width=16, void="class") / "train")

    assert [False, True, False] == [origin.no_data for origin in split.index.origins]
    assert not split.onehot[1, :6].any()
    assert (split.onehot[1, 6:] == 1).all()


def test_a_file_that_changes_between_header_and_pixels_is_reported(raw, monkeypatch):
    """The rows of an image are counted before any is decoded."""
    data = raw_dataset.read(raw.folder)
    monkeypatch.setattr(pair_files, "num_rows", lambda *_, **__: 2)

    with pytest.raises(PipelineError, match=r"train_0\.png: changed while it was read"):
        split_writer.write(Path("raw"), Path("processed"), pairs.recipe(Path("raw"), data, section(**TILES)), data)


def test_a_full_disk_ends_the_work_of_all_threads(raw, monkeypatch):
    """The first row that cannot be written is the error; nobody writes on once the files are closed."""
    written = []

    def full(*_: object) -> int:
        written.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        OSError, match=r"No space left on device after \d+ of \d+ bytes: 'processed/train/images-00000\.npy'"
    ):
        write()

    assert len(written) <= 3
    assert not Path("processed").exists()
    assert {"raw", "params.yaml"} == {path.name for path in Path().iterdir()}
