"""Bytes of eval.json and per_image.csv -> the counts of one side, checked. N images, K classes.

Everything that can be checked is: a file that contradicts itself or the other one is refused.
"""

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segline.core.errors import DataError
from segline.gate import objects
from segline.gate.objects import Objects
from segline.gate.saved_metrics import Saved
from segline.reporting import formatting
from segline.scoring import calibration, confusion, evaluation

CONFLICT = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
FIRST = evaluation.image_columns([])
KINDS = ("tp", "fp", "fn")
ROUNDING = 1.5e-6  # scores are recorded with 6 decimals
_INTEGER = re.compile(r"-?[0-9]{1,15}\Z")
DIGITS = 15  # so that sums of counts stay exact in float64

Rate = Annotated[float, Field(ge=0, le=1)]


class _Scores(BaseModel):
    """What the gate reads of eval.json, which may contain more."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)

    accuracy: Rate
    miou: Rate
    iou: dict[str, Rate]
    ece: Rate | None = None
    cost: dict[str, Annotated[float, Field(ge=0)]]


@dataclass(frozen=True)
class Side:
    """One model on the evaluated split. `counts` is int64 (N, K, 3): tp, fp, fn of each class.

    `objects` are None if they were not scored, `gaps` int64 (N, B), see `segline.scoring.calibration`, in older files.
    """

    label: str
    commit: str | None
    classes: tuple[str, ...]
    stems: tuple[str, ...]
    groups: tuple[str | None, ...]
    counts: npt.NDArray[np.int64]
    cost: dict[str, float]
    objects: Objects | None = None
    gaps: npt.NDArray[np.int64] | None = None


def protocol(saved: Saved) -> dict[str, str]:
    """What was evaluated and how; no score is read. Raises DataError."""
    where = saved.evaluation_name
    entries = document_of(saved).get("protocol")
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise DataError(where, "protocol: expected an object of strings", saved.remedy)
    if missing := [key for key in formatting.PROTOCOL if key not in entries]:
        raise DataError(where, f"protocol.{missing[0]}: missing", saved.remedy)
    if entries["schema"] != evaluation.SCHEMA:
        problem = f"protocol.schema is {entries['schema']!r}, but this gate reads {evaluation.SCHEMA!r}"
        raise DataError(where, problem, f"Rebuild the metrics with this version: {saved.files.command}.")
    return entries


def classes(saved: Saved) -> tuple[str, ...] | None:
    """The classes that per_image.csv names, for messages, before the file is checked; None if it is broken."""
    try:
        return _classes(saved, _table(saved)[0])[0]
    except DataError:
        return None


def read(saved: Saved) -> Side:
    """One side, whose protocol has been checked. Raises DataError."""
    document = document_of(saved)
    try:
        scores = _Scores.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        got = "" if problem["type"] == "missing" else f", got {str(problem['input'])[:80]!r}"
        key = ".".join(map(str, problem["loc"]))
        raise DataError(saved.evaluation_name, f"{key}: {problem['msg'].lower()}{got}", saved.remedy) from None
    header, rows = _table(saved)
    gaps = None
    if header[-1] == evaluation.GAPS:
        gaps = np.array([_gaps(saved, row[0], row.pop()) for row in rows], np.int64)
    classes, objects_of = _classes(saved, header)
    end = len(FIRST) + len(KINDS) * len(classes)
    counts = [_counts(saved, row[0], row[len(FIRST) : end]) for row in rows]
    side = Side(
        saved.label,
        saved.commit,
        classes,
        tuple(row[0] for row in rows),
        tuple(row[1] or None for row in rows),
        np.array(counts, np.int64).reshape(len(rows), len(classes), len(KINDS)),
        scores.cost,
        _objects(saved, objects_of, {row[0]: row[end:] for row in rows}, document.get("objects")),
        gaps,
    )
    _require_sound(saved, side)
    _require_same_run(saved, side, scores, document["protocol"]["images"])
    return side


def _objects(
    saved: Saved, names: tuple[str, ...], fields: dict[str, list[str]], stated: dict[str, Any] | None
) -> Objects | None:
    if not names and stated is None:
        return None
    if not names or not isinstance(stated, dict):
        problem = f"objects are scored in one of it and {saved.files.per_image.name}, not in both"
        raise DataError(saved.evaluation_name, problem, f"Both files must come from one run: {saved.files.command}.")
    return objects.read(saved, names, fields, stated)


def document_of(saved: Saved) -> dict[str, Any]:
    """The content of its JSON file. Raises DataError."""
    where = saved.evaluation_name
    text = text_of(where, saved.evaluation, saved.remedy)

    def refuse(constant: str) -> NoReturn:
        raise DataError(where, f"contains {constant}, expected finite numbers", saved.remedy)

    try:
        document = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(where, f"not JSON ({error})", saved.remedy) from None
    if not isinstance(document, dict):
        raise DataError(where, f"expected an object, got {type(document).__name__}", saved.remedy)
    return document


def text_of(where: str, content: bytes, remedy: str) -> str:
    """The text of a file. Raises DataError if it is empty, not UTF-8 or has an unresolved conflict."""
    if not content.strip():
        raise DataError(where, "empty", remedy)
    if CONFLICT.search(content):
        raise DataError(where, "contains an unresolved merge conflict", remedy)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(where, f"not UTF-8 at byte {error.start}", remedy) from None


def _table(saved: Saved) -> tuple[list[str], list[list[str]]]:
    where = saved.per_image_name
    text = text_of(where, saved.per_image, saved.remedy)
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except csv.Error as error:
        raise DataError(where, f"not CSV ({error})", saved.remedy) from None
    if not rows:
        raise DataError(where, "no images", saved.remedy)
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(where, f"row {number}: {len(row)} fields, but {len(header)} columns", saved.remedy)
    stems = [row[0] for row in rows]
    if len(set(stems)) < len(stems):
        duplicate = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(where, f"duplicate image {duplicate!r}", saved.remedy)
    return header, rows


def _classes(saved: Saved, header: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All classes, and those whose objects are scored."""
    header = header[:-1] if header[-1] == evaluation.GAPS else header
    objects_of = objects.classes(header)
    end = len(header) - len(objects.KINDS) * len(objects_of)
    names = [column.removesuffix("_tp") for column in header[len(FIRST) : end : len(KINDS)]]
    if not names or header != evaluation.image_columns(names, objects_of) or len(set(names)) < len(names):
        problem = f"columns {', '.join(header)[:80]!r}, expected {', '.join(FIRST)}, then CLASS_tp, CLASS_fp, CLASS_fn"
        raise DataError(saved.per_image_name, problem, saved.remedy)
    return tuple(names), objects_of


def _counts(saved: Saved, stem: str, cells: list[str]) -> list[int]:
    for cell in cells:
        if not (cell.isascii() and cell.isdigit() and len(cell) <= DIGITS):
            raise DataError(saved.per_image_name, f"image {stem!r}: {cell[:80]!r} is not a count", saved.remedy)
    return [int(cell) for cell in cells]


def _gaps(saved: Saved, stem: str, cell: str) -> list[int]:
    numbers = cell.split()
    if len(numbers) != calibration.BINS or not all(_INTEGER.match(each) for each in numbers):
        problem = f"image {stem!r}: {cell[:80]!r}, expected {calibration.BINS} whole numbers"
        raise DataError(saved.per_image_name, problem, saved.remedy)
    return [int(each) for each in numbers]


def _require_sound(saved: Saved, side: Side) -> None:
    """Raises DataError unless fp and fn of an image add up to the same: every wrong pixel is one of each."""
    wrong = side.counts[..., 1:].sum(axis=1)
    if bad := [stem for stem, (fp, fn) in zip(side.stems, wrong.tolist(), strict=True) if fp != fn]:
        problem = f"image {bad[0]!r}: expected as many fp as fn, summed over the classes"
        raise DataError(saved.per_image_name, problem, saved.remedy)
    if not confusion.truth(side.counts).any():
        raise DataError(saved.per_image_name, "no labelled pixels", saved.remedy)


def _require_same_run(saved: Saved, side: Side, scores: _Scores, images: str) -> None:
    """Raises DataError unless the scores of eval.json follow from the counts, so that both files are of one run."""
    total = side.counts.sum(axis=0)
    present = confusion.present(total)
    iou = zip(side.classes, confusion.iou(total), present, strict=True)
    counted = {f"iou.{name}": float(value) for name, value, is_present in iou if is_present}
    counted |= {"accuracy": float(confusion.accuracy(total)), "miou": float(confusion.miou(total))}
    stated = {f"iou.{name}": value for name, value in scores.iou.items()}
    stated |= {"accuracy": scores.accuracy, "miou": scores.miou}
    remedy = f"Both files must come from one run: {saved.files.command}."
    where, other = saved.evaluation_name, saved.files.per_image.name
    if (side.gaps is None) != (scores.ece is None):
        raise DataError(where, f"ece is in one of it and {other}, not in both", remedy)
    if side.gaps is not None and scores.ece is not None:
        counted["ece"] = float(calibration.ece(side.gaps.sum(axis=0), confusion.truth(total).sum()))
        stated["ece"] = scores.ece
    if names := sorted(counted.keys() ^ stated.keys()):
        raise DataError(where, f"{names[0]}: expected IoU for exactly the classes with true pixels in {other}", remedy)
    if images != str(len(side.stems)):
        raise DataError(where, f"protocol.images is {images}, but {other} has {len(side.stems)}", remedy)
    for name, value in counted.items():
        if abs(stated[name] - value) > ROUNDING:
            raise DataError(where, f"{name} is {stated[name]}, but the counts of {other} give {value:.6f}", remedy)
