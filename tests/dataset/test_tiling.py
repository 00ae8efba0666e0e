"""Where rows lie: nothing is dropped, and each pixel counts once, in the window of the nearest centre."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from segline.dataset import tiling
from segline.dataset.preparation import MOST_OVERLAP
from segline.dataset.tiling import UNIT
from tests import tiny

SIDES = st.integers(1, 700)
TILES = st.integers(1, 6).map(lambda units: UNIT * units)
SCALES = st.floats(0.05, 1)
OVERLAPS = st.floats(0, MOST_OVERLAP)


@st.composite
def tile_grids(draw: st.DrawFn) -> tuple[tiling.Grid, float]:
    """A grid of tiles, and the overlap that was asked for."""
    overlap = draw(OVERLAPS)
    form = replace(tiny.stretched(draw(TILES), draw(TILES)), fit="tile", scale=draw(SCALES), overlap=overlap)
    return tiling.grid(form, draw(SIDES), draw(SIDES)), overlap


def axes(form: tiling.Grid) -> list[tuple[tuple[int, ...], int, int]]:
    """Starts of the windows, side of a row and length of the working image, down and across."""
    return [*zip((form.tops, form.lefts), form.row, form.working, strict=True)]


@given(tile_grids(), OVERLAPS)
def test_windows_are_counted_without_a_grid(drawn, overlap):
    (form, _), tile = drawn, replace(tiny.stretched(*drawn[0].row), fit="tile", overlap=overlap)

    assert tiling.grid(tile, *form.own).count == tiling.count(tile, *form.own)
    for fit in ("stretch", "pad"):
        assert 1 == tiling.count(replace(tile, fit=fit), *form.own)


@given(tile_grids())
def test_the_owned_parts_cover_the_working_image_once(drawn):
    form, _ = drawn
    counts = np.zeros(form.working, int)
    for top, left in form.windows:
        first, last, start, end = form.owned(top, left)
        assert 0 <= first < last <= form.row[0]
        assert 0 <= start < end <= form.row[1]
        counts[top + first : top + last, left + start : left + end] += 1

    assert (counts == 1).all()


@given(tile_grids())
def test_the_owner_of_a_pixel_has_the_nearest_centre(drawn):
    form, _ = drawn
    for top, left in form.windows:
        owned = form.owned(top, left)
        for (starts, side, _), start, (first, last) in zip(
            axes(form), (top, left), (owned[:2], owned[2:]), strict=True
        ):
            pixels = start + np.arange(first, last)
            distances = abs(2 * pixels + 1 - (2 * np.array(starts) + side)[:, None])
            np.testing.assert_array_equal(distances[starts.index(start)], distances.min(axis=0))


@given(tile_grids())
def test_windows_start_at_multiples_of_the_unit_and_nothing_is_dropped(drawn):
    form, _ = drawn
    for starts, side, length in axes(form):
        assert all(start % UNIT == 0 for start in starts)
        assert 0 == starts[0]
        assert all(before < after <= before + side for before, after in pairwise(starts))
        assert starts[-1] < length <= starts[-1] + side
        assert starts[-1] + side - length < UNIT or len(starts) == 1  # the last is moved inward


@given(tile_grids())
def test_neighbours_share_what_was_asked_for_in_whole_units(drawn):
    form, overlap = drawn
    for starts, side, _ in axes(form):
        least = min(overlap * side, side - UNIT) - 1e-4
        assert all(before + side - after >= least for before, after in pairwise(starts))


@given(TILES, TILES, OVERLAPS)
def test_neighbours_but_the_last_share_exactly_what_is_said(height, width, overlap):
    preparation = replace(tiny.stretched(height, width), fit="tile", overlap=overlap)
    form = tiling.grid(preparation, 2000, 2000)
    for (starts, side, _), shared in zip(axes(form), tiling.shared(preparation), strict=True):
        assert {shared} == {before + side - after for before, after in pairwise(starts[:-1])}


@given(tile_grids(), SCALES, st.integers(1, 700), st.integers(1, 700))
def test_a_unit_shows_a_whole_number_of_own_pixels_close_to_the_scale(drawn, scale, height, width):
    _, overlap = drawn
    form = tiling.grid(replace(tiny.stretched(64, 64), fit="tile", scale=scale, overlap=overlap), height, width)
    step = form.step[0]

    assert form.step == (step, step)
    assert (step * UNIT).denominator == 1
    assert abs(step * UNIT - UNIT / Fraction(scale)) <= Fraction(1, 2)
    assert all(
        (working - 1) * step < own <= working * step for working, own in zip(form.working, form.own, strict=True)
    )


@given(TILES, TILES, SIDES, SIDES)
def test_padded_images_keep_their_aspect_ratio_and_touch_one_side(row_height, row_width, height, width):
    form = tiling.grid(replace(tiny.stretched(row_height, row_width), fit="pad"), height, width)
    factor = min(Fraction(row_height, height), Fraction(row_width, width))
    assume(min(height, width) * factor >= 1)

    assert all(abs(new - old * factor) <= Fraction(1, 2) for new, old in zip(form.working, form.own, strict=True))
    assert form.working[0] == row_height or form.working[1] == row_width
    assert [(0, 0)] == [*form.windows]
    assert (0, form.working[0], 0, form.working[1]) == form.owned(0, 0)


def test_a_stretched_image_is_one_row_without_padding():
    form = tiling.grid(tiny.stretched(12, 20), 300, 100)

    assert ((12, 20), (25, 5)) == (form.working, form.step)
    assert [(0, 0)] == [*form.windows]


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        pytest.param(1, (0,), id="smaller than a tile"),
        pytest.param(96, (0,), id="of a tile's size"),
        pytest.param(97, (0, 32), id="a pixel more: the last is moved inward"),
        pytest.param(160, (0, 64), id="two"),
        pytest.param(225, (0, 64, 128, 160), id="three and a rest"),
    ],
)
def test_tiles_of_96_that_share_a_third(length, starts):
    form = tiling.grid(replace(tiny.stretched(96, 96), fit="tile", overlap=0.25), length, 1)

    assert (starts, (0,)) == (form.tops, form.lefts)
    assert len(starts) == form.count
