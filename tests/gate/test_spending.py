"""Error that is spent over several looks: published bounds, and simulated sums."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from segline.gate import spending

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.mark.parametrize(
    ("fractions", "published"),
    [(FIFTHS, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]), ((0.5, 1.0), [2.9626, 1.9686]), ((1.0,), [1.9600])],
)
def test_bounds_are_those_published_for_this_spending_function(fractions, published):
    """One-sided 0.025, equally spaced looks: as in the programs of Lan and DeMets, gsDesign and rpact."""
    bounds = [-special.ndtri(level) for level in spending.levels(0.025, fractions)]

    assert bounds == pytest.approx(published, abs=2e-3)


def test_simulated_sums_exceed_their_bounds_as_often_as_is_spent():
    draw = np.random.default_rng(1)
    sums = draw.normal(size=(200_000, 5)).cumsum(axis=1) / np.sqrt(np.arange(1, 6))
    beyond = sums > [-special.ndtri(level) for level in spending.levels(0.05, FIFTHS)]

    assert beyond.any(axis=1).mean() == pytest.approx(0.05, abs=0.002)
    assert beyond[:, :3].any(axis=1).mean() == pytest.approx(spending.spent(0.05, 0.6), abs=0.001)


@given(st.floats(1e-4, 0.2), st.floats(1e-4, 0.2), st.integers(1, 6))
def test_more_error_to_spend_never_makes_a_look_stricter(one, other, looks):
    """So Holm's method may hand the share of a rejected hypothesis on."""
    fractions = tuple(look / looks for look in range(1, looks + 1))
    less, more = (spending.levels(level, fractions) for level in sorted((one, other)))

    assert all(a <= b + 1e-9 for a, b in zip(less, more, strict=True))


def test_first_looks_of_very_many_spend_nothing_and_do_not_fail():
    """2 of 100 pairs may spend 1e-86 of a share of eight criteria."""
    levels = spending.levels(0.05 / 8, tuple(look / 100 for look in range(2, 101)))

    assert 0 <= levels[0] < 1e-50
    assert list(levels) == sorted(levels)
    assert 0.001 < levels[-1] < 0.05 / 8


def test_all_is_spent_at_the_last_look():
    assert spending.spent(0.05, 1.0) == pytest.approx(0.05)


def test_the_levels_in_the_documentation_are_those_of_five_seeds():
    *others, last = (f"{level:.4f}" for level in spending.levels(0.05, FIFTHS[1:]))
    text = (Path(__file__).parents[2] / "docs/gate.md").read_text(encoding="utf-8")

    assert f"the levels p are {', '.join(others)} and {last}" in text
