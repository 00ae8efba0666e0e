"""Confusion matrices of an evaluated split -> the numbers that are reported. N images, K classes."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pydantic import Field

from segline.core import params
from segline.dataset import processed
from segline.scoring import confusion

SCHEMA = "1"

Interval = dict[str, float]
# Cells (B, K, 3), see `confusion`, and the classes (K,) that means run over -> (B,).
Statistic = Callable[[confusion.Floats, confusion.Bools], confusion.Floats]


class Section(params.Section):
    """`split` is evaluated; `resamples` and `seed` are those of the bootstrap intervals."""

    split: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    batch_size: int = Field(ge=1, le=4096)
    resamples: int = Field(ge=100, le=100_000)
    seed: int = Field(ge=0, lt=2**32)


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
    table = [(label.name, label.rgb) for label in index.classes]
    threshold = [] if index.threshold is None else [index.threshold]
    content = json.dumps([images, table, index.values, index.void_is_class, index.encoding, *threshold])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def summary(
    own: confusion.Counts,
    working: confusion.Counts,
    seam_disagreement: float,
    index: processed.Index,
    section: Section,
) -> dict[str, Any]:
    """eval.json without its cost: `at` of the masks' own resolution, and under `working` of the working resolution.

    `seam_disagreement` is the share of the pixels in overlaps of tiles whose class the tiles differ on.
    """
    names = [label.name for label in index.classes]
    return at(own, names, section) | {
        "working": at(working, names, section),
        "seam_disagreement": seam_disagreement,
        "protocol": protocol(index),
    }


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
    Equals scipy's `bootstrap`, whose import takes longer than the draws. Source: Efron and Tibshirani 1993, ch. 13.
    """
    cells = confusion.by_class(matrices[matrices.any(axis=(1, 2))])
    if len(cells) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(0, len(cells), (resamples, len(cells)))
    flat = cells.reshape(len(cells), -1).astype(np.float64)  # for BLAS; exact, because sums stay below 2^53
    totals = np.stack([np.bincount(rows, minlength=len(cells)) @ flat for rows in drawn])
    values = statistic(totals.reshape(resamples, *cells.shape[1:]), confusion.present(cells.sum(axis=0)))
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


def image_columns(names: list[str]) -> list[str]:
    """The header of `image_rows`."""
    return ["image", "group", "accuracy", "miou", *(f"{name}_{kind}" for name in names for kind in ("tp", "fp", "fn"))]


def image_rows(matrices: confusion.Counts, index: processed.Index) -> list[tuple[Any, ...]]:
    """One row per image: stem, group, accuracy, mIoU over the classes in it, then tp, fp and fn of every class."""
    cells = confusion.by_class(matrices)
    columns = zip(index.origins, confusion.accuracy(cells), confusion.miou(cells), cells, strict=True)
    return [
        (origin.stem, origin.group, _defined(accuracy), _defined(miou), *counts.ravel().tolist())
        for origin, accuracy, miou, counts in columns
    ]


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
