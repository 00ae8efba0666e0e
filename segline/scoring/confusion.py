"""Integer labels -> counts -> scores. Counts come first, everything else is derived from them and divides once.

K classes. Counts are int64 (K, K), [actual, predicted]; they add up over images. Undefined scores are NaN here
(and left out of records): a class with neither a truth nor a predicted pixel has no IoU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def count(truth: npt.NDArray[Any], prediction: npt.NDArray[Any], num_classes: int) -> Counts:
    """Pairs (actual, predicted) over the pixels whose truth is a class: int64 (K, K).

    `truth` and `prediction` have one shape; truth values of K and above (void) are not counted.
    """
    valid = truth < num_classes
    cells = truth[valid].astype(np.intp) * num_classes + prediction[valid]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


@dataclass(frozen=True)
class Scores:
    """Rates in 0..1; per-class arrays are float64 (K,) with NaN where undefined."""

    accuracy: float
    class_accuracy: Floats
    iou: Floats
    dice: Floats
    present: npt.NDArray[np.bool_]

    @property
    def miou(self) -> float:
        """Mean IoU over the classes present. Source: Everingham et al. 2015, sec. 4.2."""
        return mean(self.iou[self.present])

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes present of the share of their pixels that is found."""
        return mean(self.class_accuracy[self.present])

    @property
    def mean_dice(self) -> float:
        """Mean over the classes present of 2 |P and T| / (|P| + |T|)."""
        return mean(self.dice[self.present])


def present(counts: Counts) -> npt.NDArray[np.bool_]:
    """Which classes have a truth pixel: bool (K,)."""
    return np.asarray(counts.sum(axis=1) > 0)


def scores(counts: Counts, classes: npt.NDArray[np.bool_] | None = None) -> Scores:
    """The scores of summed counts. Means run over `classes`, by default those present in `counts`.

    A resample passes the classes present in the full split, so that a class it lost in truth but predicts still counts.
    """
    hit = np.diagonal(counts).astype(np.float64)
    actual, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return Scores(
        accuracy=float(_ratio(hit.sum(), counts.sum())),
        class_accuracy=_ratio(hit, actual),
        iou=_ratio(hit, actual + predicted - hit),
        dice=_ratio(2 * hit, actual + predicted),
        present=present(counts) if classes is None else classes,
    )


def mean(values: Floats) -> float:
    """The mean of the defined values, NaN if there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _ratio(part: Any, whole: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.divide(part, whole, dtype=np.float64), np.nan)
