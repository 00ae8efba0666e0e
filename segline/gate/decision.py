"""From two sides to a verdict: the evidence of the images, and the rule for all criteria together.

M criteria, B resamples; the rest as in `segline.gate.bootstrap`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from segline.gate import bootstrap, samples
from segline.gate.bootstrap import Floats, Interval, Noise
from segline.gate.pairing import Pair
from segline.gate.rules import Criterion
from segline.gate.samples import Sample

LEVEL = 0.05  # of two-sided intervals: a branch is wrongly found worse in any criterion with half that probability


@dataclass(frozen=True)
class Evidence:
    """Scores `base` and `candidate` and their `differences` (M,), and replicates of these (B, M).

    `by_image` comes from resampled images, `by_group` from resampled groups; it is None without groups.
    """

    base: Floats
    candidate: Floats
    differences: Floats
    by_image: Floats
    by_group: Floats | None


def gather(pair: Pair, criteria: Sequence[Criterion]) -> Evidence:
    """The evidence of the images that have labelled pixels. Raises DataError if there are fewer than two."""
    images, groups = samples.of_pair(pair)
    once = np.ones((1, len(images[0])))
    base, candidate = (one.scores(criteria, once)[0] for one in images)
    return Evidence(
        base,
        candidate,
        samples.differences(criteria, base, candidate),
        _replicates(criteria, *images),
        _replicates(criteria, *groups) if groups and len(groups[0]) > 1 else None,
    )


def _replicates(criteria: Sequence[Criterion], base: Sample, candidate: Sample) -> Floats:
    """Differences in resamples, each drawn for both sides at once: (B, M), NaN if a class has no true pixels in it."""
    width = 2 * max(base.width, candidate.width)
    drawn = bootstrap.draws(len(base), bootstrap.RESAMPLES * len(criteria), width)
    return np.concatenate(
        [
            samples.differences(criteria, *(one.scores(criteria, weights) for one in (base, candidate)))
            for weights in drawn
        ]
    )


class Verdict(StrEnum):
    """The verdict on a criterion, or on a branch; the worst first."""

    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    OK = "pass"


def lost(difference: float, margin: float) -> bool:
    """Whether a difference is below -margin by more than rounding errors."""
    return round(difference, bootstrap.DECIMALS) < -margin


def rule(difference: float, interval: Interval, margin: float) -> Verdict:
    """Regression: difference below -margin, interval below 0. Pass: interval not below -margin. Else inconclusive."""
    if lost(difference, margin) and interval.high < 0:
        return Verdict.REGRESSION
    return Verdict.OK if interval.low >= -margin else Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class Finding:
    """One criterion judged. `difference` is candidate - base, or candidate - floor.

    `images` and `seeds` are the length of the deciding side of the interval if only the images, or only the seeds,
    varied: the upper side if more than the margin was `lost`, else the lower one.
    `by_group` is the interval from resampled groups, which decides nothing. `runs` were made of each side. With
    `over_folds`, `images` is what differs from fold to fold.
    """

    criterion: Criterion
    base: float
    candidate: float
    difference: float
    level: float
    interval: Interval
    verdict: Verdict
    images: float
    seeds: float
    by_group: Interval | None
    runs: int = 1
    over_folds: bool = False

    @property
    def reach(self) -> float:
        """The smallest measured loss that would have been a regression."""
        return max(self.criterion.margin, self.interval.high - self.difference)

    @property
    def lost(self) -> bool:
        """Whether the estimate is a loss beyond the margin, so that the upper end of the interval decides."""
        return lost(self.difference, self.criterion.margin)

    @property
    def verdict_by_group(self) -> Verdict | None:
        """The verdict that `by_group` would give."""
        return None if self.by_group is None else rule(self.difference, self.by_group, self.criterion.margin)


def holm(rejected: Callable[[int, float], bool], count: int, level: float = LEVEL) -> list[float]:
    """The levels at which `count` hypotheses are tested, so that the family-wise error rate is `level` (Holm's method).

    All are tested at level / count. As long as some are rejected, the others are tested again at level / their number.
    If a single test rejects a true hypothesis with probability c * its level, at most, all tests together reject any
    with c * `level`, at most; c is 1/2 for one end of a two-sided interval. `rejected(i, level)` must stay true as the
    level rises.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    levels = [level] * count
    remaining = set(range(count))
    while remaining:
        share = level / len(remaining)
        for place in remaining:
            levels[place] = share
        newly_rejected = {place for place in remaining if rejected(place, share)}
        if not newly_rejected:
            break
        remaining -= newly_rejected
    return levels


def decide(evidence: Evidence, criteria: Sequence[Criterion], noises: Sequence[Noise | None]) -> list[Finding]:
    """A finding for each criterion, in their order."""

    def interval(place: int, level: float) -> Interval:
        return bootstrap.interval(evidence.differences[place], evidence.by_image[:, place], level, noises[place])

    levels = holm(lambda place, level: interval(place, level).high < 0, len(criteria))
    return [
        _finding(evidence, criterion, place, levels[place], noises[place]) for place, criterion in enumerate(criteria)
    ]


def _finding(evidence: Evidence, criterion: Criterion, place: int, level: float, noise: Noise | None) -> Finding:
    difference = float(evidence.differences[place])

    def interval(replicates: Floats, seeds: Noise | None) -> Interval:
        return bootstrap.interval(difference, replicates[:, place], level, seeds)

    deciding, images_only = (interval(evidence.by_image, seeds) for seeds in (noise, None))
    upper = lost(difference, criterion.margin)
    return Finding(
        criterion,
        float(evidence.base[place]),
        float(evidence.candidate[place]),
        difference,
        level,
        deciding,
        rule(difference, deciding, criterion.margin),
        images_only.high - difference if upper else difference - images_only.low,
        noise.half_width(level) if noise else 0.0,
        None if evidence.by_group is None else interval(evidence.by_group, noise),
    )


def overall(findings: Sequence[Finding]) -> Verdict:
    """The worst verdict."""
    return next(verdict for verdict in Verdict if any(finding.verdict == verdict for finding in findings))
