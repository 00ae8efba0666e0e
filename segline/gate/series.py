"""Several seeds a side: the interval of the mean difference over seeds and images, and the verdict at a look.

k pairs, each of a base and a candidate run; U units (images, or groups of them), M criteria. Seeds and images are
crossed, as readers and cases are where diagnostic tests are compared, so the variance of the mean difference is

    V = S^2 / k + C,

S^2 the variance of one pair's difference over seeds, all on these images, and C the covariance of two pairs'
differences over images, which more seeds do not lower. Both are estimates, so the interval is by Student's t with

    V^2 / ((S^2 / k)^2 / n + W)

degrees of freedom, n being those of S^2, and 2 W the variance of the estimate of C.
Sources: Obuchowski and Rockette 1995, "Hypothesis testing of diagnostic accuracy for multiple readers and multiple
tests"; Satterthwaite 1946, "An approximate distribution of estimates of variance components" (the degrees of freedom);
Efron and Stein 1981, "The jackknife estimate of variance".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from segline.gate import decision, samples, spending
from segline.gate.bootstrap import DECIMALS, Floats, Interval, Noise
from segline.gate.decision import Finding
from segline.gate.pairing import Pair
from segline.gate.rules import Criterion
from segline.gate.samples import Sample

ERROR = 0.05  # the probability, over all looks, to find any criterion worse if none is; likewise to pass one that is
FEWEST = 2  # pairs that show a variance over seeds
ALONE = 4  # pairs at the first look if noise.json says nothing about these recipes


@dataclass(frozen=True)
class Shared:
    """The `covariance` C of two pairs' differences (M,), at least 0, and half the variance of its estimate, W (M,)."""

    covariance: Floats
    doubt: Floats


@dataclass(frozen=True)
class Evidence:
    """Scores `base` and `candidate` (k, M), and what the choice of images, or of groups of them, adds to all pairs.

    `by_group` is None without groups. `same` says that both sides predict the same in every pair. With `over_folds`
    the first is what differs from fold to fold.
    """

    base: Floats
    candidate: Floats
    by_image: Shared
    by_group: Shared | None
    same: bool
    over_folds: bool = False


@dataclass(frozen=True)
class Plan:
    """Looks after `first` to `last` pairs. `earlier` are the degrees of freedom of the seed noise that is known."""

    first: int
    last: int
    earlier: int

    def level(self, share: float, pairs: int, sides: int = 2) -> float:
        """The one-sided level at the look after so many pairs, where `share` is spent over all looks.

        As if images left no doubt: their part is the same at all looks, and makes them more alike.
        """
        return spending.levels(share, self.first, self.last, self.earlier, sides)[pairs - self.first]


def plan(noise: int, budget: int) -> Plan:
    """The looks of at most `budget` pairs, where the seed noise was measured with so many seeds, or 0."""
    return Plan(FEWEST, budget, noise - 1) if noise else Plan(ALONE, budget, 0)


def gather(pairs: Sequence[Pair], criteria: Sequence[Criterion], same: bool) -> Evidence:
    """The evidence of these pairs, at least two. Raises DataError as `samples.of_pair`."""
    images, groups = zip(*(samples.of_pair(pair) for pair in pairs), strict=True)
    scores = [np.stack([_once(side, criteria) for side in sides]) for sides in zip(*images, strict=True)]
    grouped = _covariance(groups, criteria) if groups[0] and len(groups[0][0]) > 1 else None
    known = grouped is not None and bool(np.isfinite(grouped.covariance).all())  # no class is in one group alone
    return Evidence(scores[0], scores[1], _covariance(images, criteria), grouped if known else None, same)


def over_folds(pairs: Sequence[Pair], criteria: Sequence[Criterion], same: bool) -> Evidence:
    """The evidence of cross-validations, at least two, whose groups of images are the folds; see `over_units`."""
    images, folds = zip(*(samples.of_pair(pair) for pair in pairs), strict=True)
    scores = [np.stack([_once(side, criteria) for side in sides]) for sides in zip(*images, strict=True)]
    left = _each_left_out(folds if folds[0] else images, criteria).mean(axis=0)
    return Evidence(scores[0], scores[1], over_units(left), None, same, over_folds=True)


def _once(side: Sample, criteria: Sequence[Criterion]) -> Floats:
    scores: Floats = side.scores(criteria, np.ones((1, len(side))))[0]
    return scores


def _covariance(pairs: Sequence[Sequence[Sample]], criteria: Sequence[Criterion]) -> Shared:
    return shared(_each_left_out(pairs, criteria))


def _each_left_out(pairs: Sequence[Sequence[Sample]], criteria: Sequence[Criterion]) -> Floats:
    """The pairs' differences without each unit in turn: (k, U, M)."""
    left = [samples.differences(criteria, *(_left_out(side, criteria) for side in pair)) for pair in pairs]
    return np.stack(left)


def shared(left: Floats) -> Shared:
    """The mean covariance over units of the differences of two pairs, by the jackknife.

    `left` (k, U, M) are the pairs' differences without each unit in turn. Two pairs whose differences have the variance
    C + R each show their covariance C with a variance of (C^2 + (C + R)^2) / (U - 1), by U normal units; the mean over
    all pairs of pairs that share units has 2 W = 2 (C^2 + 2 C R / k + R^2 / (k (k - 1))) / (U - 1).
    """
    pairs, units = left.shape[:2]
    deviations = left - left.mean(axis=1, keepdims=True)  # (k, U, M)
    factor = (units - 1) / units
    of_sum, of_each = factor * (deviations.sum(axis=0) ** 2).sum(axis=0), factor * (deviations**2).sum(axis=(0, 1))
    covariance = np.maximum(0.0, (of_sum - of_each) / (pairs * (pairs - 1)))
    rest = np.maximum(0.0, of_each / pairs - covariance)
    doubt = covariance**2 + 2 * covariance * rest / pairs + rest**2 / (pairs * (pairs - 1))
    return Shared(covariance, doubt / (units - 1))


def over_units(left: Floats) -> Shared:
    """In place of C the whole variance over units of the mean of all pairs' differences, by the jackknife.

    `left` (U, M) is that mean without each unit in turn. Where units are folds, it has what images, training sets and
    seeds do to a fold. The last is in S^2 / k, too: V is too large by it. What training images that folds share make
    alike in all of them is not in it: it would change with other data, and no unbiased estimate of it exists.
    Source: Kott 2001, "The delete-a-group jackknife" (U - 1 degrees of freedom).
    """
    units = len(left)
    variance = (units - 1) / units * ((left - left.mean(axis=0)) ** 2).sum(axis=0)
    return Shared(variance, variance**2 / (units - 1))


def _left_out(side: Sample, criteria: Sequence[Criterion]) -> Floats:
    """The scores without each unit in turn: (U, M)."""
    step = max(1, (1 << 22) // max(len(side), side.width))
    parts = [range(start, min(start + step, len(side))) for start in range(0, len(side), step)]
    return np.concatenate([side.scores(criteria, 1.0 - np.eye(len(rows), len(side), rows.start)) for rows in parts])


def decide(
    evidence: Evidence, criteria: Sequence[Criterion], noises: Sequence[Noise | None], plan: Plan
) -> list[Finding]:
    """A finding for each criterion, in their order, at the look after these pairs."""
    claims = [_Claim(evidence, criterion, place, noises[place]) for place, criterion in enumerate(criteria)]
    pairs = len(evidence.base)

    def level(place: int, share: float) -> float:
        return plan.level(share, pairs, claims[place].sides)

    levels = decision.holm(
        lambda place, share: claims[place].interval(level(place, share)).high < 0, len(criteria), ERROR
    )
    return [claims[place].finding(share, level(place, share)) for place, share in enumerate(levels)]


class _Claim:
    """One criterion: its mean difference, and the two parts of the variance of that, each with its doubt W."""

    def __init__(self, evidence: Evidence, criterion: Criterion, place: int, noise: Noise | None) -> None:
        self.criterion, self.over_folds = criterion, evidence.over_folds
        self.pairs = len(evidence.base)
        base, candidate = evidence.base[:, place], evidence.candidate[:, place]
        self.base, self.candidate = float(base.mean()), float(candidate.mean())
        means = np.array([self.base]), np.array([self.candidate])
        self.difference = float(samples.differences([criterion], *means)[0])
        own = [candidate] if criterion.floor is not None else [] if evidence.same else [base, candidate]
        self.sides = 2 if criterion.floor is None else 1
        self.seeds = by_seed(own, noise, self.pairs)
        self.images = _at(evidence.by_image, place)
        self.groups = _at(evidence.by_group, place) if evidence.by_group else None

    def interval(self, level: float) -> Interval:
        """By images and seeds."""
        return self._interval(level, self.images)

    def _interval(self, level: float, images: tuple[float, float]) -> Interval:
        half = float(half_width(level, images, self.seeds))
        return Interval(round(self.difference - half, DECIMALS), round(self.difference + half, DECIMALS))

    def finding(self, share: float, level: float) -> Finding:
        """At a look with this one-sided level, for a share of the error over all looks."""
        interval = self.interval(level)
        whole = float(half_width(level, self.images, self.seeds))  # its square is the sum of those of its parts
        variance = self.images[0] + self.seeds[0]
        of_images, of_seeds = (
            whole * (part / variance) ** 0.5 if variance else 0.0 for part, _ in (self.images, self.seeds)
        )
        return Finding(
            self.criterion,
            self.base,
            self.candidate,
            self.difference,
            2 * share,
            interval,
            decision.rule(self.difference, interval, self.criterion.margin),
            of_images,
            of_seeds,
            None if self.groups is None else self._interval(level, self.groups),
            self.pairs,
            self.over_folds,
        )


def _at(shared: Shared, place: int) -> tuple[float, float]:
    return float(shared.covariance[place]), float(shared.doubt[place])


def half_width(level: float, *parts: tuple[Floats | float, Floats | float]) -> Floats:
    """Half the interval at this one-sided level, for parts of the variance, each with half its own variance.

    Source: Satterthwaite 1946 (the degrees of freedom).
    """
    variance, doubt = (np.sum(each, axis=0) for each in zip(*parts, strict=True))
    freedom = np.divide(variance**2, doubt, out=np.full_like(variance, np.inf), where=doubt > 0)
    quantile = np.where(np.isinf(freedom), -special.ndtri(level), special.stdtrit(np.minimum(freedom, 1e9), 1 - level))
    return np.asarray(quantile * np.sqrt(variance))


def by_seed(sides: Sequence[Floats], noise: Noise | None, pairs: int) -> tuple[float, float]:
    """What seeds leave in the mean over so many pairs, S^2 / k, and half the variance of that estimate."""
    variance, freedom = pooled(sides, noise)
    seeds = variance / pairs
    return seeds, seeds**2 / freedom if freedom else 0.0


def pooled(sides: Sequence[Floats], noise: Noise | None) -> tuple[float, int]:
    """The variance over seeds of a difference of these sides (or of one side), with its degrees of freedom.

    The sides' own variances and that of earlier runs are taken for equal, and weighted by their degrees of freedom.
    That of a difference is the sum of its sides': seeds that pull both the same way would make it smaller. Without
    sides it is 0: no seed lies between equal predictions.
    """
    if not sides:
        return 0.0, 0
    own = sum(len(side) - 1 for side in sides)
    squares = len(sides) * sum(((side - side.mean(axis=0)) ** 2).sum(axis=0) for side in sides)
    earlier = 0 if noise is None else noise.seeds - 1
    squares += 0.0 if noise is None else earlier * noise.deviation**2
    return squares / (own + earlier), own + earlier
