"""COCO's run lengths, compared with pycocotools' own encoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from segline.sources.collecting import coco_runs

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
any_masks = st.tuples(sizes, st.integers(0, 1 << 30), st.sampled_from([0.0, 0.01, 0.2, 0.9, 1.0])).map(
    lambda drawn: np.random.default_rng(drawn[1]).random(drawn[0]) < drawn[2]
)


def encoded(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]


def whole(region, shape) -> np.ndarray:
    mask = np.zeros(shape, bool)
    height, width = region.inside.shape
    mask[region.top : region.top + height, region.left : region.left + width] = region.inside
    return mask


@given(any_masks)
def test_a_mask_survives_both_forms(mask) -> None:
    compressed = coco_runs.of_text(encoded(mask), *mask.shape)
    plain = coco_runs.of_lengths(compressed.tolist(), *mask.shape)

    assert np.array_equal(mask, whole(coco_runs.region(compressed, mask.shape[0]), mask.shape))
    assert np.array_equal(compressed, plain)
    assert mask.sum() == compressed[1::2].sum()


@given(any_masks)
def test_a_region_holds_no_row_or_column_without_a_pixel_at_its_border(mask) -> None:
    inside = coco_runs.region(coco_runs.of_text(encoded(mask), *mask.shape), mask.shape[0]).inside
    if mask.any():
        for line in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert line.any()
    else:
        assert (0, 0) == inside.shape


def test_runs_of_no_length_are_passed_over() -> None:
    """As some tools write them."""
    lengths = [0, 0, 2, 1, 0, 1, 0, 0, 5]
    mask = np.array([0, 0, 1, 1, 0, 0, 0, 0, 0], bool).reshape(3, 3).T

    assert np.array_equal(mask, whole(coco_runs.region(coco_runs.of_lengths(lengths, 3, 3), 3), (3, 3)))


@given(st.binary(max_size=30), sizes)
def test_any_text_is_run_lengths_of_the_image_or_refused(text, size) -> None:
    try:
        runs = coco_runs.of_text(text, *size)
    except ValueError:
        return
    assert size[0] * size[1] == runs.sum()
    assert runs.min() >= 0


def test_a_mask_of_millions_of_pixels_is_cut_to_its_columns() -> None:
    """Memory goes with the object, not with the image."""
    height, width = 20_000, 20_000
    runs = coco_runs.of_lengths([7 * height + 5, 3, height - 3, 4, height * width - 8 * height - 9], height, width)
    region = coco_runs.region(runs, height)

    assert (5, 7, (4, 2)) == (region.top, region.left, region.inside.shape)


def test_run_lengths_have_limits(monkeypatch) -> None:
    monkeypatch.setattr(coco_runs, "MAX_RUNS", 3)
    monkeypatch.setattr(coco_runs, "MAX_TEXT", 3)
    with pytest.raises(ValueError, match="4 run lengths, expected at most 3"):
        coco_runs.of_lengths([1, 1, 1, 1], 2, 2)
    with pytest.raises(ValueError, match="run lengths of 4 bytes, expected at most 3"):
        coco_runs.of_text(b"1111", 2, 2)
