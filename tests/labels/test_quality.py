"""Label quality by the library of its authors, and disputes by hand and by law."""

import numpy as np
import pytest
from cleanlab.count import get_confident_thresholds
from cleanlab.segmentation.rank import get_label_quality_scores
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset.onehot import VOID
from segline.labels import quality

CLASSES = 3


def planes_of(classes: np.ndarray, sure: int = 201) -> np.ndarray:
    """Probabilities of a model that is as sure of these classes everywhere; the other two share the rest."""
    others = (quality.ONE - sure) // (CLASSES - 1)
    return np.where(classes == np.arange(CLASSES)[:, None, None], sure, others).astype(np.uint8)


def random_planes(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Probabilities that add up to 255."""
    first, second = np.sort(random.integers(0, quality.ONE + 1, (2, height, width)), axis=0)
    return np.stack([first, second - first, quality.ONE - second]).astype(np.uint8)


def assessed(labels: np.ndarray, predicted: np.ndarray) -> quality.Assessed:
    return quality.assess(labels.astype(np.uint8), planes_of(predicted), sure_at(0.5))


def sure_at(probability: float) -> quality.Usual:
    return quality.Usual(np.full(CLASSES, probability), np.ones(CLASSES))


def test_the_quality_of_an_image_is_that_of_cleanlab():
    random = np.random.default_rng(1)
    labels = random.integers(0, CLASSES, (5, 12, 17)).astype(np.uint8)
    planes = np.stack([random_planes(random, 12, 17) for _ in labels])
    expected, _ = get_label_quality_scores(labels.astype(int), planes / quality.ONE, verbose=False)
    own = [quality.assess(*pair, sure_at(1)).quality for pair in zip(labels, planes, strict=True)]

    assert expected == pytest.approx(own)


def test_a_model_is_sure_from_the_thresholds_of_cleanlab_on():
    random = np.random.default_rng(2)
    labels = random.integers(0, CLASSES, (4, 9, 11)).astype(np.uint8)
    planes = np.stack([random_planes(random, 9, 11) for _ in labels])
    flat = np.moveaxis(planes, 1, -1).reshape(-1, CLASSES) / quality.ONE
    expected = get_confident_thresholds(labels.ravel().astype(int), flat)

    assert expected == pytest.approx(quality.usual(zip(labels, planes, strict=True), CLASSES).sure_from)


def test_void_and_classes_without_labels_leave_what_is_usual_alone():
    labels = np.array([[0, 0, VOID, VOID]], np.uint8)
    planes = planes_of(np.array([[0, 1, 2, 2]]))

    found = quality.usual([(labels, planes)], CLASSES)

    assert [(201 + 27) / 2 / 255, quality.NEVER, quality.NEVER] == pytest.approx(found.sure_from.tolist())
    assert [-np.log(201 * 27 / 255**2) / 2, 0, 0] == pytest.approx(found.loss.tolist())


def test_a_missing_object_and_one_of_another_class_are_disputed_whole():
    truth = np.zeros((20, 30), int)
    truth[2:8, 3:9], truth[10:15, 20:28] = 1, 2
    labels = truth.copy()
    labels[2:8, 3:9] = 0
    labels[10:15, 20:28] = 1

    other, missing = sorted(assessed(labels, truth).disputes, key=lambda each: -each.area)

    assert (1, 2, 40, 1.0, (20, 10, 8, 5)) == (other.label, other.prediction, other.area, other.share, other.box)
    assert (0, 1, 36, 1.0, (3, 2, 6, 6)) == (
        missing.label,
        missing.prediction,
        missing.area,
        missing.share,
        missing.box,
    )
    assert 27 / 255 == pytest.approx(other.probability) == pytest.approx(np.exp(-missing.loss))


def test_a_shifted_object_is_disputed_along_its_border_and_lowers_the_quality_of_its_image():
    truth = np.zeros((40, 60), int)
    truth[10:30, 10:50] = 1
    right, shifted = assessed(truth, truth), assessed(np.roll(truth, 4, axis=1), truth)

    assert [] == right.disputes
    assert [(0, 1), (1, 0)] == sorted((each.label, each.prediction) for each in shifted.disputes)
    assert all(each.share == pytest.approx(0.1) for each in shifted.disputes)
    assert shifted.disputed == 160 / 2400
    assert shifted.quality < right.quality


def test_an_unsure_model_disputes_nothing():
    truth = np.zeros((4, 4), np.uint8)

    assert [] == quality.assess(truth, planes_of(truth + 1, sure=120), sure_at(0.5)).disputes


def test_an_image_without_labels_is_not_in_dispute():
    found = assessed(np.full((3, 4), VOID), np.ones((3, 4)))

    assert (1.0, 0.0, []) == (found.quality, found.disputed, found.disputes)


@given(st.integers(0, 2**32 - 1))
def test_disputes_are_the_disputed_pixels_each_once_and_void_is_none_of_them(seed):
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, 2, VOID], (6, 7)).astype(np.uint8)
    planes, sure_from = random_planes(random, 6, 7), random.random(CLASSES)
    found = quality.assess(labels, planes, quality.Usual(sure_from, np.ones(CLASSES)))
    expected = np.zeros((CLASSES, CLASSES), int)
    for y, x in np.ndindex(labels.shape):  # by brute force
        best = int(planes[:, y, x].argmax())
        is_disputed = labels[y, x] not in (VOID, best) and planes[best, y, x] / 255 >= sure_from[best]
        assert is_disputed == (found.numbers[y, x] > 0)
        if is_disputed:
            expected[labels[y, x], best] += 1
            dispute = found.disputes[found.numbers[y, x] - 1]
            assert (labels[y, x], best) == (dispute.label, dispute.prediction)

    assert expected.tolist() == found.pairs.tolist()
    assert np.bincount(found.numbers.ravel(), minlength=1)[1:].tolist() == [each.area for each in found.disputes]
    assert all(0 < each.share <= 1 for each in found.disputes)
