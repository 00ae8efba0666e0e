"""The objects of one side, as per_image.csv lists them: checked, and scored in resamples.

N images, C classes with objects, U units that are resampled (images, or groups of them), B resamples.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.gate.saved_metrics import Saved, per_image
from segline.scoring import average_precision, evaluation
from segline.scoring import objects as scores
from segline.scoring.average_precision import Predicted, Ranking

METRICS = tuple(evaluation.OBJECT_RATES)  # that can be held
KINDS = evaluation.OBJECT_KINDS
ROUNDING = 1.5e-6  # scores are recorded with 6 decimals
_COUNT = re.compile(r"^[0-9]{1,15}$", re.ASCII)
_NUMBER = re.compile(r"^[0-9]{1,15}\.[0-9]{6}$", re.ASCII)
_OBJECT = re.compile(r"^([+-])([01]\.[0-9]{4})$", re.ASCII)
_SUFFIX = f"_objects_{KINDS[-1]}"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Objects:
    """`cells` float64 (N, C, 4): tp, fp, fn and the sum of IoU; `predicted` are the objects of each class, (C, N).

    `data` is the fingerprint of the true numbers and their classes.
    """

    classes: tuple[str, ...]
    cells: Floats
    predicted: tuple[tuple[Predicted, ...], ...]
    data: str

    @property
    def truths(self) -> npt.NDArray[np.int64]:
        """True objects of each class in each image: (N, C)."""
        return (self.cells[..., 0] + self.cells[..., 2]).astype(np.int64)

    def of(self, rows: Sequence[int]) -> "Objects":
        """Those of these images, in their order."""
        predicted = tuple(tuple(images[row] for row in rows) for images in self.predicted)
        return Objects(self.classes, self.cells[list(rows)], predicted, self.data)

    def and_of(self, others: Sequence["Objects"]) -> "Objects":
        """Those of these images, then those of others."""
        every = [self, *others]
        cells = np.concatenate([each.cells for each in every])
        predicted = zip(*(each.predicted for each in every), strict=True)
        return Objects(self.classes, cells, tuple(tuple(chain(*images)) for images in predicted), self.data)

    def units(self, unit: Sequence[int]) -> "Units":
        """With image i in unit `unit[i]`."""
        place = np.array(unit)
        cells = np.zeros((int(place.max()) + 1, *self.cells.shape[1:]))
        np.add.at(cells, place, self.cells)
        rankings = []
        for images in self.predicted:
            ranked = average_precision.ranking(images)
            truths = np.bincount(place, ranked.truths, minlength=len(cells)).astype(np.int64)
            rankings.append(Ranking(place[ranked.images], ranked.hits, ranked.ignored, truths))
        return Units(cells, tuple(rankings))


@dataclass(frozen=True)
class Units:
    """What is resampled: `cells` (U, C, 4), and of each class a ranking whose `images` are units."""

    cells: Floats
    rankings: tuple[Ranking, ...]

    def score(self, metric: str, weights: Floats) -> Floats:
        """pq or ap50, the mean over the classes with a true object, in resamples with these weights (B, U): (B,)."""
        if metric == "pq":
            quality = scores.panoptic(np.tensordot(weights, self.cells, axes=1))
            return scores.mean(quality[..., 0])
        ap = [average_precision.of_resamples(ranked, weights)[:, 0] for ranked in self.rankings]
        return scores.mean(np.stack(ap, axis=-1))


def classes(header: Sequence[str]) -> tuple[str, ...]:
    """The classes whose objects per_image.csv lists: its last columns, `KINDS` of each."""
    return tuple(column.removesuffix(_SUFFIX) for column in header if column.endswith(_SUFFIX))


def read(saved: Saved, names: Sequence[str], fields: Mapping[str, Sequence[str]], stated: Mapping[str, Any]) -> Objects:
    """The objects of classes `names`, checked against `objects` of eval.json, `stated`.

    `fields` maps each image to its fields, `KINDS` of each class. Raises DataError if they contradict themselves or
    eval.json.
    """
    width = len(KINDS)
    cells, predicted = [], []
    for stem, row in fields.items():
        parts = [row[width * place : width * (place + 1)] for place in range(len(names))]
        counts, objects = zip(*(_cell(saved, stem, part) for part in parts), strict=True)
        cells.append(counts)
        predicted.append(objects)
    if not isinstance(data := stated.get("data"), str):
        raise DataError(saved.evaluation_name, "objects.data: expected a string", saved.remedy)
    found = Objects(tuple(names), np.array(cells, np.float64), tuple(zip(*predicted, strict=True)), data)
    _require_same_run(saved, found, stated)
    return found


def _cell(saved: Saved, stem: str, fields: Sequence[str]) -> tuple[tuple[float, ...], Predicted]:
    """tp, fp, fn, the sum of IoU and the predicted objects of one class in one image."""
    *counts, iou, listed = fields
    numbers = [int(each) for each in counts if _COUNT.match(each)]
    objects = [_OBJECT.match(each) for each in listed.split()]
    sound = len(numbers) == len(counts) and bool(_NUMBER.match(iou)) and all(objects)
    if sound:
        tp, fp, fn = numbers
        hits = np.array([each[1] == "+" for each in objects if each], np.bool_)
        ranked = np.array([float(each[2]) for each in objects if each])
        total = float(iou)
        sound = tp + fp == len(ranked) and tp <= hits.sum() and tp / 2 - ROUNDING <= total <= tp + ROUNDING
        if sound and (ranked <= 1).all() and (np.diff(ranked) <= 0).all():
            return (tp, fp, fn, total), Predicted(ranked, hits[:, None], np.zeros((len(hits), 1), np.bool_), tp + fn)
    problem = f"image {stem!r}: objects that contradict themselves: {', '.join(fields)[:80]!r}"
    raise DataError(saved.per_image_name, problem, saved.remedy)


def _require_same_run(saved: Saved, found: Objects, stated: Mapping[str, Any]) -> None:
    """Raises DataError unless the scores of eval.json follow from the objects, so that both files are of one run."""
    units = found.units(range(len(found.cells)))
    once = np.ones((1, len(found.cells)))
    for metric in METRICS:
        value, expected = stated.get(metric), float(units.score(metric, once)[0])
        if value is None and np.isnan(expected):
            continue
        if not isinstance(value, int | float) or not abs(value - expected) <= ROUNDING:
            problem = f"objects.{metric} is {value}, but the objects of {per_image().name} give {expected:.6f}"
            raise DataError(saved.evaluation_name, problem, "Both files must come from one run: make repro.")
