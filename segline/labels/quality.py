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
_LOSS = -np.log(
    np.maximum(np.arange(ONE + 1), 0.5) / ONE
)  # of each byte of probability; 0 stands for less than 1 / 510

Uint8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Usual:
    """What is usual for each of K classes, over the pixels labelled so: the mean probability of the label, from which
    on a model is sure of the class, and the mean loss, -ln of that probability. Both float64 (K,).

    Source of the first: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", eq. 2.
    """

    sure_from: Floats
    loss: Floats


@dataclass(frozen=True)
class Dispute:
    """Connected pixels with one label, where the model is sure of one other class.

    `area` counts them; `share` is their part of the region of the label, or of the region of the prediction, that they
    lie in, whichever is larger: 1 for an object that is missing or has another class, little along a border. `loss` is
    the mean over them of -ln of the label's probability. `box` is left, top, width and height, `number` that of the
    region in its image.
    """

    label: int
    prediction: int
    area: int
    share: float
    loss: float
    box: tuple[int, int, int, int]
    number: int

    @property
    def probability(self) -> float:
        """That of the label: the geometric mean over the pixels."""
        return float(np.exp(-self.loss))


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


def usual(images: Iterable[tuple[Uint8, Uint8]], num_classes: int) -> Usual:
    """Over the (labels, planes) of all images."""
    sums = np.zeros((3, num_classes))
    for labels, planes in images:
        known = labels != onehot.VOID
        labelled, of_labels = labels[known], _of_labels(labels, planes)[known]
        weights = (None, of_labels / ONE, _LOSS[of_labels])
        sums += np.stack([np.bincount(labelled, each, minlength=num_classes) for each in weights])
    counts, own, losses = sums
    pixels = np.maximum(counts, 1)
    return Usual(np.where(counts > 0, own / pixels, NEVER), losses / pixels)


def softmin(values: Floats) -> float:
    """The mean of values s in 0..1 (N,) that counts low ones most: sum(s w) / sum(w), w = exp((1 - s) / T); 1 of none.

    For the probabilities of the labels this is the label quality of an image. Source: Lad and Mueller 2023, "Estimating
    label quality and errors in semantic segmentation data via any model".
    """
    if not values.size:
        return 1.0
    weights = np.exp((1 - values) / TEMPERATURE)
    return float((values * weights).sum() / weights.sum())


def assess(labels: Uint8, planes: Uint8, known: Usual) -> Assessed:
    """What is in dispute. An image without labelled pixels has quality 1."""
    valid = labels != onehot.VOID
    num_classes = len(planes)
    predicted = planes.argmax(axis=0).astype(np.uint8)
    of_labels = _of_labels(labels, planes)
    disputed = valid & (predicted != labels) & (planes.max(axis=0) / ONE >= known.sure_from[predicted])
    codes = labels[disputed].astype(np.int64) * num_classes + predicted[disputed]
    pairs = np.bincount(codes, minlength=num_classes**2).reshape(num_classes, num_classes)
    seen = np.where(valid, predicted, onehot.VOID)
    numbers, disputes = _disputes(labels, seen, disputed, _LOSS[of_labels])
    share = float(disputed.sum() / max(1, valid.sum()))
    return Assessed(softmin(of_labels[valid] / ONE), share, pairs, disputes, numbers)


def _of_labels(labels: Uint8, planes: Uint8) -> Uint8:
    """The probability of each pixel's label, 255 = 1; 0 for void."""
    valid = labels != onehot.VOID
    chosen = np.take_along_axis(planes, np.where(valid, labels, 0)[None].astype(np.intp), axis=0)[0]
    return np.where(valid, chosen, 0).astype(np.uint8)


def _disputes(
    labels: Uint8, predicted: Uint8, disputed: Bool, losses: Floats
) -> tuple[npt.NDArray[np.int32], list[Dispute]]:
    """The regions of `disputed` (H, W): their numbers, and what is known of each."""
    pairs = np.where(disputed, labels.astype(np.int32) * (onehot.VOID + 1) + predicted + 1, 0)
    numbers = _regions(pairs, 0)
    sizes = [_sizes(classes) for classes in (labels, predicted)]
    areas = np.bincount(numbers.ravel())
    sums = np.bincount(numbers.ravel(), losses.ravel())
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
