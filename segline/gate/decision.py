"""From two sides to a verdict: the evidence of the images, and the rule for all criteria together.

M criteria, B resamples; the rest as in `segline.gate.bootstrap`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from segline.core.errors import DataError
from segline.gate import bootstrap
from segline.gate.bootstrap import Counts, Floats, Interval, Noise
from segline.gate.counts import Side
from segline.gate.objects import METRICS, Units
from segline.gate.pairing import Pair
from segline.gate.rules import ECE, Criterion
from segline.scoring import calibration, confusion

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
    images, groups = _samples(pair)
    if len(images[0]) < 2:
        problem = "only one image with labelled pixels, so the uncertainty of a difference is unknown"
        raise DataError(pair.base.label, problem, "Evaluate a split of at least two images; even ten are few.")
    once = np.ones((1, len(images[0])))
    base, candidate = (one.scores(criteria, once)[0] for one in images)
    return Evidence(
        base,
        candidate,
        _differences(criteria, base, candidate),
        _replicates(criteria, *images),
        _replicates(criteria, *groups) if groups and len(groups[0]) > 1 else None,
    )


def groups(pair: Pair) -> int | None:
    """The number of groups of images with labelled pixels, an image without one being its own; None without groups."""
    _, units = _samples(pair)
    return len(units[0]) if units else None


@dataclass(frozen=True)
class _Sample:
    """One side as what is resampled, images or groups of them: `counts` (U, K, 3) of the classes `names`, and the
    `gaps` (U, B) of its confidences."""

    names: tuple[str, ...]
    counts: Counts
    objects: Units | None
    gaps: Counts | None

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def width(self) -> int:
        """How many numbers a resample takes in memory, at most."""
        ranked = self.objects.rankings if self.objects else ()
        return max(math.prod(self.counts.shape[1:]), *(len(each.images) for each in ranked), 0)

    def scores(self, criteria: Sequence[Criterion], weights: Floats) -> Floats:
        """The metric of each criterion in resamples with these weights (B, U): (B, M)."""
        flat = self.counts.reshape(len(self), -1).astype(np.float64)
        total = (weights @ flat).reshape(len(weights), *self.counts.shape[1:])
        return np.stack([self._score(criterion.metric, weights, total) for criterion in criteria], axis=-1)

    def _score(self, metric: str, weights: Floats, total: Floats) -> Floats:
        if self.objects and metric in METRICS:
            return self.objects.score(metric, weights)
        if self.gaps is not None and metric == ECE:
            return calibration.ece(weights @ self.gaps.astype(np.float64), confusion.truth(total).sum(axis=-1))
        return bootstrap.score(metric, total, self.names)


def _samples(pair: Pair) -> tuple[list[_Sample], list[_Sample]]:
    """What is resampled, for both sides: images with labelled pixels, and groups, none if no group has two images."""
    labelled = np.flatnonzero(confusion.truth(pair.base.counts).any(axis=1)).tolist()
    unit = bootstrap.unit_of([pair.base.groups[row] for row in labelled])
    sides = pair.base, pair.candidate
    images = [_sample(one, labelled, range(len(labelled))) for one in sides]
    return images, [] if unit is None else [_sample(one, labelled, unit) for one in sides]


def _sample(side: Side, rows: Sequence[int], unit: Sequence[int]) -> _Sample:
    objects = side.objects.of(rows).units(unit) if side.objects and rows else None
    counts, gaps = side.counts[list(rows)], None if side.gaps is None else side.gaps[list(rows)]
    if rows:
        counts, gaps = bootstrap.summed(counts, unit), None if gaps is None else bootstrap.summed(gaps, unit)
    return _Sample(side.classes, counts, objects, gaps)


def _differences(criteria: Sequence[Criterion], base: Floats, candidate: Floats) -> Floats:
    """candidate - base, or candidate - floor: (..., M). That of the ECE is turned, so that losses are below 0."""
    floors = np.array([np.nan if criterion.floor is None else criterion.floor for criterion in criteria])
    signs = np.array([-1.0 if criterion.metric == ECE else 1.0 for criterion in criteria])
    return signs * (candidate - np.where(np.isnan(floors), base, floors))


def _replicates(criteria: Sequence[Criterion], base: _Sample, candidate: _Sample) -> Floats:
    """Differences in resamples, each drawn for both sides at once: (B, M), NaN if a class has no true pixels in it."""
    width = 2 * max(base.width, candidate.width)
    drawn = bootstrap.draws(len(base), bootstrap.RESAMPLES * len(criteria), width)
    return np.concatenate(
        [_differences(criteria, *(one.scores(criteria, weights) for one in (base, candidate))) for weights in drawn]
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
    `by_group` is the interval from resampled groups, which decides nothing.
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
