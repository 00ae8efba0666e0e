"""Several seeds a side: the interval of the mean difference over seeds and images, and the verdict at a look.

k pairs, each of a base and a candidate run; U units (images, or groups of them), M criteria. Seeds and images are
crossed, as readers and cases are where diagnostic tests are compared, so the variance of the mean difference is

    V = S^2 / k + C,

S^2 the variance of one pair's difference over seeds, all on these images, and C the covariance of two pairs'
differences over images, which more seeds do not lower. Interval: Student's t with df (V / (S^2 / k))^2 degrees of
freedom, df being those of S^2.
Sources: Obuchowski and Rockette 1995, "Hypothesis testing of diagnostic accuracy for multiple readers and multiple
tests"; Hillis 2007, "A comparison of denominator degrees of freedom methods" (the degrees of freedom); Efron and Stein
1981, "The jackknife estimate of variance".
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
class Evidence:
    """Scores `base` and `candidate` (k, M), and the covariance C of their differences (M,) by image and by group.

    `by_group` is None without groups. `same` says that both sides predict the same in every pair.
    """

    base: Floats
    candidate: Floats
    by_image: Floats
    by_group: Floats | None
    same: bool


@dataclass(frozen=True)
class Plan:
    """Looks after `first` to `last` pairs."""

    first: int
    last: int

    def level(self, share: float, pairs: int) -> float:
        """The one-sided level at the look after so many pairs, where `share` is spent over all looks."""
        return spending.levels(share, self._fractions())[pairs - self.first]

    def _fractions(self) -> tuple[float, ...]:
        """The shares of the information: as if every pair added the same. The images' part makes looks more alike."""
        return tuple(pairs / self.last for pairs in range(self.first, self.last + 1))


def gather(pairs: Sequence[Pair], criteria: Sequence[Criterion], same: bool) -> Evidence:
    """The evidence of these pairs, at least two. Raises DataError as `samples.of_pair`."""
    images, groups = zip(*(samples.of_pair(pair) for pair in pairs), strict=True)
    scores = [np.stack([_once(side, criteria) for side in sides]) for sides in zip(*images, strict=True)]
    grouped = _covariance(groups, criteria) if groups[0] and len(groups[0][0]) > 1 else None
    known = grouped is not None and bool(np.isfinite(grouped).all())  # no class is in one group alone
    return Evidence(scores[0], scores[1], _covariance(images, criteria), grouped if known else None, same)


def _once(side: Sample, criteria: Sequence[Criterion]) -> Floats:
    scores: Floats = side.scores(criteria, np.ones((1, len(side))))[0]
    return scores


def _covariance(pairs: Sequence[Sequence[Sample]], criteria: Sequence[Criterion]) -> Floats:
    left = [samples.differences(criteria, *(_left_out(side, criteria) for side in pair)) for pair in pairs]
    return covariance(np.stack(left))


def covariance(left: Floats) -> Floats:
    """The mean covariance over units of the differences of two pairs, by the jackknife: (M,), at least 0.

    `left` (k, U, M) are the pairs' differences without each unit in turn.
    """
    deviations = left - left.mean(axis=1, keepdims=True)  # (k, U, M)
    factor = (left.shape[1] - 1) / left.shape[1]
    of_sum, of_each = factor * (deviations.sum(axis=0) ** 2).sum(axis=0), factor * (deviations**2).sum(axis=(0, 1))
    covariance: Floats = (of_sum - of_each) / (len(left) * (len(left) - 1))
    return np.maximum(0.0, covariance)


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
    levels = decision.holm(
        lambda place, share: claims[place].interval(plan.level(share, pairs)).high < 0, len(criteria), ERROR
    )
    return [claim.finding(share, plan.level(share, pairs)) for claim, share in zip(claims, levels, strict=True)]


class _Claim:
    """One criterion: its mean difference, and the two parts of the variance of that."""

    def __init__(self, evidence: Evidence, criterion: Criterion, place: int, noise: Noise | None) -> None:
        self.criterion = criterion
        self.pairs = len(evidence.base)
        base, candidate = evidence.base[:, place], evidence.candidate[:, place]
        self.base, self.candidate = float(base.mean()), float(candidate.mean())
        means = np.array([self.base]), np.array([self.candidate])
        self.difference = float(samples.differences([criterion], *means)[0])
        sides = [candidate] if criterion.floor is not None else [] if evidence.same else [base, candidate]
        variance, self.freedom = pooled(sides, noise)
        self.seeds = variance / self.pairs
        self.images = float(evidence.by_image[place])
        self.groups = None if evidence.by_group is None else float(evidence.by_group[place])

    def half(self, level: float, images: float, seeds: float) -> float:
        """Half the interval, for these parts of the variance, at this one-sided level."""
        freedom = self.freedom * ((images + seeds) / seeds) ** 2 if seeds else np.inf
        quantile = -special.ndtri(level) if np.isinf(freedom) else special.stdtrit(freedom, 1 - level)
        return float(quantile * np.sqrt(images + seeds))

    def interval(self, level: float) -> Interval:
        """By images and seeds."""
        return self._interval(level, self.images)

    def _interval(self, level: float, images: float) -> Interval:
        half = self.half(level, images, self.seeds)
        return Interval(round(self.difference - half, DECIMALS), round(self.difference + half, DECIMALS))

    def finding(self, share: float, level: float) -> Finding:
        """At a look with this one-sided level, for a share of the error over all looks."""
        interval = self.interval(level)
        return Finding(
            self.criterion,
            self.base,
            self.candidate,
            self.difference,
            2 * share,
            interval,
            decision.rule(self.difference, interval, self.criterion.margin),
            self.half(level, self.images, 0.0),
            self.half(level, 0.0, self.seeds),
            None if self.groups is None else self._interval(level, self.groups),
            self.pairs,
        )


def pooled(sides: Sequence[Floats], noise: Noise | None) -> tuple[float, int]:
    """The variance over seeds of a difference of these sides (or of one side), with its degrees of freedom.

    The sides' own variances and that of earlier runs are taken for equal, and weighted by their degrees of freedom.
    That of a difference is the sum of its sides': seeds that pull both the same way would make it smaller. Without
    sides it is 0: no seed lies between equal predictions.
    """
    if not sides:
        return 0.0, 0
    own = sum(len(side) - 1 for side in sides)
    squares = len(sides) * sum(float(((side - side.mean()) ** 2).sum()) for side in sides)
    earlier = 0 if noise is None else noise.seeds - 1
    squares += 0.0 if noise is None else earlier * noise.deviation**2
    return squares / (own + earlier), own + earlier
