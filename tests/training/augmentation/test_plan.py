"""Draws depend only on (seed, epoch, sample), and become integers in the ranges that the parameters set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core.errors import ParameterError
from segline.training.augmentation import transforms
from segline.training.augmentation.plan import Draws, Plan, Section, draw, plan, require_colours
from tests import tiny

COUNT = 4000


def section(**strengths: float) -> Section:
    """Everything off except these."""
    return Section(**tiny.PARAMETERS["augment"] | strengths)


def planned(height: int = 20, width: int = 30, *, count: int = COUNT, **strengths: float) -> Plan:
    partners = np.arange(count)[::-1]
    return plan(section(**strengths), (height, width), draw(1, 1, count), np.arange(count), partners)


@given(st.integers(0, 2**32 - 1), st.integers(1, 1000), st.integers(0, 40), st.integers(0, 40))
def test_a_sample_does_not_depend_on_the_number_of_samples(seed, epoch, few, more):
    one, other = draw(seed, epoch, few), draw(seed, epoch, few + more)

    for name in Draws._fields:
        assert getattr(one, name).tolist() == getattr(other, name)[:few].tolist()


@pytest.mark.parametrize("other", [(2, 1), (1, 2)])
def test_another_seed_or_epoch_draws_different_numbers(other):
    assert not np.isin(draw(1, 1, 100), draw(*other, 100)).any()


def test_no_two_fields_draw_alike():
    drawn = draw(1, 1, 100)

    assert len(drawn) * 100 == len(np.unique(drawn))


def test_what_is_off_has_no_plan():
    plan = planned()

    assert (None, None, 0) == (plan.affine, plan.colours, plan.noise)
    assert (20, 30) == plan.size
    assert (plan.partners == -1).all()
    assert (plan.boxes == 0).all()


@pytest.mark.parametrize("name", ["flip_horizontal", "flip_vertical"])
@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_a_probability_is_the_share_of_samples(name, probability):
    affine = planned(**{name: probability}).affine
    axis = ["flip_vertical", "flip_horizontal"].index(name)

    assert affine is not None
    assert (affine[:, axis, axis] < 0).mean() == pytest.approx(probability, abs=0.03)
    assert (affine[:, 1 - axis, 1 - axis] == transforms.ONE).all()


def test_the_share_of_samples_that_mix_is_the_probability():
    plan = planned(cut_mix=0.25)
    mixes = plan.partners >= 0

    assert mixes.mean() == pytest.approx(0.25, abs=0.03)
    assert (plan.partners[mixes] == np.arange(COUNT)[::-1][mixes]).all()


def test_angles_are_uniform_in_both_directions():
    affine = planned(rotation=40.0).affine
    assert affine is not None
    angles = np.rad2deg(np.arctan2(affine[:, 0, 1], affine[:, 0, 0]))

    quarters = np.quantile(angles, [0, 0.25, 0.5, 0.75, 1])
    assert quarters == pytest.approx([-40, -20, 0, 20, 40], abs=2)


def test_scales_are_uniform_in_their_logarithm():
    affine = planned(zoom=2.0).affine
    assert affine is not None
    scales = transforms.ONE / affine[:, 0, 0]

    assert np.quantile(scales, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0.5, 0.707, 1, 1.414, 2], abs=0.05)


def test_shifts_are_shares_of_the_sides():
    affine = planned(20, 30, shift=0.1).affine
    assert affine is not None
    shifts = affine[:, :, 2] / transforms.ONE

    assert np.abs(shifts).max(axis=0) == pytest.approx([2, 3], rel=0.01)
    assert shifts.mean(axis=0) == pytest.approx([0, 0], abs=0.1)


@pytest.mark.parametrize(
    ("crop", "expected"), [(1.0, (20, 30)), (0.5, (10, 15)), (0.33, (7, 10)), (1e-9, (1, 1)), (0.99, (20, 30))]
)
def test_a_window_has_its_share_of_the_sides_and_at_least_a_pixel(crop, expected):
    assert expected == planned(crop=crop).size


def test_windows_take_every_place_within_the_image_and_none_outside():
    affine = planned(20, 30, crop=0.5).affine
    assert affine is not None
    corners = affine[:, :, 2] / transforms.ONE

    assert [*range(11)] == np.unique(corners[:, 0]).tolist()
    assert [*range(16)] == np.unique(corners[:, 1]).tolist()


def test_boxes_are_within_the_image_and_cover_half_of_it_minus_what_is_cut_off():
    """Before boxes are cut off at the edges, their area is uniform, with a mean of a half."""
    boxes = planned(100, 200, cut_mix=1.0).boxes
    top, bottom, left, right = boxes.T
    areas = (bottom - top) * (right - left) / 20_000

    assert ((0 <= top) & (top <= bottom) & (bottom <= 100)).all()
    assert ((0 <= left) & (left <= right) & (right <= 200)).all()
    assert 0.25 < areas.mean() < 0.4
    assert areas.min() < 0.01


def test_colours_stay_in_the_range_that_is_summed_in_32_bits():
    """The bounds in `transforms.recoloured`."""
    colours = planned(brightness=1.0, contrast=1.0, saturation=1.0).colours
    assert colours is not None
    own, luma, offset = np.abs(colours).max(axis=0) / transforms.ONE

    assert (own <= 4, luma <= 2, offset <= 512) == (True, True, True)


@pytest.mark.parametrize("bands", ["rgb", "gray"])
def test_saturation_suits_rgb_and_leaves_gray_as_it_is(bands):
    require_colours(section(saturation=0.5), bands)


def test_saturation_of_listed_bands_is_refused_and_other_changes_suit_them():
    require_colours(section(brightness=0.1, contrast=0.1, noise=3.0), (4, 1, 2))

    with pytest.raises(ParameterError, match=r"^params.yaml: augment.saturation: 0.5 needs R, G and B, .*\[4, 1, 2\]"):
        require_colours(section(saturation=0.5), (4, 1, 2))
