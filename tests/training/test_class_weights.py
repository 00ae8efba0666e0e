"""Class weights, against a count by hand."""

import tracemalloc

import numpy as np
import pytest

from segline.dataset import onehot
from segline.training import class_weights

VOID = 99


def packed(masks: np.ndarray, num_classes: int) -> np.ndarray:
    return onehot.pack(np.where(masks == VOID, onehot.VOID, masks).astype(np.uint8), num_classes)


@pytest.mark.parametrize("num_classes", [2, 8, 9, 17])
def test_counts_are_those_of_a_loop(num_classes):
    rng = np.random.default_rng(num_classes)
    masks = rng.choice([*range(num_classes), VOID], size=(4, 6, 7))
    expected = [[int((mask == k).sum()) for k in range(num_classes)] for mask in masks]

    assert expected == class_weights.counts(packed(masks, num_classes), num_classes).tolist()


def test_weights_by_hand():
    """Frequencies 6/16, 9/16 and 1/8 with median 6/16; class 3 has no pixel; void does not count."""
    masks = np.array([[[0, 0, 1, 1], [1, 1, 1, 1]], [[0, 0, 0, 0], [1, 1, 1, 2]], [[VOID] * 4] * 2])

    assert pytest.approx((1, (6 / 16) / (9 / 16), 3, 0)) == class_weights.median_frequency(packed(masks, 4), 4)


def test_void_around_an_image_changes_no_weight():
    rng = np.random.default_rng(2)
    masks = rng.integers(0, 3, size=(3, 5, 5))
    framed = np.pad(masks, ((0, 0), (2, 2), (2, 2)), constant_values=VOID)

    assert class_weights.median_frequency(packed(masks, 3), 3) == class_weights.median_frequency(packed(framed, 3), 3)


def test_the_weights_of_a_split_that_is_all_void_are_0():
    assert (0.0, 0.0) == class_weights.median_frequency(packed(np.full((2, 3, 3), VOID), 2), 2)


def test_a_memory_map_is_read_one_image_at_a_time(tmp_path):
    masks = np.random.default_rng(0).integers(0, 9, size=(64, 64, 64))
    np.save(tmp_path / "onehot.npy", packed(masks, 9))
    mapped = np.load(tmp_path / "onehot.npy", mmap_mode="r")
    tracemalloc.start()
    class_weights.median_frequency(mapped, 9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < mapped.nbytes / 4
