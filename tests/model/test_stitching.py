"""Tiles stitched together against the whole image, for each of our networks; bands against whole arrays."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset import tiling
from segline.dataset.preparation import Preparation
from segline.model import forward, receptive_field, stitching
from tests import tiny
from tests.model.test_receptive_field import lively
from tests.networks.test_networks import NAMES

LIMIT = 351
OVERLAP = 0.5


def tiles(height: int, width: int, overlap: float = OVERLAP, scale: float = 1.0) -> Preparation:
    return replace(tiny.stretched(height, width), fit="tile", overlap=overlap, scale=scale)


def padded(grid: tiling.Grid, image: torch.Tensor) -> torch.Tensor:
    """A working image (..., H, W) with its edge repeated up to the end of the last windows."""
    bottom, right = (
        starts[-1] + side - length
        for starts, side, length in zip((grid.tops, grid.lefts), grid.row, grid.working, strict=True)
    )
    return F.pad(image, (0, right, 0, bottom), mode="replicate")


def cut(grid: tiling.Grid, image: torch.Tensor) -> list[torch.Tensor]:
    (height, width), whole = grid.row, padded(grid, image)
    return [whole[..., top : top + height, left : left + width] for top, left in grid.windows]


def stitched(grid: tiling.Grid, logits: list[torch.Tensor], margin: int | None) -> torch.Tensor:
    return torch.cat([band.clone() for band in stitching.bands(grid, logits, margin)], dim=1)


@cache
def measured(name: str) -> tuple[torch.nn.Module, int]:
    network = lively(name)
    margin = receptive_field.margin(network, 3, LIMIT)
    assert margin is not None, f"{name} pools globally"
    return network, margin


def tiled_and_whole(name: str, grid: tiling.Grid, image: torch.Tensor, margin: int | None) -> list[torch.Tensor]:
    network, _ = measured(name)
    logits = [forward.logits(network, window)[0] for window in cut(grid, image)]
    return [
        stitched(grid, logits, margin),
        forward.logits(network, padded(grid, image))[0, :, : grid.working[0], : grid.working[1]],
    ]


def error(pair: list[torch.Tensor]) -> float:
    """The largest difference, relative to the largest logit of the whole image."""
    tiled, whole = pair
    return float((tiled - whole).abs().max() / whole.abs().max())


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_tiles_that_overlap_by_the_receptive_field_give_the_logits_of_the_whole_image(name, vertical):
    """Strips of three tiles; one has a length of a multiple of 32, the other is padded as its last tile is."""
    _, margin = measured(name)
    shared = 32 * -(-2 * margin // 32)
    side, length = 2 * shared, 4 * shared
    form, size = ((side, 32), (length - 13, 32)) if vertical else ((32, side), (32, length))
    grid = tiling.grid(tiles(*form), *size)
    pair = tiled_and_whole(name, grid, torch.randn(1, 3, *size), margin)

    assert grid.count == 3
    assert error(pair) < 1e-4


@pytest.mark.parametrize("name", ["residual_unet", "small_unet", "unet"])
def test_the_law_holds_in_both_directions_at_once(name):
    _, margin = measured(name)
    grid = tiling.grid(tiles(256, 256), 320, 480)
    pair = tiled_and_whole(name, grid, torch.randn(1, 3, 320, 480), margin)

    assert grid.count == 6
    assert error(pair) < 1e-4


def test_without_the_margin_tiles_differ_from_the_whole_image():
    grid = tiling.grid(tiles(32, 128), 32, 256)

    assert error(tiled_and_whole("unet", grid, torch.randn(1, 3, 32, 256), None)) > 1e-3


def test_a_network_of_a_smaller_stride_sees_the_padding_of_an_odd_size_next_to_the_border_alone():
    """It pads the whole image to a multiple of its own stride; tiles are padded to one of 32."""
    network, margin = measured("unet")
    image = torch.randn(1, 3, 32, 245)
    grid = tiling.grid(tiles(32, 128), 32, 245)
    tiled, _ = tiled_and_whole("unet", grid, image, margin)
    whole = forward.logits(network, image)[0]

    assert error([tiled[..., : 245 - margin], whole[..., : 245 - margin]]) < 1e-4
    assert error([tiled, whole]) > 1e-4


def test_the_logits_of_a_single_window_are_passed_on_as_they_are():
    logits = torch.randn(5, 96, 128)
    stretch, pad = tiny.stretched(96, 128), replace(tiny.stretched(96, 128), fit="pad")
    (band,) = stitching.bands(tiling.grid(stretch, 180, 240), [logits], 20)
    (wide,) = stitching.bands(tiling.grid(pad, 100, 400), [logits], 20)

    assert band.data_ptr() == logits.data_ptr()
    assert torch.equal(logits, band)
    assert torch.equal(logits[:, :32], wide)


@given(st.integers(1, 4), st.integers(0, 3), st.integers(1, 400), st.none() | st.integers(0, 64))
def test_weights_are_one_in_all_and_zero_in_the_margins_that_others_cover(units, shared, length, margin):
    side = 32 * units
    starts = tiling.grid(tiles(side, side, overlap=min(shared / units, 0.75)), length, 1).tops
    weights = stitching.weights(starts, side, margin)
    total = torch.zeros(starts[-1] + side)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + side] += weight
        before = max((other + side - start for other in starts if other < start), default=0)
        behind = max((start + side - other for other in starts if other > start), default=0)
        zeros = [margin if margin is not None and 2 * margin <= overlap else 0 for overlap in (before, behind)]
        assert not weight[: zeros[0]].any()
        assert (weight[zeros[0] : side - zeros[1]] > 0).all()
        assert not weight[side - zeros[1] :].any()

    torch.testing.assert_close(total, torch.ones_like(total))


def test_two_tiles_are_averaged_by_gaussians_of_an_eighth_of_their_side():
    first, second = stitching.weights([0, 64], 128, None)
    places = np.arange(128)
    gaussian = np.exp(-(((places - 63.5) / 16) ** 2) / 2)

    np.testing.assert_allclose(first[64:], gaussian[64:] / (gaussian[64:] + gaussian[:64]), rtol=1e-5)
    np.testing.assert_allclose(second, first.flip(0), rtol=1e-5)
    assert (first[:64] == 1).all()
    assert first.min() > 0


def test_only_one_line_of_windows_is_asked_for_before_the_first_band():
    """And no more than its windows are taken, so that those of the next image can follow."""
    grid = tiling.grid(tiles(32, 32), 100, 64)
    taken = []
    logits = (taken.append(number) or torch.full((2, 32, 32), float(number)) for number in range(100))
    seen = [(band.shape[1], len(taken)) for band in stitching.bands(grid, logits, None)]

    assert [(32, 2), (32, 4), (32, 6), (4, 8)] == seen
    assert 8 == len(taken)


@given(
    st.sampled_from([Fraction(1), Fraction(2), Fraction(4), Fraction(5, 4), Fraction(45, 32), Fraction(2991, 32)]),
    st.integers(1, 300),
    st.integers(1, 90),
    st.integers(1, 3),
)
def test_bands_at_their_own_size_are_those_of_the_whole_image(step, height, width, units):
    grid = tiling.grid(tiles(32 * units, 32, overlap=0.25, scale=float(1 / step)), height, width)
    logits = torch.randn(2, *grid.working)
    ends = [*grid.tops[1:], grid.working[0]]
    bands = [logits[:, top:end] for top, end in zip(grid.tops, ends, strict=True)]
    resized = torch.cat([band.clone() for band in stitching.at_own_size(grid, bands)], dim=1)

    torch.testing.assert_close(bilinear(logits, grid), resized, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.01, 0.0107, 0.05, 0.3, 0.97])
@pytest.mark.parametrize("rows", [32, 256], ids=["several windows", "one window"])
def test_no_band_is_higher_than_64_rows_of_the_image_however_small_the_scale(scale, rows):
    """At 0.0107, 32 working pixels are 2991 of the image's own."""
    grid = tiling.grid(tiles(rows, 32, scale=scale), 20_000 if scale < 0.1 else 250, 33)
    windows = [torch.randn(2, *grid.row) for _ in range(grid.count)]
    heights = [band.shape[1] for band in stitching.at_own_size(grid, stitching.bands(grid, windows, None))]

    assert max(heights) <= 64
    assert grid.own[0] == sum(heights)


def bilinear(logits: torch.Tensor, grid: tiling.Grid) -> torch.Tensor:
    """Pixel i of the image lies at (i + 0.5) / step - 0.5 of its working size, no farther out than the last pixel."""
    for axis in (1, 2):
        step, last = grid.step[axis - 1], grid.working[axis - 1] - 1
        places = [min(max((i + Fraction(1, 2)) / step - Fraction(1, 2), 0), last) for i in range(grid.own[axis - 1])]
        low = torch.tensor([int(place) for place in places])
        part = torch.tensor([float(place - int(place)) for place in places])
        part = part[:, None] if axis == 1 else part
        first, second = (logits.index_select(axis, index) for index in (low, (low + 1).clamp(max=last)))
        logits = first * (1 - part) + second * part
    return logits


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(180, 240), (96, 128), (37, 1001), (40, 50)])
def test_one_window_gives_the_classes_that_resizing_it_whole_gives(fit, size):
    """Bit for bit, also where logits lie channels last, as those of a network do."""
    grid = tiling.grid(replace(tiny.stretched(96, 128), fit=fit), *size)
    logits = torch.randn(1, 5, 96, 128).to(memory_format=torch.channels_last)[0]
    (band,) = stitching.at_own_size(grid, stitching.bands(grid, [logits], None))
    cropped = logits[:, : grid.working[0], : grid.working[1]]

    assert (forward.classes_at(cropped, *size) == forward.classes(band[None])[0]).all()
    if size != (96, 128):
        assert torch.equal(F.interpolate(cropped[None], size=size, mode="bilinear", align_corners=False)[0], band)


@given(st.integers(1, 150), st.integers(1, 100), st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.integers(0, 99))
def test_seams_are_counted_as_a_loop_over_pixels_counts_them(height, width, overlap, seed):
    grid = tiling.grid(tiles(64, 32, overlap), height, width)
    draw = torch.Generator().manual_seed(seed)
    logits = [torch.randint(0, 2, (2, 64, 32), generator=draw).float() for _ in grid.windows]
    seams = stitching.Seams([0, 1])
    passed = list(seams.watch(grid, iter(logits)))
    seen: dict[tuple[int, int], list[int]] = {}
    for (top, left), window in zip(grid.windows, logits, strict=True):
        for y, line in enumerate(window.argmax(dim=0).tolist()):
            for x, label in enumerate(line):
                if top + y < grid.working[0] and left + x < grid.working[1]:
                    seen.setdefault((top + y, left + x), []).append(label)

    assert passed == logits
    assert sum(len(labels) > 1 for labels in seen.values()) == seams.shared
    assert sum(len(set(labels)) > 1 for labels in seen.values()) == seams.differing


@given(st.integers(1, 150), st.integers(1, 100), st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.integers(1, 70))
def test_classes_are_cut_again_as_the_rows_were(height, width, overlap, rows):
    grid = tiling.grid(tiles(64, 32, overlap), height, width)
    classes = np.random.default_rng(rows).integers(1, 9, (height, width), np.uint8)
    cutter = stitching.Rows(grid)
    cut_again = [row for start in range(0, height, rows) for row in cutter.add(classes[start : start + rows])]
    whole = np.zeros((grid.tops[-1] + 64, grid.lefts[-1] + 32), np.uint8)
    whole[:height, :width] = classes

    np.testing.assert_array_equal([whole[t : t + 64, left : left + 32] for t, left in grid.windows], cut_again)
