"""Confidence is compared with accuracy exactly, in any order, and void is in no bin."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segline.model import forward
from segline.scoring import calibration
from segline.scoring.calibration import BINS, ONE, Calibrated

HALF = ONE // 2


def pixels(*triples: tuple[int, bool, bool]) -> list[np.ndarray]:
    """Confidences, and whether the pixels are right and labelled."""
    confidence, right, labelled = zip(*triples, strict=True)
    return [np.array([confidence], np.int32), np.array([right]), np.array([labelled])]


def by_hand(triples) -> float:
    """The error by its definition, a bin at a time, in fractions of 1."""
    labelled = [(confidence / ONE, right) for confidence, right, counted in triples if counted]
    total = 0.0
    for place in range(BINS):
        inside = [
            (sure, right)
            for sure, right in labelled
            if place / BINS < sure <= (place + 1) / BINS or (place == 0 and sure == 0)
        ]
        total += abs(sum(right - sure for sure, right in inside))
    return total / len(labelled)


TRIPLES = st.lists(st.tuples(st.integers(0, ONE), st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(TRIPLES)
def test_the_error_is_that_of_its_definition(triples):
    counts = calibration.count(*pixels(*triples, (HALF, True, True)))
    error = calibration.ece(calibration.gaps(counts), counts[:, 0].sum())

    assert error == pytest.approx(by_hand([*triples, (HALF, True, True)]))


@given(TRIPLES, st.integers(0, 60))
def test_counts_of_parts_add_up_to_those_of_the_whole_in_any_order(triples, place):
    parts = [part for part in (triples[place:], triples[:place]) if part]

    whole = calibration.count(*pixels(*triples))
    assert np.array_equal(whole, sum(calibration.count(*pixels(*reversed(part))) for part in parts))


def test_an_edge_belongs_to_the_bin_below_and_0_to_the_first():
    edges = [0, 1, ONE // 3, ONE // 3 + 1, ONE]
    places = [int(calibration.count(*pixels((edge, True, True)))[:, 0].argmax()) for edge in edges]

    assert [0, 0, 4, 5, 14] == places


def test_void_pixels_are_in_no_bin():
    assert not calibration.count(*pixels((ONE, False, False), (HALF, True, False))).any()


def test_a_model_that_is_right_as_often_as_it_says_has_no_error():
    counts = calibration.count(*pixels(*[(ONE * 3 // 4, place != 0, True) for place in range(4)]))

    assert calibration.ece(calibration.gaps(counts), 4) == 0


def test_a_model_that_is_sure_and_wrong_has_an_error_of_1():
    counts = calibration.count(*pixels((ONE, False, True)))

    assert calibration.ece(calibration.gaps(counts), 1) == 1


def test_the_summary_leaves_undefined_rates_out():
    counts = calibration.count(*pixels((ONE, True, True), (HALF, False, True), (HALF, False, False)))
    content = calibration.summary(Calibrated(counts[None], 1.5))
    bins = content["calibration"]["bins"]

    assert content["ece"] == 0.25
    assert content["calibration"]["temperature"] == 1.5
    assert {"pixels": 1, "accuracy": 1.0, "confidence": 1.0} == bins[-1]
    assert {"pixels": 1, "accuracy": 0.0, "confidence": 0.5} == bins[7]
    assert [{"pixels": 0}] * 7 == bins[:7]
    assert "ece" not in calibration.summary(Calibrated(np.zeros((2, BINS, 3), np.int64), 1.0))


def split(images: int, rate: float, seed: int) -> calibration.Counts:
    """Images of 200 pixels with a confidence of 0.8 that are right at about this rate, some more and some less."""
    draws = np.random.default_rng(seed)
    right = draws.binomial(200, np.clip(draws.normal(rate, 0.05, images), 0, 1))
    counts = np.zeros((images, BINS, 3), np.int64)
    counts[:, 11] = np.stack([np.full(images, 200), right, np.full(images, 200 * round(0.8 * ONE))], axis=-1)
    return counts


@pytest.mark.parametrize("rate", [0.8, 0.7])
def test_the_interval_contains_the_error_and_the_true_one_about_95_times_in_100(rate):
    hits = 0
    for seed in range(100):
        counts = split(40, rate, seed)
        error = calibration.summary(Calibrated(counts, 1.0))["ece"]
        interval = calibration.interval(counts, 200, seed)
        assert interval["low"] <= error <= interval["high"]
        hits += interval["low"] <= abs(0.8 - rate) <= interval["high"]

    assert 88 <= hits <= 100


def test_images_without_a_labelled_pixel_are_left_out_and_one_image_has_no_interval():
    counts = split(5, 0.7, 0)
    void = np.zeros((3, BINS, 3), np.int64)

    assert calibration.interval(counts, 100, 0) == calibration.interval(np.concatenate([void, counts]), 100, 0)
    assert calibration.interval(np.concatenate([void, counts[:1]]), 100, 0) is None


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_the_confidence_of_a_pixel_is_the_highest_probability_and_does_not_depend_on_its_neighbours(seed, temperature):
    logits = torch.randn(5, 9, 17, generator=torch.Generator().manual_seed(seed)) * 4
    whole = forward.confidence(logits, temperature, ONE)
    expected = (logits.double() / temperature).softmax(dim=0).amax(dim=0) * ONE

    assert np.abs(whole - expected.numpy()).max() <= 0.6  # half a unit, and float32
    for rows, columns in ((slice(0, 1), slice(0, 17)), (slice(2, 7), slice(3, 4)), (slice(8, 9), slice(5, 16))):
        assert np.array_equal(whole[rows, columns], forward.confidence(logits[:, rows, columns], temperature, ONE))


def test_logits_that_are_not_finite_have_no_confidence():
    logits = torch.tensor([[[0.0, torch.inf, torch.nan, torch.inf]], [[0.0, 0.0, 0.0, torch.inf]]])

    assert [ONE // 2, 0, 0, 0] == forward.confidence(logits, 1.0, ONE)[0].tolist()
