"""The decision rule at its boundaries, Holm's correction against the textbook, and both on invented evidence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.gate import bootstrap, decision
from segline.gate.bootstrap import Floats, Interval, Noise
from segline.gate.decision import Evidence, Verdict
from segline.gate.rules import Criterion

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
    assert Verdict(expected) == decision.rule(difference, Interval(low, high), 0.01)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_finding_is_never_both(difference, below, above, margin):
    interval = Interval(difference - below, difference + above)
    verdict = decision.rule(difference, interval, margin)

    assert (verdict is Verdict.REGRESSION) <= (interval.high < 0 and interval.low < -margin)
    assert (verdict is Verdict.OK) == (interval.low >= -margin)


def levels(p_values: list[float], level: float = 0.05) -> list[float]:
    return decision.holm(lambda place, share: p_values[place] <= share, len(p_values), level)


def test_holm_by_hand():
    """p = .01, .04, .03, .005 at .05: .005 <= .05/4 and .01 <= .05/3 are rejected, .03 > .05/2 is not, nor is .04."""
    p_values = [0.01, 0.04, 0.03, 0.005]
    shares = levels(p_values)

    assert [True, False, False, True] == [p <= share for p, share in zip(p_values, shares, strict=True)]
    assert [0.0125, 0.025, 0.025, 0.0125] == shares


def test_one_hypothesis_is_not_corrected_and_the_level_of_two_that_are_kept_is_halved():
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
    rejected_by_holm = {place for place, share in enumerate(levels(p_values)) if p_values[place] <= share}

    assert rejected == rejected_by_holm


@given(LEVELS)
def test_it_is_never_stricter_than_bonferroni_nor_laxer_than_no_correction(p_values):
    assert all(0.05 / len(p_values) <= share <= 0.05 for share in levels(p_values))


NAMES = ("accuracy", "miou", "iou.sky")
SURE, DOUBTFUL, HARMLESS = 0.0, 0.02, 0.5  # share of resamples that find a gain


def replicates(*shares: float, loss: float = -0.03, gain: float = 0.01) -> Floats:
    """1000 resamples of each criterion: these shares show a gain, the others a loss: (1000, M)."""
    ranks = np.arange(1000)[:, None] / 1000
    return np.where(ranks < np.array(shares), gain, loss)


def decided(
    by_image: Floats, noise: Noise | None = None, by_group: Floats | None = None, difference: float = -0.02
) -> list[decision.Finding]:
    """Criteria with margin 0.01; each fell by 0.02, or changed by the given difference."""
    count = by_image.shape[1]
    base, differences = np.full(count, 0.5), np.full(count, difference)
    evidence = Evidence(base, base + differences, differences, by_image, by_group)
    return decision.decide(evidence, [Criterion(name, 0.01) for name in NAMES[:count]], [noise] * count)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([DOUBTFUL], [("regression", 0.05)]),
        ([DOUBTFUL, DOUBTFUL], [("inconclusive", 0.025), ("inconclusive", 0.025)]),
        ([SURE, DOUBTFUL], [("regression", 0.025), ("regression", 0.05)]),
        ([DOUBTFUL, SURE], [("regression", 0.05), ("regression", 0.025)]),
        ([SURE, DOUBTFUL, DOUBTFUL], [("regression", 0.05 / 3), ("inconclusive", 0.025), ("inconclusive", 0.025)]),
        ([SURE, SURE, DOUBTFUL], [("regression", 0.05 / 3), ("regression", 0.05 / 3), ("regression", 0.05)]),
        ([HARMLESS, DOUBTFUL], [("inconclusive", 0.025), ("inconclusive", 0.025)]),
    ],
)
def test_a_doubtful_loss_counts_alone_or_when_the_others_are_certain(shares, expected):
    """2 % of resamples show a gain: allowed are 2.5 % with one criterion, 1.25 % with two."""
    assert expected == [(finding.verdict, pytest.approx(finding.level)) for finding in decided(replicates(*shares))]


def test_the_interval_is_that_of_the_level_that_decided():
    sure, freed = decided(replicates(SURE, DOUBTFUL))

    assert (Interval(-0.03, -0.02), Interval(-0.03, -0.02)) == (sure.interval, freed.interval)
    assert {Interval(-0.03, 0.01)} == {finding.interval for finding in decided(replicates(DOUBTFUL, DOUBTFUL))}


def test_the_interval_over_groups_includes_the_seeds():
    noise = Noise(0.003, 5)
    by_group = replicates(HARMLESS, loss=-0.05, gain=0.03)
    (finding,) = decided(replicates(HARMLESS), noise, by_group)

    assert bootstrap.interval(-0.02, by_group[:, 0], 0.05, noise) == finding.by_group
    assert finding.by_group.low < -0.05
    assert finding.by_group.high > 0.03


@pytest.mark.parametrize(("difference", "expected"), [(-0.02, 0.03), (-0.01, 0.02), (0.005, 0.035), (-0.0101, 0.0201)])
def test_the_upper_side_decides_if_more_than_the_margin_was_lost(difference, expected):
    """Resamples are at -0.03 and 0.01; `images` is the distance of the deciding one from the estimate."""
    (finding,) = decided(replicates(HARMLESS), Noise(0.5, 5), difference=difference)

    assert finding.images == pytest.approx(expected)
    assert finding.seeds == pytest.approx(Noise(0.5, 5).half_width(0.05))
