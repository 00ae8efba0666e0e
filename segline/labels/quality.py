"""How far labels agree with out-of-fold probabilities, by pixel, image and object. H x W pixels, K classes.

`labels` are uint8 (H, W), `onehot.VOID` where there is none; `planes` are probabilities uint8 (K, H, W), 255 = 1. The
prediction is the class of the highest. Void is never disputed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from segline.dataset import onehot

ONE = 255
TEMPERATURE = 0.1  # of the softmin, as Lad and Mueller chose it
NEVER = 2.0  # the threshold of a class without labelled pixels

Uint8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dispute:
    """Connected pixels with one label, where the model is sure of one other class.

    `area` counts them; `share` is their part of the region of the label, or of the region of the prediction, that they
    lie in, whichever is larger: 1 for an object that is missing or has another class, little along a border. `margin`
    is by how much the prediction is more probable than the label, in the mean. `box` is left, top, width and height,
    `number` that of the region in its image.
    """

    label: int
    prediction: int
    area: int
    share: float
    margin: float
    box: tuple[int, int, int, int]
    number: int

    @property
    def score(self) -> float:
        """The disputed pixels, weighted by how sure the model is, and by the share of an object that they are.

        Without their number, specks of a few pixels come first; without the share, wide bands along vague borders.
        """
        return self.area * self.margin * self.share


@dataclass(frozen=True)
class Assessed:
    """`quality` and `disputed` are of the whole image: its softmin, and the share of its labelled pixels in dispute.

    `pairs` counts the latter by label and prediction, int64 (K, K). `numbers`, int32 (H, W), says which dispute a pixel
    is in, 0 = none.
    """

    quality: float
    disputed: float
    pairs: npt.NDArray[np.int64]
    disputes: list[Dispute]
    numbers: npt.NDArray[np.int32]


def thresholds(images: Iterable[tuple[Uint8, Uint8]], num_classes: int) -> Floats:
    """The mean probability of each class over the pixels labelled so, (K,), for (labels, planes) of every image.

    A model is sure of a class if its probability is at least this. Source: Northcutt, Jiang and Chuang 2021, "Confident
    Learning: Estimating Uncertainty in Dataset Labels", eq. 2.
    """
    sums, counts = np.zeros(num_classes), np.zeros(num_classes)
    for labels, planes in images:
        labelled = labels[labels != onehot.VOID]
        own = _of_labels(labels, planes)[labels != onehot.VOID]
        sums += np.bincount(labelled, own, minlength=num_classes)
        counts += np.bincount(labelled, minlength=num_classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), NEVER)


def softmin(values: Floats) -> float:
    """The mean of values s in 0..1 (N,) that counts low ones most: sum(s w) / sum(w), w = exp((1 - s) / T); 1 of none.

    For the probabilities of the labels this is the label quality of an image. Source: Lad and Mueller 2023, "Estimating
    label quality and errors in semantic segmentation data via any model".
    """
    if not values.size:
        return 1.0
    weights = np.exp((1 - values) / TEMPERATURE)
    return float((values * weights).sum() / weights.sum())


def assess(labels: Uint8, planes: Uint8, sure_from: Floats) -> Assessed:
    """What is in dispute; `sure_from` are the `thresholds`. An image without labelled pixels has quality 1."""
    valid = labels != onehot.VOID
    num_classes = len(planes)
    predicted = planes.argmax(axis=0).astype(np.uint8)
    of_prediction, of_label = planes.max(axis=0) / ONE, _of_labels(labels, planes)
    disputed = valid & (predicted != labels) & (of_prediction >= sure_from[predicted])
    codes = labels[disputed].astype(np.int64) * num_classes + predicted[disputed]
    pairs = np.bincount(codes, minlength=num_classes**2).reshape(num_classes, num_classes)
    numbers, disputes = _disputes(labels, np.where(valid, predicted, onehot.VOID), disputed, of_prediction - of_label)
    return Assessed(softmin(of_label[valid]), float(disputed.sum() / max(1, valid.sum())), pairs, disputes, numbers)


def _of_labels(labels: Uint8, planes: Uint8) -> Floats:
    """The probability of each pixel's label, 0 for void."""
    known = labels != onehot.VOID
    chosen = np.take_along_axis(planes, np.where(known, labels, 0)[None].astype(np.intp), axis=0)[0]
    return np.where(known, chosen / ONE, 0.0)


def _disputes(
    labels: Uint8, predicted: Uint8, disputed: Bool, margins: Floats
) -> tuple[npt.NDArray[np.int32], list[Dispute]]:
    """The regions of `disputed` (H, W): their numbers, and what is known of each."""
    pairs = np.where(disputed, labels.astype(np.int32) * (onehot.VOID + 1) + predicted + 1, 0)
    numbers = _regions(pairs, 0)
    sizes = [_sizes(classes) for classes in (labels, predicted)]
    areas = np.bincount(numbers.ravel())
    sums = np.bincount(numbers.ravel(), margins.ravel())
    found = []
    for number, place in enumerate(ndimage.find_objects(numbers), start=1):
        top, left = (side.start for side in place)
        height, width = (side.stop - side.start for side in place)
        down, across = np.argwhere(numbers[place] == number)[0] + (top, left)
        area = int(areas[number])
        share = max(area / int(size[down, across]) for size in sizes)
        label, prediction = int(labels[down, across]), int(predicted[down, across])
        box = (left, top, width, height)
        found.append(Dispute(label, prediction, area, share, float(sums[number] / area), box, number))
    return numbers, found


def _sizes(classes: Uint8) -> npt.NDArray[np.int64]:
    """The pixels of the region of one class that each pixel is in, (H, W)."""
    numbers = _regions(classes, onehot.VOID)
    counts = np.bincount(numbers.ravel()).astype(np.int64)
    return np.take(counts, numbers)


def _regions(values: npt.NDArray[Any], background: int) -> npt.NDArray[np.int32]:
    """The number of the region of equal values that each pixel is in; pixels of a region share edges."""
    label: Any = measure.label  # it has no types
    return np.asarray(label(values, background=background, connectivity=1), np.int32)
