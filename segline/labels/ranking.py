"""All images and disputed objects, the most suspicious first, and how often each class is disputed as each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segline.labels import out_of_fold, quality
from segline.labels.out_of_fold import Image
from segline.labels.quality import Dispute
from segline.monitoring import console

IMAGE_COLUMNS = ["image", "split", "quality", "disputed", "objects"]
OBJECT_COLUMNS = [
    *("image", "split", "label", "prediction", "score", "share", "margin", "area", "left", "top", "width", "height"),
]
PAIR_COLUMNS = ["label", "prediction", "pixels", "share"]


@dataclass(frozen=True)
class RankedImage:
    """`number` is its place in the list that was ranked; the others as in `quality.Assessed`."""

    number: int
    quality: float
    disputed: float
    objects: int


@dataclass(frozen=True)
class RankedObject:
    """A dispute, and the number of its image."""

    image: int
    dispute: Dispute


@dataclass(frozen=True)
class Ranking:
    """The worst come first. `pairs` counts disputed pixels by label and prediction, int64 (K, K); `labelled` all
    labelled pixels of each class, int64 (K,). `sure_from` are the thresholds of the classes, (K,)."""

    images: list[RankedImage]
    objects: list[RankedObject]
    pairs: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    sure_from: quality.Floats


def rank(images: Sequence[Image]) -> Ranking:
    """Reads labels and probabilities of each image twice. Raises DataError as these do.

    Images by their `quality`, objects by `Dispute.score`.
    """
    num_classes = len(images[0].classes)
    count = len(images)
    first_pass = console.progress(out_of_fold.arrays(images), count, "thresholds", "image")
    sure_from = quality.thresholds(first_pass, num_classes)
    ranked: list[RankedImage] = []
    disputes: list[RankedObject] = []
    pairs, labelled = np.zeros((num_classes, num_classes), np.int64), np.zeros(num_classes, np.int64)
    second_pass = console.progress(out_of_fold.arrays(images), count, "labels", "image")
    for number, (labels, planes) in enumerate(second_pass):
        labelled += np.bincount(labels.ravel(), minlength=256)[:num_classes]
        assessed = quality.assess(labels, planes, sure_from)
        pairs += assessed.pairs
        ranked.append(RankedImage(number, assessed.quality, assessed.disputed, len(assessed.disputes)))
        disputes += [RankedObject(number, dispute) for dispute in assessed.disputes]
    ranked.sort(key=lambda image: image.quality)
    disputes.sort(key=lambda each: -each.dispute.score)
    return Ranking(ranked, disputes, pairs, labelled, sure_from)


def tables(images: Sequence[Image], ranking: Ranking) -> dict[str, tuple[list[str], list[list[object]]]]:
    """Columns and rows of each CSV file, by its name."""
    names = [label.name for label in images[0].classes]
    image_rows: list[list[object]] = [
        [*_names(images[each.number]), each.quality, each.disputed, each.objects] for each in ranking.images
    ]
    object_rows: list[list[object]] = []
    for each in ranking.objects:
        dispute = each.dispute
        known = (names[dispute.label], names[dispute.prediction], dispute.score, dispute.share, dispute.margin)
        object_rows.append([*_names(images[each.image]), *known, dispute.area, *dispute.box])
    return {
        "images.csv": (IMAGE_COLUMNS, image_rows),
        "objects.csv": (OBJECT_COLUMNS, object_rows),
        "class_pairs.csv": (PAIR_COLUMNS, [list(row) for row in class_pairs(names, ranking)]),
    }


def class_pairs(names: Sequence[str], ranking: Ranking) -> list[tuple[str, str, int, float]]:
    """Label, prediction, disputed pixels, and their share of all with that label: most pixels first, none left out but
    those without any."""
    order = np.argsort(-ranking.pairs, axis=None, kind="stable")
    found = []
    for label, prediction in zip(*np.unravel_index(order, ranking.pairs.shape), strict=True):
        if pixels := int(ranking.pairs[label, prediction]):
            found.append((names[label], names[prediction], pixels, pixels / int(ranking.labelled[label])))
    return found


def _names(image: Image) -> tuple[str, str]:
    return image.name, image.index.split
