"""The decision rule at its boundaries, and Holm's correction against the textbook."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.gate import verdict
from segline.gate.comparison import Interval
from segline.gate.verdict import Verdict

LEVELS = st.lists(st.floats(0.0001, 0.2), min_size=1, max_size=7)


@pytest.mark.parametrize(
    ("difference", "low", "high", "expected"),
    [
        (-0.02, -0.03, -0.005, "regression"),
        (-0.02, -0.04, 0.0, "inconclusive"),
        (-0.02, -0.04, 0.01, "inconclusive"),
        (-0.009, -0.02, -0.001, "inconclusive"),
        (-0.005, -0.009, -0.001, "pass"),
        (-0.01, -0.01, -0.01, "pass"),
        (0.8 - 0.81, -0.02, -0.001, "inconclusive"),  # floating point calls it -0.010000000000000009
        (-0.0100001, -0.02, -0.001, "regression"),
        (0.0, -0.01, 0.01, "pass"),
        (0.0, -0.0101, 0.0101, "inconclusive"),
        (0.05, 0.04, 0.06, "pass"),
        (0.05, -0.02, 0.12, "inconclusive"),
    ],
)
def test_the_rule(difference, low, high, expected):
    """Margin 0.01. Regression: below it and surely below 0. Pass: surely not below it."""
    assert Verdict(expected) == verdict.rule(difference, Interval(low, high), 0.01)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_finding_is_never_both(difference, below, above, margin):
    interval = Interval(difference - below, difference + above)
    found = verdict.rule(difference, interval, margin)

    assert (found is Verdict.REGRESSION) <= (interval.high < 0 and interval.low < -margin)
    assert (found is Verdict.OK) == (interval.low >= -margin)


def levels(p_values: list[float], level: float = 0.05) -> list[float]:
    return verdict.holm(lambda place, share: p_values[place] <= share, len(p_values), level)


def test_holm_by_hand():
    """p = .01, .04, .03, .005 at .05: .005 <= .05/4 and .01 <= .05/3 are rejected, .03 > .05/2 is not, nor is .04."""
    p_values = [0.01, 0.04, 0.03, 0.005]
    found = levels(p_values)

    assert [True, False, False, True] == [p <= share for p, share in zip(p_values, found, strict=True)]
    assert [0.0125, 0.025, 0.025, 0.0125] == found


def test_one_hypothesis_is_not_corrected_and_two_that_stand_are_halved():
    assert [0.05] == levels([0.5])
    assert [0.025, 0.025] == levels([0.5, 0.5])
    assert [0.025, 0.05] == levels([0.001, 0.04])


@given(LEVELS)
def test_it_rejects_what_the_step_down_by_sorted_p_values_rejects(p_values):
    rejected: set[int] = set()
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > 0.05 / (len(p_values) - rank):
            break
        rejected.add(place)
    found = {place for place, share in enumerate(levels(p_values)) if p_values[place] <= share}

    assert rejected == found


@given(LEVELS)
def test_it_is_never_stricter_than_bonferroni_nor_laxer_than_no_correction(p_values):
    assert all(0.05 / len(p_values) <= share <= 0.05 for share in levels(p_values))
