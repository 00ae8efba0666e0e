"""From two sides to a verdict: the evidence of the images, and the rule for all criteria together.

M criteria, B resamples; the rest as in `segline.gate.bootstrap`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from segline.core.errors import DataError
from segline.gate import bootstrap
from segline.gate.bootstrap import Counts, Floats, Interval, Noise
from segline.gate.pairing import Pair
from segline.gate.rules import Criterion
from segline.scoring import confusion

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
    sides, units = _units(pair)
    if len(sides[0]) < 2:
        problem = "only one image with labelled pixels, so the uncertainty of a difference is unknown"
        raise DataError(pair.base.label, problem, "Evaluate a split of at least two images; even ten are few.")
    base, candidate = (_scores(pair, criteria, counts.sum(axis=0)) for counts in sides)
    return Evidence(
        base,
        candidate,
        _differences(criteria, base, candidate),
        _replicates(pair, criteria, *sides),
        _replicates(pair, criteria, *units) if units and len(units[0]) > 1 else None,
    )


def groups(pair: Pair) -> int | None:
    """The number of groups of images with labelled pixels, an image without one being its own; None without groups."""
    _, units = _units(pair)
    return len(units[0]) if units else None


def _units(pair: Pair) -> tuple[list[Counts], list[Counts]]:
    """What is resampled, for both sides: images (N, K, 3), and groups (U, K, 3), empty if no group has two images."""
    labelled = np.asarray(confusion.truth(pair.base.counts).any(axis=1))
    images = [one.counts[labelled] for one in (pair.base, pair.candidate)]
    named = tuple(group for group, kept in zip(pair.base.groups, labelled, strict=True) if kept)
    return images, [summed for counts in images if (summed := bootstrap.by_group(counts, named)) is not None]


def _scores(pair: Pair, criteria: Sequence[Criterion], total: Floats | Counts) -> Floats:
    """The metric of each criterion, from summed counts (..., K, 3): (..., M)."""
    columns = [bootstrap.score(criterion.metric, total, pair.base.classes) for criterion in criteria]
    return np.stack(columns, axis=-1)


def _differences(criteria: Sequence[Criterion], base: Floats, candidate: Floats) -> Floats:
    """candidate - base, or candidate - floor: (..., M)."""
    floors = np.array([np.nan if criterion.floor is None else criterion.floor for criterion in criteria])
    return candidate - np.where(np.isnan(floors), base, floors)


def _replicates(pair: Pair, criteria: Sequence[Criterion], base: Counts, candidate: Counts) -> Floats:
    """Differences in resamples, each drawn for both sides at once: (B, M), NaN if a class has no true pixels in it."""
    both = np.stack([base, candidate], axis=1)
    drawn = bootstrap.resampled(both, bootstrap.RESAMPLES * len(criteria))
    return np.concatenate(
        [_differences(criteria, *(_scores(pair, criteria, sums[:, one]) for one in (0, 1))) for sums in drawn]
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
