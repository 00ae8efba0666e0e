"""The paired bootstrap: resamples of the images of two models, and the intervals that follow from them.

N images, K classes, B resamples, U units that are resampled (images, or groups of them). Counts are int64 (N, K, 3):
tp, fp, fn. Scores are computed from summed counts by a single division.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from segline.scoring import confusion

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SEED = 1
RESAMPLES = 4000  # for each criterion, so that 100 are beyond each end of its interval, however many there are
CELLS = 1 << 22  # numbers held at once while resampling
DECIMALS = 12  # smaller differences are rounding errors, which must not decide


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a difference; `low` <= the estimate <= `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Noise:
    """How a criterion varies when only the seed changes: its standard deviation, estimated from `seeds` >= 2 runs."""

    deviation: float
    seeds: int

    def half_width(self, level: float) -> float:
        """Half the 1 - level interval, from Student's t, since the deviation is itself an estimate."""
        return self.deviation * float(special.stdtrit(self.seeds - 1, 1 - level / 2))


def score(name: str, total: Any, names: tuple[str, ...]) -> Floats:
    """accuracy, miou or iou.CLASS of summed counts (..., K, 3): (...), NaN for a class without true pixels in them."""
    if name == "accuracy":
        return confusion.accuracy(total)
    if name == "miou":
        return confusion.miou(total)  # the truth is equal on both sides, so both are means over the same classes
    place = names.index(name.removeprefix("iou."))
    return np.where(confusion.present(total)[..., place], confusion.iou(total)[..., place], np.nan)


def unit_of(groups: Sequence[str | None]) -> list[int] | None:
    """The number of each image's group, an image without one being its own; None if no group has two images."""
    keys = [("group", group) if group is not None else ("image", str(row)) for row, group in enumerate(groups)]
    place = {key: unit for unit, key in enumerate(sorted(set(keys)))}
    return None if len(place) == len(keys) else [place[key] for key in keys]


def summed(counts: Counts, unit: Sequence[int]) -> Counts:
    """Counts (U, ...) of units, from those of images, of which image i is in unit `unit[i]`."""
    sums = np.zeros((max(unit) + 1, *counts.shape[1:]), np.int64)
    np.add.at(sums, list(unit), counts)
    return sums


def draws(units: int, resamples: int, width: int) -> Iterator[Floats]:
    """How often each unit is drawn, with replacement: batches float64 (b, U), `resamples` in all.

    `width` is how many numbers a resample takes in memory, at most, besides U.
    """
    draw = np.random.default_rng(SEED)
    even = np.full(units, 1 / units)
    step = max(1, CELLS // max(units, width))
    for start in range(0, resamples, step):
        yield draw.multinomial(units, even, size=min(step, resamples - start)).astype(np.float64)


def interval(estimate: float, replicates: Floats, level: float, noise: Noise | None) -> Interval:
    """The 1 - level interval: percentiles of the bootstrap, each side widened by the seed noise, which is independent.

    With h the distance from the estimate to a percentile and e the half width of the noise, a side is
    sqrt(h^2 + e^2) long.
    Sources: Efron and Tibshirani 1993, ch. 13; Zou and Donner 2008 for combining the sides.
    """
    low, high = np.nanquantile(replicates, [level / 2, 1 - level / 2])
    below, above = max(0.0, estimate - float(low)), max(0.0, float(high) - estimate)
    seeds = noise.half_width(level) if noise else 0.0
    ends = estimate - float(np.hypot(below, seeds)), estimate + float(np.hypot(above, seeds))
    return Interval(*(round(end, DECIMALS) for end in ends))
