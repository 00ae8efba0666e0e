"""Class weights, against a count by hand."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset.onehot import VOID
from segline.training import class_weights
from tests.training import rows


def by_hand(masks: list[np.ndarray], num_classes: int) -> list[list[int]]:
    return [[int((mask == k).sum()) for k in range(num_classes)] for mask in masks]


@pytest.mark.parametrize("num_classes", [2, 8, 9, 17])
def test_counts_are_those_of_a_loop(num_classes):
    rng = np.random.default_rng(num_classes)
    masks = list(rng.choice([*range(num_classes), VOID], size=(4, 6, 7)).astype(np.uint8))

    assert by_hand(masks, num_classes) == class_weights.counts(rows.split(masks, num_classes)).tolist()


@given(st.lists(st.tuples(st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=3))
def test_images_cut_into_tiles_have_the_counts_and_weights_of_whole_ones(sizes):
    """Although most pixels are in several tiles."""
    masks = [np.random.default_rng(size).choice([0, 1, 2, VOID], size).astype(np.uint8) for size in sizes]
    masks[0][:, :9] = 1
    tiles = rows.split(masks, 3, rows.TILES)
    whole = [rows.split([mask], 3) for mask in masks]

    assert by_hand(masks, 3) == class_weights.counts(tiles).tolist()
    assert by_hand(masks, 3) == [class_weights.counts(split)[0].tolist() for split in whole]


def test_weights_by_hand():
    """Frequencies 6/16, 9/16 and 1/8 with median 6/16; class 3 has no pixel; void does not count."""
    masks = np.array([[[0, 0, 1, 1], [1, 1, 1, 1]], [[0, 0, 0, 0], [1, 1, 1, 2]], [[VOID] * 4] * 2], np.uint8)

    assert pytest.approx((1, (6 / 16) / (9 / 16), 3, 0)) == class_weights.median_frequency(rows.split(masks, 4))


def test_a_frequency_is_over_the_images_with_the_class_not_over_their_tiles():
    """One corner of a large image has class 1: 64 of its 96 x 96 pixels, which it owns in a single tile of four."""
    mask = np.zeros((96, 96), np.uint8)
    mask[:8, :8] = 1
    frequencies = np.array([96 * 96 - 64, 64]) / (96 * 96)
    split = rows.split([mask], 2, rows.TILES)

    assert 4 == split.index.num_rows
    assert pytest.approx(np.median(frequencies) / frequencies) == class_weights.median_frequency(split)


def test_void_around_an_image_changes_no_weight():
    rng = np.random.default_rng(2)
    masks = rng.integers(0, 3, size=(3, 5, 5)).astype(np.uint8)
    framed = np.pad(masks, ((0, 0), (2, 2), (2, 2)), constant_values=VOID)
    plain, inside = (class_weights.median_frequency(rows.split(each, 3)) for each in (masks, framed))

    assert plain == inside


def test_the_weights_of_a_split_that_is_all_void_are_0():
    assert (0.0, 0.0) == class_weights.median_frequency(rows.split(np.full((2, 3, 3), VOID), 2))


def test_a_memory_map_is_read_one_row_at_a_time(tmp_path):
    split = rows.split(np.random.default_rng(0).integers(0, 9, size=(64, 64, 64)).astype(np.uint8), 9)
    np.save(tmp_path / "onehot.npy", split.onehot)
    mapped = replace(split, onehot=np.load(tmp_path / "onehot.npy", mmap_mode="r"))
    tracemalloc.start()
    class_weights.median_frequency(mapped)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < mapped.onehot.nbytes / 4
