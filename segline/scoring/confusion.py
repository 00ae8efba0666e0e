"""Labels -> counts of pixels -> scores. Counts come first; every score is derived from them by a single division.

K classes. A confusion matrix is int64 (K, K), [actual, predicted]. Rates are computed from cells (..., K, 3): true
positives, false positives and false negatives of each class. Both add up over images. Undefined rates are NaN here (and
left out of records): a class with neither a true nor a predicted pixel has no IoU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def count(truth: npt.NDArray[Any], prediction: npt.NDArray[Any], num_classes: int) -> Counts:
    """Pairs (actual, predicted) over the pixels whose truth is a class: int64 (K, K).

    `truth` and `prediction` have the same shape; truth values of K and above (void) are not counted.
    """
    valid = truth < num_classes
    cells = truth[valid].astype(np.intp) * num_classes + prediction[valid]
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def by_class(matrix: Counts) -> Counts:
    """The cells int64 (..., K, 3) of a confusion matrix (..., K, K)."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    return np.stack([hit, matrix.sum(axis=-2) - hit, matrix.sum(axis=-1) - hit], axis=-1)


def truth(cells: Any) -> Any:
    """True pixels of each class: (..., K)."""
    return cells[..., 0] + cells[..., 2]


def present(cells: Any) -> Bools:
    """Which classes have a true pixel: bool (..., K)."""
    return np.asarray(truth(cells) > 0)


def only_prediction(matrix: Counts) -> int | None:
    """The class that all pixels of a matrix (K, K) are predicted as; None if there are several, or K is 1."""
    predicted = np.flatnonzero(matrix.sum(axis=0))
    return int(predicted[0]) if len(predicted) == 1 < len(matrix) else None


def accuracy(cells: Any) -> Floats:
    """The share of labelled pixels that are right: (...)."""
    return _ratio(cells[..., 0].sum(axis=-1), truth(cells).sum(axis=-1))


def class_accuracy(cells: Any) -> Floats:
    """The share of the true pixels of each class that are right: (..., K)."""
    return _ratio(cells[..., 0], truth(cells))


def iou(cells: Any) -> Floats:
    """tp / (tp + fp + fn) of each class: (..., K)."""
    return _ratio(cells[..., 0], cells.sum(axis=-1))


def dice(cells: Any) -> Floats:
    """2 tp / (2 tp + fp + fn) of each class: (..., K)."""
    return _ratio(2 * cells[..., 0], cells[..., 0] + cells.sum(axis=-1))


def mean(rates: Floats, classes: Bools) -> Floats:
    """The mean of the rates (..., K) over the chosen `classes` (..., K), without undefined rates: (...).

    NaN where no chosen class has a defined rate.
    """
    counted = classes & ~np.isnan(rates)
    return _ratio(np.where(counted, rates, 0.0).sum(axis=-1), counted.sum(axis=-1))


def miou(cells: Any, classes: Bools | None = None) -> Floats:
    """Mean IoU over `classes`, by default those present in `cells`: (...). Source: Everingham et al. 2015, sec. 4.2.

    A resample passes the classes present in all images: one that it has in no truth but in predictions still counts.
    """
    return mean(iou(cells), present(cells) if classes is None else classes)


@dataclass(frozen=True)
class Scores:
    """Rates in 0..1; those of classes are float64 (K,), means run over the classes present."""

    accuracy: float
    mean_class_accuracy: float
    miou: float
    mean_dice: float
    class_accuracy: Floats
    iou: Floats
    dice: Floats
    present: Bools


def scores(matrix: Counts) -> Scores:
    """The scores of a confusion matrix (K, K)."""
    cells = by_class(matrix)
    classes = present(cells)
    return Scores(
        accuracy=float(accuracy(cells)),
        mean_class_accuracy=float(mean(class_accuracy(cells), classes)),
        miou=float(miou(cells)),
        mean_dice=float(mean(dice(cells), classes)),
        class_accuracy=class_accuracy(cells),
        iou=iou(cells),
        dice=dice(cells),
        present=classes,
    )


def _ratio(part: Any, whole: Any) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.divide(part, whole, dtype=np.float64), np.nan)
