"""The variance of scores is divided as it was drawn, and the interval contains the mean that folds are drawn about."""

import numpy as np
import pytest
from scipy import stats

from segline.reproducibility import fold_scores
from segline.scoring import confusion


def test_the_interval_is_that_of_a_t_test_with_the_variance_corrected():
    """Without a share of common images it is Student's interval of the means."""
    values = np.random.default_rng(0).normal(0.6, 0.05, (5, 2)).tolist()
    means = np.mean(values, axis=1)
    expected = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    plain, corrected = fold_scores.mean(values, 0.0), fold_scores.mean(values, 0.25)

    assert expected == pytest.approx((plain["low"], plain["high"]))
    assert corrected["value"] == plain["value"] == pytest.approx(means.mean())
    assert (corrected["high"] - corrected["low"]) / (plain["high"] - plain["low"]) == pytest.approx((2.25 / 1) ** 0.5)


def test_deviations_are_those_that_scores_were_drawn_with():
    draws = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        fold, image = draws.normal(0, 0.03, (5, 1)), draws.normal(0, 0.02, (5, 1))
        values = 0.6 + fold + image + draws.normal(0, 0.01, (5, 2))
        found.append(fold_scores.deviations(values.tolist(), [fold_scores.WIDTH * 0.02] * 5))
    squares = {name: np.mean([each[name] ** 2 for each in found]) for name in ("seed", "fold", "image")}

    assert squares["seed"] == pytest.approx(0.01**2, rel=0.06)
    assert squares["image"] == pytest.approx(0.02**2)
    assert squares["fold"] == pytest.approx(0.03**2, rel=0.08)


def test_one_seed_says_nothing_of_seeds_and_nothing_left_is_0():
    assert {"fold": 0.0, "image": pytest.approx(0.1)} == fold_scores.deviations(
        [[0.5], [0.51], [0.49]], [fold_scores.WIDTH * 0.1] * 3
    )


def test_pooled_scores_are_those_of_all_pixels_together():
    matrices = np.random.default_rng(0).integers(0, 50, (3, 2, 2))
    cells = [
        [
            {"actual": a, "predicted": p, "count": int(matrix[i, j])}
            for i, a in enumerate("ab")
            for j, p in enumerate("ab")
        ]
        for matrix in matrices
    ]
    expected = confusion.scores(matrices.sum(axis=0))
    found = fold_scores.pooled(cells)

    assert (found["accuracy"], found["miou"]) == (expected.accuracy, expected.miou)
    assert dict(zip("ab", expected.iou.tolist(), strict=True)) == found["iou"]
