"""What the two sides show, and the rule that turns it into regression, pass or inconclusive, for all criteria together.

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

LEVEL = 0.05  # of two-sided intervals: the chance that a branch is wrongly found worse in any criterion is half of it


@dataclass(frozen=True)
class Evidence:
    """`base`, `candidate` and `differences` are (M,), the replicates (B, M); `by_group` is None without groups."""

    base: Floats
    candidate: Floats
    differences: Floats
    by_image: Floats
    by_group: Floats | None


def gather(pair: Pair, criteria: Sequence[Criterion]) -> Evidence:
    """The evidence of the images that have a labelled pixel. Raises DataError if those are fewer than two."""
    sides, units = _units(pair)
    if len(sides[0]) < 2:
        found = "one image with labelled pixels, so nothing says how sure a difference is"
        raise DataError(pair.base.label, found, "Evaluate a split of two images or more; ten are few.")
    base, candidate = (_scores(pair, criteria, counts.sum(axis=0)) for counts in sides)
    return Evidence(
        base,
        candidate,
        _differences(criteria, base, candidate),
        _replicates(pair, criteria, *sides),
        _replicates(pair, criteria, *units) if units and len(units[0]) > 1 else None,
    )


def groups(pair: Pair) -> int | None:
    """How many groups the images with a labelled pixel make, one without a group being its own; None without groups."""
    _, units = _units(pair)
    return len(units[0]) if units else None


def _units(pair: Pair) -> tuple[list[Counts], list[Counts]]:
    """What is drawn, for either side: images (N, K, 3) and, unless no two images are of one group, groups (U, K, 3)."""
    labelled = np.asarray(confusion.truth(pair.base.counts).any(axis=1))
    images = [one.counts[labelled] for one in (pair.base, pair.candidate)]
    named = tuple(group for group, kept in zip(pair.base.groups, labelled, strict=True) if kept)
    return images, [summed for counts in images if (summed := bootstrap.by_group(counts, named)) is not None]


def _scores(pair: Pair, criteria: Sequence[Criterion], total: Floats | Counts) -> Floats:
    """The metric of each criterion, of summed counts (..., K, 3): (..., M)."""
    columns = [bootstrap.score(criterion.metric, total, pair.base.classes) for criterion in criteria]
    return np.stack(columns, axis=-1)


def _differences(criteria: Sequence[Criterion], base: Floats, candidate: Floats) -> Floats:
    """candidate - base, or candidate - floor: (..., M)."""
    floors = np.array([np.nan if criterion.floor is None else criterion.floor for criterion in criteria])
    return candidate - np.where(np.isnan(floors), base, floors)


def _replicates(pair: Pair, criteria: Sequence[Criterion], base: Counts, candidate: Counts) -> Floats:
    """The differences of resamples, each drawn for both sides at once: (B, M), NaN where a class is not in truth."""
    both = np.stack([base, candidate], axis=1)
    drawn = bootstrap.resampled(both, bootstrap.RESAMPLES * len(criteria))
    return np.concatenate(
        [_differences(criteria, *(_scores(pair, criteria, sums[:, one]) for one in (0, 1))) for sums in drawn]
    )


class Verdict(StrEnum):
    """What can be said of a criterion, and of a branch; the worst first."""

    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    OK = "pass"


@dataclass(frozen=True)
class Finding:
    """One criterion judged. `difference` is candidate - base, or candidate - floor.

    `images` and `seeds` are the length of the side of the interval that decides, if images alone, or seeds alone, were
    drawn: of the upper one where more than the margin was `lost`, else of the lower.
    `by_group` comes from drawing groups of images; it decides nothing.
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
        """Whether the estimate is a loss beyond the margin, so that the upper end decides."""
        return lost(self.difference, self.criterion.margin)

    @property
    def verdict_by_group(self) -> Verdict | None:
        """What the rule would say of `by_group`."""
        return None if self.by_group is None else rule(self.difference, self.by_group, self.criterion.margin)


def lost(difference: float, margin: float) -> bool:
    """Whether a difference lies below -margin, but for rounding."""
    return round(difference, bootstrap.DECIMALS) < -margin


def rule(difference: float, interval: Interval, margin: float) -> Verdict:
    """Regression: below -margin and the interval below 0. Pass: the interval at -margin or above. Else inconclusive."""
    if lost(difference, margin) and interval.high < 0:
        return Verdict.REGRESSION
    return Verdict.OK if interval.low >= -margin else Verdict.INCONCLUSIVE


def overall(findings: Sequence[Finding]) -> Verdict:
    """The worst of all."""
    return next(verdict for verdict in Verdict if any(finding.verdict == verdict for finding in findings))


def holm(rejected: Callable[[int, float], bool], count: int, level: float = LEVEL) -> list[float]:
    """The level at which each of `count` hypotheses is judged, so that together they are judged at `level`.

    All are tried at level / count; as long as some are rejected, the others are tried again at level / how many they
    are. If a true one is rejected at a level with a chance of c times that level at most, then any true one is with c *
    `level` at most: c is 1/2 for one end of a two-sided interval. `rejected(i, level)` must stay true when the level
    rises.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    levels = [level] * count
    left = set(range(count))
    while left:
        share = level / len(left)
        for place in left:
            levels[place] = share
        gone = {place for place in left if rejected(place, share)}
        if not gone:
            break
        left -= gone
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

    def interval(replicates: Floats, beside: Noise | None) -> Interval:
        return bootstrap.interval(difference, replicates[:, place], level, beside)

    found, alone = (interval(evidence.by_image, beside) for beside in (noise, None))
    more = lost(difference, criterion.margin)
    return Finding(
        criterion,
        float(evidence.base[place]),
        float(evidence.candidate[place]),
        difference,
        level,
        found,
        rule(difference, found, criterion.margin),
        alone.high - difference if more else difference - alone.low,
        noise.half_width(level) if noise else 0.0,
        None if evidence.by_group is None else interval(evidence.by_group, noise),
    )
