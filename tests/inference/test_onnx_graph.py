"""The module that is exported takes the steps of `preprocess` and `segline predict`, byte for byte where it can."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset import tiling
from segline.dataset.preparation import FULL, Intensity, Preparation
from segline.inference import export_noise, onnx_graph
from segline.model import stitching
from segline.preprocessing import images, intensity, working_image
from segline.preprocessing.image_files.stored_samples import Samples
from tests import tiny

STRETCH = tiny.stretched(12, 20)
PAD = replace(STRETCH, fit="pad")
TILES = replace(STRETCH, fit="tile", height=32, width=64, scale=0.5)
SIDES = st.integers(1, 90)
TYPES = ("uint8", "int16", "uint16", "int32", "uint32", "float32")


def noise(height: int, width: int, bands: int = 3) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, bands)).astype(np.uint8)


def frame(form: Preparation) -> onnx_graph._Row | onnx_graph._Tiles:
    return onnx_graph._Tiles(form) if form.fit == "tile" else onnx_graph._Row(form)


def prepared(form: Preparation, image: np.ndarray) -> np.ndarray:
    """The row (height, width, C) that the network sees."""
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()
    return frame(form).prepared(pixels).permute(1, 2, 0).numpy()


def row(form: Preparation, image: np.ndarray) -> np.ndarray:
    """The same by `preprocess`, with tiles the one that is as large as the whole image."""
    grid = tiling.grid(form, *image.shape[:2])
    form = replace(form, height=grid.tops[-1] + form.height, width=grid.lefts[-1] + form.width)
    file = export_noise._InMemory(image)
    ((pixels, _),) = working_image.image_rows(file, form if grid.is_cut else replace(form, height=12, width=20))
    return pixels


@given(SIDES, SIDES, st.sampled_from([STRETCH, PAD, TILES, replace(TILES, scale=0.4), replace(TILES, scale=1.0)]))
def test_a_working_size_is_that_of_the_grid(height, width, form):
    grid = tiling.grid(form, height, width)

    assert grid.working == tuple(map(int, frame(form).working((height, width))))


@given(SIDES, SIDES)
def test_a_tile_is_extended_as_the_grid_extends_it(height, width):
    grid = tiling.grid(TILES, height, width)

    assert (grid.tops[-1] + 32, grid.lefts[-1] + 64, 3) == prepared(TILES, noise(height, width)).shape


@given(SIDES, SIDES, st.sampled_from([STRETCH, PAD, TILES, replace(TILES, scale=0.4), replace(TILES, scale=1.0)]))
def test_the_network_sees_what_preprocess_makes_but_for_one_gray_level_of_few_pixels(height, width, form):
    image = noise(height, width)
    difference = np.abs(prepared(form, image) - row(form, image))

    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (12, 20), (11, 40), (90, 19), (24, 40), (36, 60)])
def test_an_image_that_grows_or_shrinks_to_a_whole_part_is_resized_to_the_same_bytes(size):
    image = noise(*size)

    assert np.array_equal(images.resize_image(image, 12, 20), prepared(STRETCH, image))


@given(st.sampled_from(TYPES), st.integers(-500, 500), st.integers(1, 1000))
def test_samples_become_the_bytes_of_preprocess(kind, low, length):
    limits = np.iinfo(kind) if kind != "float32" else np.iinfo(np.int16)
    values = np.unique(np.linspace(limits.min, limits.max, 3000).round().astype(kind))
    values = np.concatenate([values, np.arange(max(low, limits.min), min(low + length, limits.max) + 1).astype(kind)])
    rule = Intensity("window", (float(low),), (low + length + 0.25,))
    form = replace(tiny.stretched(12, 20, channels=1), dtype=kind, intensity=rule)

    assert_same_bytes(values, form)


@pytest.mark.parametrize("kind", TYPES[:-1])
def test_the_whole_range_of_a_type_becomes_the_bytes_of_preprocess(kind):
    limits = np.iinfo(kind)
    values = np.linspace(limits.min, limits.max, 1 << 16, dtype=np.float64).round().astype(kind)

    assert_same_bytes(values, replace(tiny.stretched(12, 20, channels=1), dtype=kind, intensity=FULL))


def assert_same_bytes(values: np.ndarray, form: Preparation) -> None:
    samples = values[None, :, None]
    expected = intensity.to_bytes(Samples(samples, None), form)
    actual = onnx_graph._Bytes(form)(torch.from_numpy(samples.transpose(2, 0, 1).copy()))

    assert np.array_equal(expected.transpose(2, 0, 1), actual.numpy())


def test_samples_that_are_no_number_are_taken_for_the_lowest():
    form = replace(STRETCH, dtype="float32", intensity=Intensity("window", (1.0,) * 3, (2.0,) * 3))

    assert not onnx_graph._Bytes(form)(torch.full((3, 2, 2), torch.nan)).any()


def test_the_bands_that_preprocess_names_are_chosen_from_all_of_a_file():
    form = replace(STRETCH, bands=(4, 1), file_bands=4, dtype="uint8")
    bands = torch.arange(4, dtype=torch.uint8)[:, None, None].expand(4, 2, 2)

    assert 4 == onnx_graph.input_bands(form)
    assert [3, 0] == onnx_graph._Bytes(form)(bands)[:, 0, 0].tolist()


@pytest.mark.parametrize("form", [STRETCH, PAD, TILES, replace(TILES, scale=0.4), replace(TILES, scale=1.0)])
@given(height=SIDES, width=SIDES)
def test_logits_return_to_the_size_of_the_image_as_in_predict(form, height, width):
    grid = tiling.grid(form, height, width)
    shape = (grid.tops[-1] + form.height, grid.lefts[-1] + form.width)
    logits = torch.from_numpy(np.random.default_rng(height).normal(size=(1, 2, *shape))).float()
    down, across = grid.working
    bands = [band.clone() for band in stitching.at_own_size(grid, iter([logits[0, :, :down, :across].contiguous()]))]

    actual = frame(form).at_own_size(logits, (height, width))[0]
    torch.testing.assert_close(actual, torch.cat(bands, dim=1), rtol=0, atol=1e-5)
