"""Confusion matrices of an evaluated split -> the numbers that are reported. N images, K classes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset import processed
from segline.dataset.objects import semantic
from segline.model import watershed
from segline.scoring import calibration, confusion, resampling
from segline.scoring import objects as object_scores
from segline.scoring.calibration import Calibrated
from segline.scoring.objects import Matched

SCHEMA = "1"
OBJECT_RATES = {"ap50": "AP50", "pq": "PQ"}  # the scores of objects that say most
GAPS = "confidence_gaps"  # the last column of per_image.csv
OBJECT_KINDS = ("tp", "fp", "fn", "iou", "scores")  # of the objects of a class, in per_image.csv

Interval = dict[str, float]
# Cells (B, K, 3), see `confusion`, and the classes (K,) that means run over -> (B,).
Statistic = Callable[[confusion.Floats, confusion.Bools], confusion.Floats]


class Section(params.Section):
    """`split` is evaluated; `resamples` and `seed` are those of the bootstrap intervals. `objects`: how objects are
    found, None if they are not."""

    split: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    batch_size: int = Field(ge=1, le=4096)
    resamples: int = Field(ge=100, le=100_000)
    seed: int = Field(ge=0, lt=2**32)
    objects: watershed.Section | None


def require_objects(section: Section, learnt: object) -> None:
    """Raises ParameterError if objects are to be found and none are `learnt`: preprocess.objects is None."""
    if section.objects and learnt is None:
        problem = "objects are to be found, but preprocess.objects is null: the model has learnt none"
        raise ParameterError("params.yaml: evaluate.objects", problem, "Set it to null, or set preprocess.objects.")


def protocol(index: processed.Index) -> dict[str, str]:
    """What was evaluated and how: two results are comparable only if all of this is equal."""
    void = "none" if index.void is None else "class" if index.void_is_class else "ignored"
    return {
        "data": data_hash(index),
        "images": str(len(index.origins)),
        "resolution": "that of the masks",
        "schema": SCHEMA,
        "split": index.split,
        "void": void,
    }


def data_hash(index: processed.Index) -> str:
    """The first 16 hex digits of a SHA-256 over the images, masks, class table and merged classes of the split."""
    images = [
        [each.stem, each.group, each.sha256_image, each.sha256_mask, *([each.page] if each.page else [])]
        for each in index.origins
    ]
    table = [(label.name, label.rgb) for label in semantic(index.classes, index.objects)]
    threshold = [] if index.threshold is None else [index.threshold]
    return _digest([images, table, index.values, index.void_is_class, index.encoding, *threshold])


def objects_hash(index: processed.Index) -> str:
    """The same over the object numbers of the images, and the classes they are of; not over the width of borders.

    Apart from `data_hash`, so that the other scores compare with those of a model without objects.
    """
    numbers = [[each.stem, each.sha256_objects] for each in index.origins]
    return _digest([numbers, index.objects.classes if index.objects else []])


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def summary(
    own: confusion.Counts,
    working: confusion.Counts,
    seam_disagreement: float,
    index: processed.Index,
    section: Section,
    *,
    calibrated: Calibrated | None = None,
    matched: Sequence[Sequence[Matched]] | None = None,
) -> dict[str, Any]:
    """eval.json without its cost: `at` of the masks' own resolution, and under `working` of the working resolution.

    `seam_disagreement` is the share of the pixels in overlaps of tiles whose class the tiles differ on. `matched` are
    the objects (N, C) that are scored under `objects`, those of images with a labelled pixel. `calibrated` is about the
    pixels of `own`.
    """
    names = [label.name for label in semantic(index.classes, index.objects)]
    found = {}
    if matched is not None and index.objects:
        labelled = [each for each, matrix in zip(matched, own, strict=True) if matrix.any()]
        rates = object_scores.summary(labelled, index.objects.classes, section.resamples, section.seed)
        found["objects"] = rates | {"data": objects_hash(index)}
    scores = at(own, names, section)
    if calibrated:
        scores |= calibration.summary(calibrated)
        if bound := calibration.interval(calibrated.counts, section.resamples, section.seed):
            scores["interval"]["ece"] = bound
    return scores | {
        "working": at(working, names, section),
        "seam_disagreement": seam_disagreement,
        "protocol": protocol(index),
        **found,
    }


def headline(content: dict[str, Any]) -> str:
    """The scores that say most, with their 95 % intervals: mIoU, ECE, and of objects AP50 and PQ."""
    objects = content.get("objects", {})
    names = ((content, "miou", "mIoU"), (content, "ece", "ECE"), *((objects, *pair) for pair in OBJECT_RATES.items()))
    shown = []
    for scores, key, name in names:
        if key in scores:
            bound = scores["interval"].get(key)
            interval = f" (95 % interval {bound['low']:.4f} to {bound['high']:.4f})" if bound else ""
            shown.append(f"{name} {scores[key]:.4f}{interval}")
    return ", ".join(shown)


def at(matrices: confusion.Counts, names: list[str], section: Section) -> dict[str, Any]:
    """The scores of int64 (N, K, K) matrices, summed over the images first.

    Four rates, the IoU of each class that has a true pixel (mIoU is their mean), and 95 % intervals of accuracy and
    mIoU. Undefined values are left out.
    """
    scores = confusion.scores(matrices.sum(axis=0))
    iou = {name: float(value) for name, value, there in zip(names, scores.iou, scores.present, strict=True) if there}
    statistics: dict[str, Statistic] = {"accuracy": lambda cells, _: confusion.accuracy(cells), "miou": confusion.miou}
    bounds = {
        name: interval_over_images(matrices, statistic, section.resamples, section.seed)
        for name, statistic in statistics.items()
    }
    rates = {name: rate for name, rate in means(matrices).items() if rate is not None}
    return rates | {
        "iou": iou,
        "interval": {name: bound for name, bound in bounds.items() if bound is not None},
    }


def interval_over_images(
    matrices: confusion.Counts, statistic: Statistic, resamples: int, seed: int
) -> Interval | None:
    """The 2.5 % and 97.5 % percentiles of `statistic` under resampling of images: {"low", "high"}, a 95 % interval.

    `matrices` is int64 (N, K, K). Images without a labelled pixel are left out, and fewer than two have no interval
    (None). Each resample adds up as many images as there are and scores the sum. Means run over the classes present in
    all images; one that a resample has neither in truth nor in prediction has no IoU there and is left out of its mean.
    Source: Efron and Tibshirani 1993, ch. 13.
    """
    cells = confusion.by_class(matrices[matrices.any(axis=(1, 2))])
    if len(cells) < 2:
        return None
    totals = resampling.totals(cells, resamples, seed)
    values = statistic(totals, confusion.present(cells.sum(axis=0)))
    low, high = np.percentile(values, [2.5, 97.5])
    return {"low": float(low), "high": float(high)}


def means(matrices: confusion.Counts) -> dict[str, float | None]:
    """The four rates of int64 (N, K, K) matrices, summed over the images first; None if no pixel is labelled."""
    scores = confusion.scores(matrices.sum(axis=0))
    return {
        "accuracy": _defined(scores.accuracy),
        "mean_class_accuracy": _defined(scores.mean_class_accuracy),
        "mean_dice": _defined(scores.mean_dice),
        "miou": _defined(scores.miou),
    }


def class_rows(matrices: confusion.Counts, names: list[str]) -> list[tuple[Any, ...]]:
    """(class, iou, accuracy, dice, pixels) of each class; the rates of a class without true pixels are None.

    As in `at`: such a class, if it is predicted, has an IoU of 0 by definition, which would say nothing of the model.
    """
    total = matrices.sum(axis=0)
    scores = confusion.scores(total)
    columns = zip(names, scores.iou, scores.class_accuracy, scores.dice, total.sum(axis=1), strict=True)
    return [
        (name, *(_defined(rate) if pixels else None for rate in rates), int(pixels)) for name, *rates, pixels in columns
    ]


def doubts(matrices: confusion.Counts, names: list[str], split: str) -> Iterator[str]:
    """Why the scores of int64 (N, K, K) matrices mean less than they seem to: one sentence each."""
    total = matrices.sum(axis=0)
    if absent := [name for name, pixels in zip(names, total.sum(axis=1), strict=True) if not pixels]:
        yield f"{split}: no true pixel of {', '.join(absent)}: without scores, and not part of any mean"
    only = confusion.only_prediction(total)
    if only is not None:
        yield f"{split}: every pixel is predicted as {names[only]}: the model tells no classes apart"


def confusion_rows(matrices: confusion.Counts, names: list[str]) -> list[dict[str, Any]]:
    """{actual, predicted, count} of every pair of classes, summed over the images."""
    total = matrices.sum(axis=0).tolist()
    return [
        {"actual": actual, "predicted": predicted, "count": count}
        for actual, row in zip(names, total, strict=True)
        for predicted, count in zip(names, row, strict=True)
    ]


def image_columns(names: Sequence[str], objects_of: Sequence[str] = (), *, calibrated: bool = False) -> list[str]:
    """The header of `image_rows`; `objects_of` are the classes whose objects are scored."""
    first = ["image", "group", "accuracy", "miou", *(f"{name}_{kind}" for name in names for kind in ("tp", "fp", "fn"))]
    of_objects = (f"{name}_objects_{kind}" for name in objects_of for kind in OBJECT_KINDS)
    return [*first, *of_objects, *([GAPS] if calibrated else [])]


def image_rows(
    matrices: confusion.Counts,
    index: processed.Index,
    matched: Sequence[Sequence[Matched]] | None = None,
    calibrated: Calibrated | None = None,
) -> list[tuple[Any, ...]]:
    """One row per image: stem, group, accuracy, mIoU over the classes in it, then tp, fp and fn of every class.

    Of each class with objects there follow tp, fp and fn of objects, the sum of the IoU of matches, and the score of
    each predicted object, the highest first: +0.9731 if it matches with an IoU of at least 0.5, otherwise -0.9731.
    The last cell has `calibration.gaps`, one for each bin.
    """
    cells = confusion.by_class(matrices)
    columns = zip(index.origins, confusion.accuracy(cells), confusion.miou(cells), cells, strict=True)
    found = matched if matched is not None else [()] * len(cells)
    gaps = [[" ".join(map(str, each))] for each in calibrated.gaps.tolist()] if calibrated else [[]] * len(cells)
    return [
        (
            *(origin.stem, origin.group, _defined(accuracy), _defined(miou)),
            *(*counts.ravel().tolist(), *_object_cells(each), *gap),
        )
        for (origin, accuracy, miou, counts), each, gap in zip(columns, found, gaps, strict=True)
    ]


def _object_cells(matched: Sequence[Matched]) -> Iterator[Any]:
    for match in matched:
        ranked = np.argsort(-match.predicted.scores, kind="stable")
        signs = ("+" if hit else "-" for hit in match.predicted.hits[ranked, 0])
        scores = match.predicted.scores[ranked].tolist()
        listed = (f"{sign}{score:.{object_scores.SCORE_DIGITS}f}" for sign, score in zip(signs, scores, strict=True))
        yield from (match.tp, match.fp, match.fn, match.iou, " ".join(listed))


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
