"""What is known about every criterion: its difference on the images at hand, and on resamples of them.

M criteria, B resamples; the rest as in `segline.gate.comparison`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segline.errors import DataError
from segline.gate import comparison
from segline.gate.comparison import Counts, Floats
from segline.gate.criteria import Criterion
from segline.gate.pairing import Pair


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
    labelled = np.asarray(comparison.truth(pair.base.counts).any(axis=1))
    images = [one.counts[labelled] for one in (pair.base, pair.candidate)]
    named = tuple(group for group, kept in zip(pair.base.groups, labelled, strict=True) if kept)
    return images, [summed for counts in images if (summed := comparison.by_group(counts, named)) is not None]


def _scores(pair: Pair, criteria: Sequence[Criterion], total: Floats | Counts) -> Floats:
    """The metric of each criterion, of summed counts (..., K, 3): (..., M)."""
    columns = [comparison.score(criterion.metric, total, pair.base.classes) for criterion in criteria]
    return np.stack(columns, axis=-1)


def _differences(criteria: Sequence[Criterion], base: Floats, candidate: Floats) -> Floats:
    """candidate - base, or candidate - floor: (..., M)."""
    floors = np.array([np.nan if criterion.floor is None else criterion.floor for criterion in criteria])
    return candidate - np.where(np.isnan(floors), base, floors)


def _replicates(pair: Pair, criteria: Sequence[Criterion], base: Counts, candidate: Counts) -> Floats:
    """The differences of resamples, each drawn for both sides at once: (B, M), NaN where a class is not in truth."""
    both = np.stack([base, candidate], axis=1)
    drawn = comparison.resampled(both, comparison.RESAMPLES * len(criteria))
    return np.concatenate(
        [_differences(criteria, *(_scores(pair, criteria, sums[:, one]) for one in (0, 1))) for sums in drawn]
    )
