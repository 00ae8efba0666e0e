"""Looking several times at data that grow: how much error each look may spend, and the level that this leaves it."""

from functools import cache

import numpy as np
from scipy import optimize, special

from segline.gate.bootstrap import Floats

POINTS = 401  # of the grid on which a density is integrated
TAIL = 8.0  # standard deviations beyond which a density counts as zero


def spent(level: float, fraction: float) -> float:
    """The error that may be spent while a share `fraction` of the information is there: all of `level` when it is 1.

    2 - 2 Phi(z / sqrt(fraction)), where Phi(z) = 1 - level / 2: so little early on that the last look hardly pays for
    the others.
    Source: Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials" (alpha_1, of the type of O'Brien
    and Fleming).
    """
    return float(2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(fraction)))


@cache
def levels(level: float, fractions: tuple[float, ...]) -> tuple[float, ...]:
    """The one-sided level of each look, where these shares of the information are there, increasing to 1.

    If a standard normal statistic is compared with its quantile 1 - levels[k] at look k, the first excess is at look k
    with probability spent(level, fractions[k]) - spent(level, fractions[k - 1]); so there is one with `level` in all.
    This is for sums of independent increments. Looks that are more alike exceed less often.
    Source: Armitage, McPherson and Rowe 1969 (integration from look to look).
    """
    found = []
    sums, masses, before, used = np.zeros(1), np.ones(1), 0.0, 0.0  # what the sum is while it never exceeded a bound
    for fraction in fractions:
        step, spread = float(np.sqrt(fraction - before)), float(np.sqrt(fraction))
        allowed = spent(level, fraction)
        parts, highest = (sums, masses, step, allowed - used), 2 * TAIL * spread
        is_out_of_reach = _excess(highest, *parts) >= 0  # so little may be spent that floats can hardly say it
        bound = highest if is_out_of_reach else optimize.brentq(_excess, -TAIL * spread, highest, parts)
        found.append(float(special.ndtr(-bound / spread)))
        grid = np.linspace(-TAIL * spread, bound, POINTS)
        density = np.exp(-(((grid[:, None] - sums) / step) ** 2) / 2) @ masses / (step * np.sqrt(2 * np.pi))
        masses = density * np.gradient(grid)
        masses[[0, -1]] /= 2  # the trapezoidal rule
        sums, before, used = grid, fraction, allowed
    return tuple(found)


def _excess(bound: float, sums: Floats, masses: Floats, step: float, wanted: float) -> float:
    """By how much the probability to exceed the bound at the next look differs from that wanted."""
    return float(special.ndtr((sums - bound) / step) @ masses) - wanted
