"""All images and disputed objects, the most suspicious first, and how often each class is disputed as each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segline.labels import quality
from segline.labels.quality import Dispute
from segline.monitoring import console
from segline.reproducibility import out_of_fold
from segline.reproducibility.out_of_fold import Image

IMAGE_COLUMNS = ["image", "split", "score", "quality", "disputed", "objects"]
OBJECT_COLUMNS = [
    *(
        "image",
        "split",
        "label",
        "prediction",
        "score",
        "probability",
        "share",
        "area",
        "left",
        "top",
        "width",
        "height",
    ),
]
ROOT = 1 / 6  # chosen with errors planted in drawn streets, see docs/results.md
PAIR_COLUMNS = ["label", "prediction", "pixels", "share"]


@dataclass(frozen=True)
class RankedImage:
    """`number` is its place in the list that was ranked, `score` the highest of its objects, 0 without one; the others
    as in `quality.Assessed`."""

    number: int
    score: float
    quality: float
    disputed: float
    objects: int


@dataclass(frozen=True)
class RankedObject:
    """A dispute, the number of its image, and how suspicious it is."""

    image: int
    dispute: Dispute
    score: float


@dataclass(frozen=True)
class Ranking:
    """The worst come first. `pairs` counts disputed pixels by label and prediction, int64 (K, K); `labelled` all
    labelled pixels of each class, int64 (K,)."""

    images: list[RankedImage]
    objects: list[RankedObject]
    pairs: npt.NDArray[np.int64]
    labelled: npt.NDArray[np.int64]
    usual: quality.Usual


def rank(images: Sequence[Image]) -> Ranking:
    """Reads labels and probabilities of each image twice. Raises DataError as these do.

    Objects by their `score`, images by the highest of theirs.
    """
    num_classes = len(images[0].classes)
    count = len(images)
    first_pass = console.progress(out_of_fold.arrays(images), count, "classes", "image")
    usual = quality.usual(first_pass, num_classes)
    pairs, labelled = np.zeros((num_classes, num_classes), np.int64), np.zeros(num_classes, np.int64)
    wholes: list[tuple[float, float]] = []
    disputes: list[list[Dispute]] = []
    second_pass = console.progress(out_of_fold.arrays(images), count, "labels", "image")
    for labels, planes in second_pass:
        labelled += np.bincount(labels.ravel(), minlength=256)[:num_classes]
        assessed = quality.assess(labels, planes, usual)
        pairs += assessed.pairs
        wholes.append((assessed.quality, assessed.disputed))
        disputes.append(assessed.disputes)
    scored = scores(disputes, [image.origin.group for image in images], usual.loss)
    ranked = [
        RankedImage(number, max(own, default=0.0), *whole, len(own))
        for number, (own, whole) in enumerate(zip(scored, wholes, strict=True))
    ]
    objects = [
        RankedObject(number, dispute, score)
        for number, (found, own) in enumerate(zip(disputes, scored, strict=True))
        for dispute, score in zip(found, own, strict=True)
    ]
    ranked.sort(key=lambda image: (-image.score, image.quality))
    objects.sort(key=lambda each: -each.score)
    return Ranking(ranked, objects, pairs, labelled, usual)


def scores(
    disputes: Sequence[Sequence[Dispute]], groups: Sequence[str | None], usual_losses: quality.Floats
) -> list[list[float]]:
    """How suspicious each dispute of each image is, given the group of each image: the product of

    - its loss, that is how improbable the label is,
    - the sixth root of its area over the usual loss of its label: without the area, specks of a few pixels come first,
      with more of it, what the model takes for background; thin things have high losses where labels are right, too,
    - its part of the pixels that are in dispute for the same two classes, in it and in the mean over the other images
      of its group: what a model cannot see in one image, it cannot see in one that is alike.
    """
    totals: Counter[tuple[str | None, int, int]] = Counter()
    for found, group in zip(disputes, groups, strict=True):
        totals.update(_pixels(found, group))
    members = Counter(groups)
    scored: list[list[float]] = []
    for found, group in zip(disputes, groups, strict=True):
        own, others = _pixels(found, group), members[group] - 1
        scored.append([])
        for each in found:
            key = (group, each.label, each.prediction)
            beside = (totals[key] - own[key]) / others if group is not None and others else 0.0
            size = (each.area / usual_losses[each.label]) ** ROOT
            scored[-1].append(float(each.loss * size * each.area / (each.area + beside)))
    return scored


def _pixels(disputes: Sequence[Dispute], group: str | None) -> Counter[tuple[str | None, int, int]]:
    """The disputed pixels of an image by group, label and prediction."""
    found: Counter[tuple[str | None, int, int]] = Counter()
    for each in disputes:
        found[group, each.label, each.prediction] += each.area
    return found


def tables(images: Sequence[Image], ranking: Ranking) -> dict[str, tuple[list[str], list[list[object]]]]:
    """Columns and rows of each CSV file, by its name."""
    names = [label.name for label in images[0].classes]
    image_rows: list[list[object]] = [
        [*_names(images[each.number]), each.score, each.quality, each.disputed, each.objects] for each in ranking.images
    ]
    object_rows: list[list[object]] = []
    for each in ranking.objects:
        dispute = each.dispute
        known = (names[dispute.label], names[dispute.prediction], each.score, dispute.probability, dispute.share)
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
