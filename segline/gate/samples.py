"""What is resampled of a pair: images, or groups of them, and the scores of any choice of these.

U units that are resampled, M criteria, B resamples; the rest as in `segline.gate.bootstrap`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segline.core.errors import DataError
from segline.gate import bootstrap
from segline.gate.bootstrap import Counts, Floats
from segline.gate.counts import Side
from segline.gate.objects import METRICS, Units
from segline.gate.pairing import Pair
from segline.gate.rules import ECE, Criterion
from segline.scoring import calibration, confusion


@dataclass(frozen=True)
class Sample:
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


def of_pair(pair: Pair) -> tuple[list[Sample], list[Sample]]:
    """What is resampled, for both sides: images with labelled pixels, and groups, none if no group has two images.

    Raises DataError if fewer than two images have labelled pixels.
    """
    labelled = np.flatnonzero(confusion.truth(pair.base.counts).any(axis=1)).tolist()
    unit = bootstrap.unit_of([pair.base.groups[row] for row in labelled])
    if len(labelled) < 2:
        problem = "only one image with labelled pixels, so the uncertainty of a difference is unknown"
        raise DataError(pair.base.label, problem, "Evaluate a split of at least two images; even ten are few.")
    sides = pair.base, pair.candidate
    images = [_sample(one, labelled, range(len(labelled))) for one in sides]
    return images, [] if unit is None else [_sample(one, labelled, unit) for one in sides]


def _sample(side: Side, rows: Sequence[int], unit: Sequence[int]) -> Sample:
    objects = side.objects.of(rows).units(unit) if side.objects else None
    gaps = None if side.gaps is None else bootstrap.summed(side.gaps[list(rows)], unit)
    return Sample(side.classes, bootstrap.summed(side.counts[list(rows)], unit), objects, gaps)


def groups(pair: Pair) -> int | None:
    """The number of groups of images with labelled pixels, an image without one being its own; None without groups."""
    _, units = of_pair(pair)
    return len(units[0]) if units else None


def differences(criteria: Sequence[Criterion], base: Floats, candidate: Floats) -> Floats:
    """candidate - base, or candidate - floor: (..., M). That of the ECE is turned, so that losses are below 0."""
    floors = np.array([np.nan if criterion.floor is None else criterion.floor for criterion in criteria])
    signs = np.array([-1.0 if criterion.metric == ECE else 1.0 for criterion in criteria])
    return signs * (candidate - np.where(np.isnan(floors), base, floors))
