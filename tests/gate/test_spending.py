"""Error that is spent over several looks: published bounds, and simulated sums."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from segline.gate import spending

KNOWN = 10**7  # degrees of freedom of a variance that is as good as known


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize(
    ("looks", "published"),
    [(5, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]), (2, [2.9626, 1.9686]), (1, [1.9600])],
)
def test_bounds_of_a_known_variance_are_those_published_for_this_spending_function(looks, published, sides):
    """One-sided 0.025, equally spaced looks: as in the programs of Lan and DeMets, gsDesign and rpact."""
    bounds = [-special.ndtri(level) for level in spending.levels(0.025, 1, looks, KNOWN, sides)]

    assert bounds == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize(("first", "earlier"), [(2, 4), (2, 2), (4, 0)])
@pytest.mark.parametrize("sides", [1, 2])
def test_simulated_means_exceed_quantiles_of_t_as_often_as_is_spent(first, earlier, sides):
    """Runs of both sides, or of one, whose variance is estimated from them and from earlier ones."""
    draw, gates, last = np.random.default_rng(1), 200_000, 5
    runs = draw.normal(size=(sides, last, gates))
    known = draw.chisquare(earlier, gates) if earlier else np.zeros(gates)
    beyond = np.zeros(gates, bool)
    for pairs, level in enumerate(spending.levels(0.05, first, last, earlier, sides), first):
        freedom = earlier + sides * (pairs - 1)
        variance = (known + (pairs * runs[:, :pairs].var(axis=1)).sum(axis=0)) / freedom
        differences = runs[0, :pairs].mean(axis=0) - (runs[1, :pairs].mean(axis=0) if sides == 2 else 0)
        beyond |= differences / np.sqrt(sides * variance / pairs) > special.stdtrit(freedom, 1 - level)

        spent = spending.spent(0.05, pairs / last)
        assert beyond.mean() == pytest.approx(spent, abs=4 * np.sqrt(spent / gates))


@given(st.floats(1e-4, 0.2), st.floats(1e-4, 0.2), st.integers(2, 5))
@settings(max_examples=20, deadline=None)
def test_more_error_to_spend_never_makes_a_look_stricter(one, other, last):
    """So Holm's method may hand the share of a rejected hypothesis on."""
    less, more = (spending.levels(level, 2, last, 4, 2) for level in sorted((one, other)))

    assert all(a <= b + 1e-4 * b for a, b in zip(less, more, strict=True))


def test_first_looks_of_very_many_spend_nothing_and_do_not_fail():
    """2 of 40 pairs may spend 1e-33 of a share of eight criteria."""
    levels = spending.levels(0.05 / 8, 2, 40, 4, 2)

    assert 0 <= levels[0] < 1e-20
    assert list(levels) == pytest.approx(sorted(levels), abs=1e-6)
    assert 0.001 < levels[-1] < 0.05 / 8


def test_all_is_spent_at_the_last_look():
    assert spending.spent(0.05, 1.0) == pytest.approx(0.05)


def test_the_levels_in_the_documentation_are_those_of_five_seeds():
    *others, last = (f"{level:.4f}" for level in spending.levels(0.05, 2, 5, 4, 2))
    text = " ".join((Path(__file__).parents[2] / "docs/gate.md").read_text(encoding="utf-8").split())

    assert f"the levels p are {', '.join(others)} and {last}" in text
