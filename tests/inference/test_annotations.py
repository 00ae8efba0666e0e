"""Masks into outlined regions: exact, in an order that can be drawn, and simplified."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from segline.core.errors import ParameterError
from segline.dataset import onehot, raw
from segline.inference import annotations

CLASSES = tuple(raw.Label(name, (1, 2, 3)) for name in (" _Background_", "car", "road"))
MASKS = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2]))


def filled(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel by pixel: whether its centre is inside."""
    return np.array(
        [
            [cv2.pointPolygonTest(outline[:, None], (x + 0.5, y + 0.5), measureDist=False) > 0 for x in range(width)]
            for y in range(height)
        ]
    )


@given(MASKS)
def test_an_outline_without_its_holes_is_the_pixels_of_its_region(mask):
    drawn = np.zeros(mask.shape, np.int64)
    for region in annotations.regions(mask, 0):
        inside = filled(region.outline, *mask.shape)
        for hole in region.holes:
            inside &= ~filled(hole, *mask.shape)
        assert (mask[inside] == region.value).all()
        drawn += inside

    assert (drawn == 1).all()


@given(MASKS)
def test_regions_drawn_in_their_order_are_the_mask(mask):
    drawn = np.zeros_like(mask)  # the unlabelled class is 0
    for region in annotations.stacked([*annotations.regions(mask, 0)], *mask.shape, unlabelled=0):
        drawn[filled(region.outline, *mask.shape)] = region.value

    assert (mask == drawn).all()


def test_of_the_unlabelled_class_only_holes_are_kept():
    mask = np.zeros((9, 9), np.uint8)
    mask[2:7, 2:7] = 1
    mask[4, 4] = 0
    found = [*annotations.regions(mask, 0)]

    assert [1, 0] == [region.value for region in annotations.stacked(found, 9, 9, unlabelled=0)]
    assert [0, 1, 0] == [region.value for region in annotations.stacked(found, 9, 9, unlabelled=None)]


def test_specks_become_part_of_their_largest_neighbour():
    mask = np.zeros((10, 10), np.uint8)
    mask[:, 6:] = 2
    mask[3:5, 4:7] = 1

    assert [0, 2] == sorted(region.value for region in annotations.regions(mask, 7))
    assert [0, 1, 2] == sorted(region.value for region in annotations.regions(mask, 6))


def test_pixels_without_data_are_regions_of_their_own_however_small():
    mask = np.full((9, 9), 1, np.uint8)
    mask[0, 0] = mask[4, 4] = onehot.VOID
    mask[7, 7] = 2
    found = [*annotations.regions(mask, 5)]

    assert [1, onehot.VOID, onehot.VOID] == sorted(region.value for region in found)
    drawn = annotations.stacked(found, 9, 9, unlabelled=None)
    assert [1, onehot.VOID] == [region.value for region in drawn], "the one that is enclosed"


def test_specks_whose_neighbours_are_as_small_stay():
    mask = np.arange(25, dtype=np.uint8).reshape(5, 5) % 7

    assert 25 == sum(1 for _ in annotations.regions(mask, 20))


@given(MASKS)
def test_runs_are_those_of_pycocotools(mask):
    for region in annotations.regions(mask, 0):
        inside = filled(region.outline, *mask.shape)
        for hole in region.holes:
            inside &= ~filled(hole, *mask.shape)
        counts = annotations.runs((region.outline, *region.holes), *mask.shape)
        made = coco_mask.frPyObjects({"size": [*mask.shape], "counts": counts}, *mask.shape)

        assert coco_mask.encode(np.asfortranarray(inside.astype(np.uint8))) == made


@given(st.integers(0, 2**32 - 1), st.floats(0.25, 5))
@example(seed=22251974, tolerance=1.0)  # 1.29 pixels away at OpenCV's own bound
def test_each_point_of_an_outline_is_within_the_tolerance_of_the_simplified_one(seed, tolerance):
    """Of smooth regions; a tenth more for what nobody has measured yet."""
    noise = np.random.default_rng(seed).random((40, 50))
    mask = (cv2.GaussianBlur(noise, (0, 0), 5) > 0.5).astype(np.uint8)
    for region in annotations.regions(mask, 0):
        fewer = annotations.simplified(region.outline, tolerance)
        distances = [
            -cv2.pointPolygonTest(fewer[:, None], (x, y), measureDist=True) for x, y in region.outline.tolist()
        ]
        assert max(map(abs, distances)) <= 1.1 * tolerance
        assert 3 <= len(fewer) <= len(region.outline)


def test_a_straight_edge_needs_two_points_and_a_pixel_keeps_its_four():
    stairs = np.tri(40, dtype=np.uint8)
    (outline,) = (region.outline for region in annotations.regions(stairs, 0) if region.value == 1)
    (dot,) = (region.outline for region in annotations.regions(np.ones((1, 1), np.uint8), 0))

    assert (82, 3) == (len(outline), len(annotations.simplified(outline, 1)))
    assert np.array_equal(dot, annotations.simplified(dot, 10))


def test_the_unlabelled_class_is_that_named_background_unless_another_is_named():
    def unlabelled(name, classes=CLASSES):
        return annotations.request("coco", 1.0, 20, name, classes).unlabelled

    assert (0, None, 1) == (unlabelled(None), unlabelled(None, CLASSES[1:]), unlabelled("car"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((-1.0, 0, None), "--tolerance: expected 0 to 100 pixels, got -1"),
        ((float("nan"), 0, None), "--tolerance: expected 0 to 100 pixels, got nan"),
        ((0.0, -1, None), "--least-area: expected 0 to 67108864 pixels, got -1"),
        ((0.0, 0, "raod"), "--unlabelled: 'raod' is not a class of the model. Did you mean road?"),
    ],
)
def test_options_out_of_range_are_refused(options, said):
    with pytest.raises(ParameterError) as refused:
        annotations.request("coco", *options, CLASSES)

    assert str(refused.value).startswith(said)
