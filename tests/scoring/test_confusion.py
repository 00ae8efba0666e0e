"""Counts agree with a double loop, and scores with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from segline.dataset import onehot
from segline.scoring import confusion

K = 4
LABELS = hnp.arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, onehot.VOID]))
CLASSES = hnp.arrays(np.uint8, (5, 6), elements=st.integers(0, K - 1))


@given(LABELS, CLASSES)
def test_counts_agree_with_a_double_loop(truth, prediction):
    expected = np.zeros((K, K), np.int64)
    for actual, predicted in zip(truth.ravel(), prediction.ravel(), strict=True):
        if actual != onehot.VOID:
            expected[actual, predicted] += 1

    assert np.array_equal(expected, confusion.count(truth, prediction, K))


@given(LABELS, CLASSES)
def test_counts_of_parts_add_up_to_the_whole(truth, prediction):
    whole = confusion.count(truth, prediction, K)
    parts = confusion.count(truth[:2], prediction[:2], K) + confusion.count(truth[2:], prediction[2:], K)

    assert np.array_equal(whole, parts)


@given(LABELS, CLASSES)
def test_scores_agree_with_scikit_learn(truth, prediction):
    valid = truth != onehot.VOID
    if not valid.any():
        return
    scores = confusion.scores(confusion.count(truth, prediction, K))
    actual, predicted = truth[valid], prediction[valid]
    labels = np.unique(actual)

    assert scores.accuracy == pytest.approx(metrics.accuracy_score(actual, predicted))
    assert scores.miou == pytest.approx(metrics.jaccard_score(actual, predicted, labels=labels, average="macro"))
    assert scores.mean_dice == pytest.approx(metrics.f1_score(actual, predicted, labels=labels, average="macro"))
    assert scores.mean_class_accuracy == pytest.approx(
        metrics.recall_score(actual, predicted, labels=labels, average="macro")
    )


@given(LABELS, CLASSES, st.permutations(range(K)))
def test_renaming_classes_changes_no_mean(truth, prediction, names):
    table = np.array([*names, *range(K, 256)], np.uint8)
    one = confusion.scores(confusion.count(truth, prediction, K))
    other = confusion.scores(confusion.count(table[truth], table[prediction], K))

    assert np.allclose([one.miou, one.accuracy], [other.miou, other.accuracy], equal_nan=True)


def test_a_class_without_any_pixel_is_undefined_and_leaves_the_mean_alone():
    scores = confusion.scores(np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]]))

    assert np.isnan(scores.iou[2])
    assert (3 / 4 + 4 / 5) / 2 == pytest.approx(scores.miou)


def test_a_class_that_is_predicted_but_never_true_scores_0_and_is_not_in_the_mean():
    """mIoU is the mean over the classes with a true pixel; a false positive costs the class it was taken from."""
    scores = confusion.scores(np.array([[3, 1], [0, 0]]))

    assert scores.iou[1] == 0
    assert scores.miou == pytest.approx(3 / 4)


def test_a_resample_keeps_the_classes_of_the_full_split():
    cells = confusion.by_class(np.array([[2, 2], [0, 0]]))

    assert confusion.miou(cells, np.array([True, True])) == pytest.approx((2 / 4 + 0) / 2)


@given(hnp.arrays(np.int64, (5, K, K), elements=st.integers(0, 9)))
def test_the_rates_of_many_matrices_are_those_of_each(matrices):
    """The gate and the intervals score thousands of resamples at once."""
    cells, each = confusion.by_class(matrices), [confusion.scores(matrix) for matrix in matrices]

    for name in ("accuracy", "class_accuracy", "iou", "dice", "miou"):
        rates = getattr(confusion, name)(cells)
        assert np.array_equal(rates, [getattr(scores, name) for scores in each], equal_nan=True)


def test_the_cells_of_a_class_are_true_positives_false_positives_and_false_negatives():
    assert [[3, 5, 1], [4, 1, 5]] == confusion.by_class(np.array([[3, 1], [5, 4]])).tolist()


def test_nothing_but_void_is_undefined_not_zero():
    scores = confusion.scores(np.zeros((2, 2), np.int64))

    assert np.isnan([scores.accuracy, scores.miou, scores.mean_dice]).all()
