"""Counts of an evaluated split -> the numbers that are reported. N images, K classes."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from segline.core import params
from segline.dataset import processed
from segline.scoring import confusion

SCHEMA = "1"

Interval = dict[str, float]
Statistic = Callable[[confusion.Scores], float]


class Section(params.Section):
    """`split` is evaluated; `resamples` and `seed` make the bootstrap intervals."""

    split: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    batch_size: int = Field(ge=1, le=4096)
    resamples: int = Field(ge=100, le=100_000)
    seed: int = Field(ge=0, lt=2**32)


def protocol(index: processed.Index) -> dict[str, str]:
    """What was evaluated and how: two results compare only where all of this is equal."""
    void = "none" if index.void is None else "class" if index.void_is_class else "ignored"
    return {
        "data": data_hash(index),
        "images": str(len(index.rows)),
        "resolution": "that of the masks",
        "schema": SCHEMA,
        "split": index.split,
        "void": void,
    }


def data_hash(index: processed.Index) -> str:
    """The first 16 hex digits of a SHA-256 over the split's images, masks, class table and merging."""
    rows = [(row.stem, row.group, row.sha256_image, row.sha256_mask) for row in index.rows]
    table = [(label.name, label.rgb) for label in index.classes]
    content = json.dumps([rows, table, index.values, index.void_is_class, index.encoding])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def summary(
    own: confusion.Counts, working: confusion.Counts, index: processed.Index, section: Section
) -> dict[str, Any]:
    """eval.json without its cost: `at` of the counts at the masks' own resolution, and under `working` at that one."""
    names = [label.name for label in index.classes]
    return at(own, names, section) | {"working": at(working, names, section), "protocol": protocol(index)}


def at(counts: confusion.Counts, names: list[str], section: Section) -> dict[str, Any]:
    """The scores of int64 (N, K, K) counts, summed over the images first.

    Four rates, IoU of each class that has a truth pixel (the set that mIoU is the mean over), and 95 % intervals of
    accuracy and mIoU. What is undefined is left out.
    """
    scores = confusion.scores(counts.sum(axis=0))
    iou = {name: float(value) for name, value, there in zip(names, scores.iou, scores.present, strict=True) if there}
    statistics: dict[str, Statistic] = {"accuracy": lambda s: s.accuracy, "miou": lambda s: s.miou}
    bounds = {
        name: interval_over_images(counts, statistic, section.resamples, section.seed)
        for name, statistic in statistics.items()
    }
    rates = {name: rate for name, rate in means(counts).items() if rate is not None}
    return rates | {
        "iou": iou,
        "interval": {name: bound for name, bound in bounds.items() if bound is not None},
    }


def interval_over_images(counts: confusion.Counts, statistic: Statistic, resamples: int, seed: int) -> Interval | None:
    """A 95 % bootstrap interval: the 2.5 % and 97.5 % percentiles of `statistic` under resampling of images: {"low", "high"}.

    `counts` is int64 (N, K, K), one matrix an image; images without a labelled pixel are left out, and fewer than two
    have no interval (None). Each resample sums as many matrices as there are and scores the sum. The set of classes is
    that of all images; one that a resample holds neither in truth nor in prediction has no IoU there and leaves its
    mean. As scipy's `bootstrap`, whose import takes longer than the draws. Source: Efron and Tibshirani 1993, ch. 13.
    """
    counts = counts[counts.any(axis=(1, 2))]
    if len(counts) < 2:
        return None
    classes = confusion.present(counts.sum(axis=0))
    drawn = np.random.default_rng(seed).integers(0, len(counts), (resamples, len(counts)))
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # exact: sums stay below 2^53; and BLAS knows no integers
    values = []
    for rows in drawn:
        total = (np.bincount(rows, minlength=len(counts)) @ flat).astype(np.int64).reshape(counts.shape[1:])
        values.append(statistic(confusion.scores(total, classes)))
    low, high = np.percentile(values, [2.5, 97.5])
    return {"low": float(low), "high": float(high)}


def means(counts: confusion.Counts) -> dict[str, float | None]:
    """The four rates of int64 (N, K, K) counts, summed over the images first; None if no pixel is labelled."""
    scores = confusion.scores(counts.sum(axis=0))
    return {
        "accuracy": _defined(scores.accuracy),
        "mean_class_accuracy": _defined(scores.mean_class_accuracy),
        "mean_dice": _defined(scores.mean_dice),
        "miou": _defined(scores.miou),
    }


def class_rows(counts: confusion.Counts, names: list[str]) -> list[tuple[Any, ...]]:
    """(class, iou, accuracy, dice, pixels) a class; None where undefined."""
    total = counts.sum(axis=0)
    scores = confusion.scores(total)
    columns = zip(names, scores.iou, scores.class_accuracy, scores.dice, total.sum(axis=1), strict=True)
    return [(name, *map(_defined, rates), int(pixels)) for name, *rates, pixels in columns]


def confusion_rows(counts: confusion.Counts, names: list[str]) -> list[dict[str, Any]]:
    """{actual, predicted, count} of every pair of classes, summed over the images."""
    total = counts.sum(axis=0).tolist()
    return [
        {"actual": actual, "predicted": predicted, "count": count}
        for actual, row in zip(names, total, strict=True)
        for predicted, count in zip(names, row, strict=True)
    ]


def image_columns(names: list[str]) -> list[str]:
    """The header of `image_rows`."""
    return ["image", "group", "accuracy", "miou", *(f"{name}_{kind}" for name in names for kind in ("tp", "fp", "fn"))]


def image_rows(counts: confusion.Counts, index: processed.Index) -> list[tuple[Any, ...]]:
    """One row an image: stem, group, accuracy, mIoU over the classes in it, then tp, fp, fn of every class."""
    return [_image_row(matrix, row) for matrix, row in zip(counts, index.rows, strict=True)]


def _image_row(matrix: confusion.Counts, row: processed.Row) -> tuple[Any, ...]:
    scores = confusion.scores(matrix)
    hit = np.diagonal(matrix)
    cells = np.stack([hit, matrix.sum(axis=0) - hit, matrix.sum(axis=1) - hit], axis=1)
    return (row.stem, row.group, _defined(scores.accuracy), _defined(scores.miou), *cells.ravel().tolist())


def _defined(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
