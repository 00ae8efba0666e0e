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


def one_image(*rows: list[int]) -> confusion.Counts:
    return np.array([rows], np.int64)


def test_a_class_without_true_pixels_is_undefined_in_every_record():
    """An IoU of 0 in one file, for pixels predicted as it, and none in another would be two answers."""
    matrices = one_image([3, 1], [0, 0])
    section = evaluation.Section(split="test", batch_size=1, resamples=100, seed=1, objects=None)

    assert evaluation.class_rows(matrices, ["ground", "car"]) == [
        ("ground", 0.75, 0.75, pytest.approx(6 / 7), 4),
        ("car", None, None, None, 0),
    ]
    assert evaluation.at(matrices, ["ground", "car"], section)["iou"] == {"ground": 0.75}


@pytest.mark.parametrize(
    ("matrices", "expected"),
    [
        (one_image([3, 1], [0, 2]), []),
        (one_image([3, 1], [0, 0]), ["test: no true pixel of car: without scores, and not part of any mean"]),
        (
            one_image([3, 0], [2, 0]),
            ["test: every pixel is predicted as ground: the model tells no classes apart"],
        ),
        (
            one_image([0, 3], [0, 0]),
            [
                "test: no true pixel of car: without scores, and not part of any mean",
                "test: every pixel is predicted as car: the model tells no classes apart",
            ],
        ),
        (one_image([3]), []),
    ],
)
def test_scores_that_say_little_are_doubted(matrices, expected):
    names = ["ground", "car"][: matrices.shape[1]]

    assert expected == list(evaluation.doubts(matrices, names, "test"))
