"""How much two models differ on the same images, and how sure that is.

N images, K classes, M criteria, B resamples, U units that are resampled (images, or groups of them). Counts are int64
(N, K, 3): tp, fp, fn. Scores come from summed counts and divide once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from segline.scoring import confusion

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SEED = 1
RESAMPLES = 4000  # for each criterion, which leaves 100 beyond each end of its interval, whatever their number
CELLS = 1 << 22  # numbers held at once while resampling
DECIMALS = 12  # beyond them a difference is rounding, which must not decide


@dataclass(frozen=True)
class Interval:
    """What holds the true difference; `low` <= the estimate <= `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Noise:
    """How far a criterion moves when only the seed changes: its standard deviation over `seeds` >= 2 runs."""

    deviation: float
    seeds: int

    def half_width(self, level: float) -> float:
        """Half the interval for a true value of 0, in Student's t, for the deviation itself is an estimate."""
        return self.deviation * float(special.stdtrit(self.seeds - 1, 1 - level / 2))


def score(name: str, total: Any, names: tuple[str, ...]) -> Floats:
    """accuracy, miou or iou.CLASS of summed counts (..., K, 3): (...), NaN for a class without a truth pixel there."""
    if name == "accuracy":
        return confusion.accuracy(total)
    if name == "miou":
        return confusion.miou(total)  # truth is equal on both sides, so both are means over the same classes
    place = names.index(name.removeprefix("iou."))
    return np.where(confusion.present(total)[..., place], confusion.iou(total)[..., place], np.nan)


def by_group(counts: Counts, groups: tuple[str | None, ...]) -> Counts | None:
    """Counts (U, K, 3) summed within groups, an image without one being its own; None if no group has two images."""
    keys = [("group", group) if group is not None else ("image", str(row)) for row, group in enumerate(groups)]
    place = {key: unit for unit, key in enumerate(sorted(set(keys)))}
    if len(place) == len(keys):
        return None
    sums = np.zeros((len(place), *counts.shape[1:]), np.int64)
    np.add.at(sums, [place[key] for key in keys], counts)
    return sums


def resampled(units: Counts, resamples: int) -> Iterator[Floats]:
    """Sums of as many units (U, ...) as there are, drawn with replacement: float64 (b, ...), `resamples` in all."""
    draws = np.random.default_rng(SEED)
    even = np.full(len(units), 1 / len(units))
    flat = units.reshape(len(units), -1).astype(np.float64)
    step = max(1, CELLS // max(flat.shape))
    for start in range(0, resamples, step):
        drawn = draws.multinomial(len(units), even, size=min(step, resamples - start)).astype(np.float64)
        yield (drawn @ flat).reshape(len(drawn), *units.shape[1:])


def interval(estimate: float, replicates: Floats, level: float, noise: Noise | None) -> Interval:
    """The 1 - level interval: percentiles of the bootstrap, then each side widened by the noise as independent of it.

    With h the distance from the estimate to a percentile and e that of the noise, a side is sqrt(h^2 + e^2) long.
    Sources: Efron and Tibshirani 1993, ch. 13; Zou and Donner 2008 for how the sides are put together.
    """
    low, high = np.nanquantile(replicates, [level / 2, 1 - level / 2])
    below, above = max(0.0, estimate - float(low)), max(0.0, float(high) - estimate)
    beside = noise.half_width(level) if noise else 0.0
    ends = estimate - float(np.hypot(below, beside)), estimate + float(np.hypot(above, beside))
    return Interval(*(round(end, DECIMALS) for end in ends))
