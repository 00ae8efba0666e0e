"""Looking several times at data that grow: how much error each look may spend, and the level that this leaves it.

The statistic at a look after k pairs is Student's t of the mean of k differences of seeds, whose variance is estimated
from all runs so far: n_k degrees of freedom. Let s be its sine, t / sqrt(n_k + t^2): the mean as a share of the length
of the vector of all that was observed. The direction of such a vector is independent of its length, so the next sine
depends on nothing before but the last one, and all can be integrated from look to look.
Source: Armitage, McPherson and Rowe 1969 (integration from look to look, for known variance).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev
from scipy import optimize, special

from segline.gate.bootstrap import Floats

NODES = 6  # of the integral over what a second side tells of the variance
ENTRIES = 4001  # of a table of Student's t, which is quicker than the function
TAIL = 8.0  # standard deviations of a normal score beyond which nothing counts


def spent(level: float, fraction: float) -> float:
    """The error that may be spent while a share `fraction` of the information is there: all of `level` when it is 1.

    2 - 2 Phi(z / sqrt(fraction)), where Phi(z) = 1 - level / 2: so little early on that the last look hardly pays for
    the others.
    Source: Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials" (alpha_1, of the type of O'Brien
    and Fleming).
    """
    return float(2 * special.ndtr(special.ndtri(level / 2) / np.sqrt(fraction)))


@cache
def levels(level: float, first: int, last: int, earlier: int, sides: int) -> tuple[float, ...]:
    """The one-sided level of each look, after `first` to `last` pairs.

    Every pair is taken to add the same information. The variance has `earlier` degrees of freedom from other runs, and
    one of every run but the first of each of one or two `sides`. If the statistic is compared with its quantile
    1 - levels[k] at look k, the first excess is at look k with probability spent(level, fractions[k]) -
    spent(level, fractions[k - 1]); so there is one with `level` in all.
    """
    found = [spent(level, first / last)]
    points = (120 if sides == 1 else 60) + math.ceil(10 * last**0.5)  # with little freedom, densities have corners
    bound = min(TAIL, float(-special.ndtri(found[0])))  # of very many looks the first spends less than floats can say
    scores, weights = _nodes(bound, points)  # normal scores: of the t with the same probability
    masses = weights * np.exp(-(scores**2) / 2) / np.sqrt(2 * np.pi)  # of the statistic that never exceeded a bound
    for pairs in range(first, last):
        step = _Step(scores, masses, pairs, earlier + sides * (pairs - 1), sides)
        allowed = spent(level, (pairs + 1) / last) - spent(level, pairs / last)
        is_out_of_reach = step.excess(TAIL, allowed) >= 0  # so little may be spent that floats can hardly say it
        bound = TAIL if is_out_of_reach else optimize.brentq(step.excess, -TAIL, TAIL, (allowed,))
        found.append(float(special.ndtr(-bound)))
        scores, weights = _nodes(bound, points)
        masses = -weights * Chebyshev.interpolate(step.beyond, points, (-TAIL, bound)).deriv()(scores)
    return tuple(found)


def _nodes(bound: float, points: int) -> tuple[Floats, Floats]:
    """Points and weights of the integral up to a bound, by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    half = (bound + TAIL) / 2
    return -TAIL + half * (nodes + 1), half * weights


@dataclass(frozen=True)
class _Step:
    """From a look after `pairs` to the next. The statistic has `freedom` degrees of freedom and never exceeded a bound:
    it is at normal scores `old` (O,) with probabilities `masses`.

    All that was observed is a vector in 1 + `freedom` dimensions. A pair adds one for its difference and, of two
    `sides`, one more that only tells of the variance.
    """

    old: Floats
    masses: Floats
    pairs: int
    freedom: int
    sides: int

    def excess(self, score: float, allowed: float) -> float:
        """By how much the probability to exceed this normal score at the next look differs from that allowed."""
        return float(self.beyond(np.array([score]))[0]) - allowed

    def beyond(self, scores: Floats) -> Floats:
        """The probabilities (N,) to exceed normal scores (N,) at the next look."""
        old = np.sqrt(self.pairs) * _sines(self.old, self.freedom)[:, None]
        wanted = np.sqrt(self.pairs + 1) * _sines(scores, self.freedom + self.sides)
        dimensions = 1 + self.freedom
        if self.sides == 1:
            return np.asarray(self.masses @ _chances(old, wanted, dimensions))
        nodes, weights = np.polynomial.hermite_e.hermegauss(2 * NODES)
        weights /= weights.sum() / 2  # the sign does not matter
        added = special.stdtrit(dimensions, special.ndtr(nodes)) / np.sqrt(dimensions)  # in lengths of the old vector
        chances = (
            weight * _chances(old / np.sqrt(1 + more**2), wanted, dimensions + 1)
            for more, weight in zip(added[:NODES], weights[:NODES], strict=True)
        )
        return np.asarray(self.masses @ sum(chances))


def _chances(old: Floats, wanted: Floats, dimensions: int) -> Floats:
    """The probability (O, N) that a vector is beyond `wanted` (N,) when one dimension is added to `old` (O, 1).

    Both are sines, times the roots of their numbers of pairs. The tangent of the angle between the two vectors is a t
    with as many degrees of freedom as there were dimensions, over their root.
    """
    length, angle = np.sqrt(1 + old**2), np.arctan(old)
    least = np.arcsin(np.clip(wanted / length, -1, 1))
    angles, shares = _angles(dimensions)
    low, high = (np.interp(end - angle, angles, shares) for end in (least, np.pi - least))
    return np.asarray(high - low)


@cache
def _angles(dimensions: int) -> tuple[Floats, Floats]:
    """Angles (E,) between the vectors, and the probabilities of smaller ones."""
    shares = special.ndtr(np.linspace(-TAIL, TAIL, ENTRIES))
    return np.arctan(special.stdtrit(dimensions, shares) / np.sqrt(dimensions)), shares


def _sines(scores: Floats, freedom: int) -> Floats:
    """The sines of the statistics that have the probabilities of these normal scores."""
    statistics = -np.sign(scores) * special.stdtrit(freedom, special.ndtr(-np.abs(scores)))
    sines: Floats = statistics / np.sqrt(freedom + statistics**2)
    return sines
