"""Faults of TIFF files and of their bands: one line each, with the file, and nothing is written."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from segline.dataset import processed
from tests import pictures, tiny
from tests.preprocessing import faulty
from tests.preprocessing.faulty import relist, reported
from tests.preprocessing.image_files.test_tiff import damaged
from tests.stages.test_preprocess import Raw, run

SIZE = 12, 16  # of all masks
BLOCKS = {"tiled": True, "blockxsize": 16, "blockysize": 16}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Cut into tiles larger than the images."""
    made = faulty.begin(tmp_path, monkeypatch)
    deep = Raw(made.folder, made.splits, extension=".tif")  # four bands of 16 bits
    for number, (split, stem) in enumerate((split, stem) for split, stems in made.splits.items() for stem in stems):
        made.image(split, stem).unlink()
        deep.image(split, stem).write_bytes(pictures.geotiff(bands(4, np.uint16, number)))
    deep.write()
    parameters()
    return deep


def parameters(**changes: object) -> None:
    section = tiny.PARAMETERS["preprocess"] | {"height": 32, "width": 32, "fit": "tile", "bands": [4, 1]} | changes
    Path("params.yaml").write_text(yaml.safe_dump({"preprocess": section}), encoding="utf-8")


def bands(count: int, dtype: type = np.uint8, seed: int = 9, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng([count, seed]).integers(0, 256, (*size, count)).astype(dtype)


def put(raw: Raw, content: bytes) -> str:
    """Gives the image of train_1 this content and returns its path."""
    path = raw.image("train", "train_1")
    path.write_bytes(content)
    raw.write()
    return str(path)


def stack(count: int) -> bytes:
    """A TIFF of so many gray pages."""
    first, *others = [Image.fromarray(bands(1, seed=page)[:, :, 0] % 3) for page in range(count)]
    return pictures.saved(first, "TIFF", save_all=True, append_images=others)


def test_images_smaller_than_a_tile_are_padded(raw):
    split = processed.read(run() / "train")

    assert (3, 32, 32, 2) == split.images.shape
    assert split.onehot[:, :12, :16].any()
    assert not split.onehot[:, 12:].any()
    assert not split.onehot[:, :, 16:].any()


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_a_truncated_file_is_reported(raw, kept):
    content = raw.image("train", "train_1").read_bytes()
    path = put(raw, content[: int(kept * len(content))])

    (line,) = reported(raw)

    assert line.startswith(f"{path}: cut: ")


def test_a_damaged_tile_is_reported(raw):
    """The last of twelve: others are written by then."""
    path = put(raw, damaged("deflate", 0, bands(4, np.uint16, size=(48, 64))))
    cv2.imwrite(str(raw.mask("train", "train_1")), np.zeros((48, 64), np.uint8))
    raw.write()

    (line,) = reported(raw)

    assert line.startswith(f"{path}: damaged: a strip or tile in rows ")


def test_an_image_of_nan_alone_is_reported(raw):
    parameters(intensity={"by": "window", "low": 0, "high": 255})
    for number, (split, stem) in enumerate((split, stem) for split, stems in raw.splits.items() for stem in stems):
        values = bands(4, np.float32, number) * (np.nan if stem == "train_1" else 1)
        raw.image(split, stem).write_bytes(pictures.geotiff(values))
    raw.write()

    (line,) = reported(raw)

    assert line == (
        "raw/train/images/train_1.tif: no pixel has a value: all are NaN or without data. Leave the image out."
    )


def test_percentiles_of_images_without_values_are_reported_with_the_rest(raw):
    parameters(intensity={"by": "percentile", "low": 1, "high": 99})
    for number, (split, stem) in enumerate((split, stem) for split, stems in raw.splits.items() for stem in stems):
        values = np.full((*SIZE, 4), np.nan if split == "train" else 1, np.float32)
        raw.image(split, stem).write_bytes(pictures.geotiff(values, nodata=number))
    raw.write()

    first, *others = reported(raw)

    assert first.startswith("raw/train: no valid sample in band 4, band 1.")
    assert [str(raw.image("train", stem)) for stem in raw.splits["train"]] == [
        line.split(":")[0] for line in others[:3]
    ]


def test_bands_that_differ_within_a_data_set_are_reported(raw):
    path = put(raw, pictures.geotiff(bands(5, np.uint16)))

    (line,) = reported(raw)

    assert line == (
        f"{path}: 5 bands, expected 4 bands as raw/train/images/train_0.tif. Keep images of one kind, or convert them."
    )


def test_types_of_samples_that_differ_are_reported_where_values_are_stated(raw):
    parameters(intensity={"by": "window", "low": 0, "high": 255})
    path = put(raw, pictures.geotiff(bands(4)))

    (line,) = reported(raw)

    assert line.startswith(f"{path}: 4 bands of uint8 samples, expected 4 bands of uint16 samples as raw/train/images/")


def test_a_band_that_a_file_does_not_have_is_reported(raw):
    path = put(raw, pictures.geotiff(bands(3, np.uint16)))

    (line,) = reported(raw)

    assert line == f"{path}: no band 4, which preprocess.bands names, as it has 3. Name bands from 1 to 3."


def test_a_stack_whose_mask_has_fewer_pages_is_reported(raw):
    put(raw, stack(3))
    mask = stack(2)
    (raw.folder / "train/masks/train_1.tif").write_bytes(mask)
    raw.mask("train", "train_1").unlink()
    relist(raw, 1, mask="masks/train_1.tif", sha256_mask=hashlib.sha256(mask).hexdigest())

    (line,) = reported(raw)

    assert line.startswith("raw/train/masks/train_1.tif: 2 pages, expected 3 as images/train_1.tif. Export a mask page")


def test_a_declared_size_beyond_memory_is_reported_before_anything_is_decoded(raw):
    content = bytearray(pictures.geotiff(bands(1, size=(16, 16)), **BLOCKS))
    directory = int.from_bytes(content[4:8], "little")
    for entry in range(directory + 2, directory + 2 + 12 * 2, 12):
        assert int.from_bytes(content[entry : entry + 2], "little") in (256, 257)
        content[entry + 2 : entry + 12] = bytes([4, 0, 1, 0, 0, 0, *(200_000).to_bytes(4, "little")])
    path = put(raw, bytes(content))

    (line,) = reported(raw)

    assert line.startswith(f"{path}: 200000x200000 pixels, expected at most")
