"""The rule: from an interval and a margin to regression, pass or inconclusive, for all criteria together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from segline.gate import comparison
from segline.gate.comparison import Floats, Interval, Noise
from segline.gate.criteria import Criterion
from segline.gate.evidence import Evidence

LEVEL = 0.05  # of two-sided intervals: the chance that a branch is wrongly found worse in any criterion is half of it


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
    return round(difference, comparison.DECIMALS) < -margin


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
        return comparison.interval(evidence.differences[place], evidence.by_image[:, place], level, noises[place])

    levels = holm(lambda place, level: interval(place, level).high < 0, len(criteria))
    return [
        _finding(evidence, criterion, place, levels[place], noises[place]) for place, criterion in enumerate(criteria)
    ]


def _finding(evidence: Evidence, criterion: Criterion, place: int, level: float, noise: Noise | None) -> Finding:
    difference = float(evidence.differences[place])

    def interval(replicates: Floats, beside: Noise | None) -> Interval:
        return comparison.interval(difference, replicates[:, place], level, beside)

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
