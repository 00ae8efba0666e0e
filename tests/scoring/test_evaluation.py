"""Bootstrap intervals cover what they should and depend only on their seed."""

import numpy as np
import pytest
from scipy import stats

from segline.scoring import confusion, evaluation


def split(num_images: int, rate: float, seed: int) -> confusion.Counts:
    draws = np.random.default_rng(seed).random((num_images, 50)) < rate
    right = draws.sum(axis=1)
    counts = np.zeros((num_images, 2, 2), np.int64)
    counts[:, 0, 0], counts[:, 0, 1] = right, 50 - right
    return counts


def accuracy(cells: confusion.Floats, _: confusion.Bools) -> confusion.Floats:
    return confusion.accuracy(cells)


def test_the_interval_contains_the_true_rate_about_95_times_in_100():
    hits = 0
    for seed in range(100):
        interval = evaluation.interval_over_images(split(40, 0.8, seed), accuracy, 200, seed)
        hits += interval["low"] <= 0.8 <= interval["high"]

    assert 86 <= hits <= 100


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_that_of_scipy(seed):
    """scipy draws from the same stream, and passes on the rows of each resample."""
    counts = split(30, 0.7, seed)

    def rate(rows):
        return counts[rows.astype(int), 0, 0].sum() / (50 * len(rows))

    rows, rng = (np.arange(30),), np.random.default_rng(seed)
    expected = stats.bootstrap(rows, rate, n_resamples=200, method="percentile", vectorized=False, rng=rng)
    interval = evaluation.interval_over_images(counts, accuracy, 200, seed)

    assert interval == pytest.approx(expected.confidence_interval._asdict(), abs=1e-12)


def test_equal_seeds_give_equal_intervals_and_other_seeds_do_not():
    counts = split(20, 0.7, 0)

    assert evaluation.interval_over_images(counts, accuracy, 300, 1) == evaluation.interval_over_images(
        counts, accuracy, 300, 1
    )
    assert evaluation.interval_over_images(counts, accuracy, 300, 1) != evaluation.interval_over_images(
        counts, accuracy, 300, 2
    )


def test_one_image_has_no_interval():
    assert evaluation.interval_over_images(split(1, 0.5, 0), accuracy, 100, 0) is None


def test_images_without_a_labelled_pixel_are_left_out():
    counts = split(5, 0.5, 0)
    void = np.zeros((3, 2, 2), np.int64)

    assert evaluation.interval_over_images(counts, accuracy, 100, 0) == evaluation.interval_over_images(
        np.concatenate([void, counts]), accuracy, 100, 0
    )
    assert evaluation.interval_over_images(np.concatenate([void, counts[:1]]), accuracy, 100, 0) is None


def test_the_interval_of_equal_images_has_no_width():
    interval = evaluation.interval_over_images(np.repeat(split(1, 0.5, 0), 5, axis=0), accuracy, 100, 0)

    assert interval["low"] == interval["high"]
