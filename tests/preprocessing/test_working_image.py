"""Tiles are what one gets by resizing the whole image at once and cutting it, but in bounded memory."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segline.dataset import tiling
from segline.preprocessing import images, working_image
from segline.preprocessing.image_files import image_file
from segline.preprocessing.image_files.stored_samples import Samples
from tests import pictures, tiny

TILE = replace(tiny.stretched(64, 96), fit="tile")
SIDES = st.integers(1, 220)
SCALES = st.sampled_from([1.0, 0.5, 0.25, 0.9, 0.7, 0.33, 0.05])
OVERLAPS = st.sampled_from([0.0, 0.25, 0.5, 0.75])


@dataclass
class Drawn:
    """An image in memory, which remembers the lines that are read."""

    values: np.ndarray
    valid: np.ndarray | None = None
    reads: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.height, self.width, self.bands = self.values.shape

    def read(self, top: int, left: int, height: int, width: int) -> Any:
        self.reads.append((top, top + height))
        window = slice(top, top + height), slice(left, left + width)
        return Samples(self.values[window], None if self.valid is None else self.valid[window])


@dataclass
class DrawnMask:
    """A mask in memory."""

    values: np.ndarray

    def __post_init__(self) -> None:
        self.height, self.width = self.values.shape

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.values[top : top + height, left : left + width]


def first(strips: Iterator[tuple[np.ndarray, ...]]) -> Iterator[np.ndarray]:
    """The values of the first mask as labels."""
    return (strip[0] for strip in strips)


def noise(height: int, width: int, bands: int = 3) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, bands), np.uint8)


def joined(form: tiling.Grid, rows: list[np.ndarray]) -> np.ndarray:
    """The working image and its padding, once the rows are found to agree wherever they overlap."""
    height, width = form.row
    whole = np.full((form.tops[-1] + height, form.lefts[-1] + width, *rows[0].shape[2:]), -1, np.int64)
    for (top, left), row in zip(form.windows, rows, strict=True):
        place = whole[top : top + height, left : left + width]
        assert ((place == -1) | (place == row)).all()
        place[:] = row
    assert (whole >= 0).all()
    return whole


@settings(max_examples=40)
@given(SIDES, SIDES, SCALES, OVERLAPS)
def test_tiles_are_cut_from_the_whole_image_at_its_working_size(height, width, scale, overlap):
    pixels, form = noise(height, width), replace(TILE, scale=scale, overlap=overlap)
    grid = tiling.grid(form, height, width)
    shown, void = zip(*working_image.image_rows(Drawn(pixels), form), strict=True)
    units = [-(-side // tiling.UNIT) for side in grid.working]
    unit = int(grid.step[0] * tiling.UNIT)
    room = [max(0, count * unit - side) for count, side in zip(units, (height, width), strict=True)]
    padded = np.pad(pixels, ((0, room[0]), (0, room[1]), (0, 0)), mode="edge")
    whole = images.resize_image(padded, *(count * tiling.UNIT for count in units))[: grid.working[0], : grid.working[1]]
    beyond = [end - side for end, side in zip(joined(grid, [*void]).shape, grid.working, strict=True)]

    np.testing.assert_array_equal(
        joined(grid, [*shown]), np.pad(whole, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="edge")
    )
    np.testing.assert_array_equal(
        joined(grid, [*void]), np.pad(np.zeros(grid.working), ((0, beyond[0]), (0, beyond[1])), constant_values=1)
    )


@settings(max_examples=40)
@given(SIDES, SIDES, SCALES)
def test_labels_and_validity_are_those_of_the_own_pixel_at_the_centre(height, width, scale):
    form, random = replace(TILE, scale=scale), np.random.default_rng(7)
    grid, values = tiling.grid(form, height, width), random.integers(0, 99, (height, width), np.uint16)
    valid = random.random((height, width)) < 0.7
    labels = joined(grid, [*working_image.label_rows([DrawnMask(values)], form, first)])
    void = joined(grid, [void for _, void in working_image.image_rows(Drawn(noise(height, width), valid), form)])
    step = grid.step[0]
    y, x = ([min(int((place + Fraction(1, 2)) * step), side - 1) for place in range(end)]
            for end, side in zip(grid.working, (height, width), strict=True))  # fmt: skip

    np.testing.assert_array_equal(labels[: grid.working[0], : grid.working[1]], values[np.ix_(y, x)])
    np.testing.assert_array_equal(void[: grid.working[0], : grid.working[1]], ~valid[np.ix_(y, x)])


def test_padded_images_keep_their_aspect_ratio_and_what_is_beside_them_is_void():
    form, pixels = replace(tiny.stretched(40, 40), fit="pad"), noise(20, 60)
    ((shown, void),) = working_image.image_rows(Drawn(pixels), form)
    (labels,) = working_image.label_rows([DrawnMask(pixels[:, :, 0])], form, first)
    small = images.resize_image(pixels, 13, 40)

    np.testing.assert_array_equal(shown, np.pad(small, ((0, 27), (0, 0), (0, 0)), mode="edge"))
    np.testing.assert_array_equal(void, (np.arange(40) >= 13)[:, None].repeat(40, axis=1))
    np.testing.assert_array_equal(labels[:13], images.resize_mask(pixels[:, :, 0], 13, 40))


def test_stretched_images_fill_their_row():
    form, pixels = tiny.stretched(40, 50), noise(20, 60)
    ((shown, void),) = working_image.image_rows(Drawn(pixels), form)

    np.testing.assert_array_equal(shown, images.resize_image(pixels, 40, 50))
    assert not void.any()


@pytest.mark.parametrize("fit", ["stretch", "pad", "tile"])
def test_every_own_pixel_is_read_and_watched_once_from_the_top(fit):
    drawn, seen = Drawn(noise(700, 3000, 5)), []
    form = replace(TILE, fit=fit, bands=(5, 1), overlap=0.5, scale=0.5)
    for _ in working_image.image_rows(drawn, form, lambda samples, pixels: seen.append((samples.values, pixels))):
        pass
    samples, pixels = (np.concatenate(parts) for parts in zip(*seen, strict=True))

    np.testing.assert_array_equal(samples, drawn.values)
    np.testing.assert_array_equal(pixels, drawn.values[:, :, [4, 0]])
    assert [0, *(end for _, end in drawn.reads)] == [*(start for start, _ in drawn.reads), 700]
    assert (len(drawn.reads) > 1) == (fit == "tile")


def test_many_bands_are_averaged_as_each_alone():
    pixels, form = noise(150, 130, 7), replace(TILE, scale=0.7)
    together = [row for row, _ in working_image.image_rows(Drawn(pixels), replace(form, bands=(1, 2, 3, 4, 5, 6, 7)))]

    for band in range(7):
        alone = [row for row, _ in working_image.image_rows(Drawn(pixels), replace(form, bands=(band + 1,)))]
        np.testing.assert_array_equal(np.array(alone)[..., 0], np.array(together)[..., band])


def test_memory_does_not_grow_with_the_height_of_the_image():
    """Of 50,000 lines of 1.5 kB no more than a piece and a line of tiles are kept."""
    tall = np.broadcast_to(np.uint8(0), (50_000, 512, 3))
    mask = DrawnMask(np.broadcast_to(np.uint8(0), (50_000, 512)))
    tracemalloc.start()
    for _ in zip(
        working_image.image_rows(Drawn(tall), TILE), working_image.label_rows([mask], TILE, first), strict=True
    ):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 40e6


def test_pixels_without_data_are_void_and_count_as_the_lowest_value(tmp_path):
    values = np.full((64, 96, 1), 200, np.uint8)
    values[:32, :48] = 7
    path = tmp_path / "a.tif"
    path.write_bytes(pictures.geotiff(values, nodata=7))
    form = replace(TILE, bands="gray", scale=0.5)
    with image_file.opened(path, path, windows=True) as image:
        ((shown, void),) = working_image.image_rows(image, form)

    assert not shown[:16, :24].any()
    assert void[:16, :24].all()
    assert not void[16:32, :48].any()
    assert (shown[16:32, :48] == 200).all()


@pytest.mark.parametrize("changes", [{"scale": 0.25}, {"scale": 0.3}, {"fit": "stretch"}, {"fit": "pad"}])
@pytest.mark.parametrize("size", [(250, 330), (20, 30)])
def test_no_data_does_not_darken_the_valid_pixels_beside_it(changes, size):
    valid = np.random.default_rng(3).random(size) < 0.5
    values = np.where(valid, 200, 0).astype(np.uint8)[:, :, None]
    form = replace(TILE, bands="gray", **changes)
    for shown, void in working_image.image_rows(Drawn(values, valid), form):
        assert (shown[~void] == 200).all()
        assert 0 < void.sum() < void.size
