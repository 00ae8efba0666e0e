"""Reads what train and evaluate wrote, and checks it. Knows the fields of the files, not how they were computed."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from segline.core import records, untrusted
from segline.core.errors import DataError
from segline.dataset import npy, onehot, processed
from segline.dataset.history import Epoch, Rate
from segline.dataset.objects import semantic

REMEDY = "Write it again: dvc repro -f train evaluate."
FEW = 10  # images; a rule of thumb: with fewer, percentile intervals are far too narrow


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


RecordType = TypeVar("RecordType")
Content = TypeVar("Content")
_EMPTY_IS_NONE = BeforeValidator(lambda field: None if field == "" else field)
RateCell = Annotated[Rate | None, _EMPTY_IS_NONE]


class _Training(_Record):
    epoch: int = Field(ge=1)


class ClassScore(_Record):
    """One row of per_class.csv; None is undefined."""

    name: str = Field(alias="class")
    iou: RateCell
    accuracy: RateCell
    dice: RateCell
    pixels: int = Field(ge=0)


class ImageScore(_Record):
    """The scores in one row of per_image.csv; None is undefined (every pixel of the image is void)."""

    stem: str = Field(alias="image")
    group: Annotated[str | None, _EMPTY_IS_NONE]
    accuracy: RateCell
    miou: RateCell


class Interval(_Record):
    """A 95 % interval."""

    low: Rate
    high: Rate


class Rates(_Record):
    """The four headline scores at one resolution, with 95 % intervals for some; None is undefined."""

    accuracy: Rate | None = None
    miou: Rate | None = None
    mean_class_accuracy: Rate | None = None
    mean_dice: Rate | None = None
    interval: dict[str, Interval] = {}


class Bin(_Record):
    """The pixels whose confidence is in one of equal bins; rates are undefined without one."""

    pixels: int = Field(ge=0)
    accuracy: Rate | None = None
    confidence: Rate | None = None


class Calibration(_Record):
    """The section `calibration` of eval.json: the temperature of the probabilities, and their bins from 0 to 1."""

    temperature: float = Field(gt=0)
    bins: list[Bin] = Field(min_length=1)


class ObjectRates(_Record):
    """Average precision and panoptic quality of objects; None is undefined."""

    ap: Rate | None = None
    ap50: Rate | None = None
    ap75: Rate | None = None
    pq: Rate | None = None
    sq: Rate | None = None
    rq: Rate | None = None


class ClassObjects(ObjectRates):
    """Those of one class, and its counts of objects."""

    tp: int = Field(ge=0)
    fp: int = Field(ge=0)
    fn: int = Field(ge=0)


class AllObjects(ObjectRates):
    """The section `objects` of eval.json: means over the classes that have a true object, and 95 % intervals."""

    classes: dict[str, ClassObjects]
    interval: dict[str, Interval]


class Evaluation(Rates):
    """eval.json: the scores at the masks' own resolution; `working` are those at the network's.

    `ece` is the expected calibration error. `seam_disagreement` is the share of the pixels in overlaps of tiles that
    these do not agree on; `objects` are None if they were not scored.
    """

    working: Rates
    ece: Rate | None = None
    calibration: Calibration
    seam_disagreement: Rate | None = None
    cost: dict[str, float]
    protocol: dict[str, str | int | float]
    objects: AllObjects | None = None


@dataclass(frozen=True)
class Results:
    """All results. `confusion` is int64 (K, K), rows actual, columns predicted; `images` are in the split's order."""

    history: Sequence[Epoch]
    evaluation: Evaluation
    classes: Sequence[ClassScore]
    images: Sequence[ImageScore]
    confusion: npt.NDArray[np.int64]

    @property
    def absent(self) -> list[str]:
        """The classes without a true pixel."""
        return [score.name for score in self.classes if not score.pixels]

    @property
    def only_prediction(self) -> str | None:
        """The class that every pixel is predicted as; None if there are several, or one in all."""
        predicted = np.flatnonzero(self.confusion.sum(axis=0))
        return self.classes[predicted[0]].name if len(predicted) == 1 < len(self.classes) else None

    @property
    def few(self) -> bool:
        """Whether too few images have a score for intervals to be trusted."""
        return sum(image.accuracy is not None for image in self.images) < FEW


def read(
    index: processed.Index, *, history: Path, evaluation: Path, per_class: Path, per_image: Path, confusion: Path
) -> Results:
    """The results in these files, checked against the index of the split, without borders. Raises DataError."""
    return Results(
        history=read_history(history),
        evaluation=read_evaluation(evaluation),
        classes=read_classes(per_class, index),
        images=read_images(per_image, index),
        confusion=read_confusion(confusion, index),
    )


def read_history(path: Path) -> list[Epoch]:
    """The epochs in order; at least one. Raises DataError."""
    return read_table(path, Epoch)


def read_kept_epoch(path: Path) -> int:
    """The number of the epoch whose weights train kept, from train.json. Raises DataError."""
    return _checked(path, records.read_json(path), _Training).epoch


def read_evaluation(path: Path) -> Evaluation:
    """The content of eval.json. Raises DataError."""
    return _checked(path, records.read_json(path), Evaluation)


def read_classes(path: Path, index: processed.Index) -> list[ClassScore]:
    """One score per class of `index`, in its order. Raises DataError."""
    scores = read_table(path, ClassScore)
    _require_same(path, "classes", [score.name for score in scores], [label.name for label in index.classes])
    return scores


def read_images(path: Path, index: processed.Index) -> list[ImageScore]:
    """One score per image of `index`, in its order. Raises DataError."""
    scores = read_table(path, ImageScore)
    _require_same(path, "images", [score.stem for score in scores], [origin.stem for origin in index.origins])
    return scores


def read_confusion(path: Path, index: processed.Index) -> npt.NDArray[np.int64]:
    """The matrix as int64 (K, K), rows actual, columns predicted. Raises DataError."""
    names = [label.name for label in index.classes]
    cells = _checked(path, records.read_json(path), list[_Cell])
    counts = {(cell.actual, cell.predicted): cell.count for cell in cells}
    pairs = [(actual, predicted) for actual in names for predicted in names]
    if len(cells) != len(pairs) or counts.keys() != set(pairs):
        problem = f"{len(cells)} cells, expected one for each of the {len(pairs)} pairs of classes"
        raise DataError(path, problem, REMEDY)
    return np.array([counts[pair] for pair in pairs], np.int64).reshape(len(names), len(names))


class _Cell(_Record):
    actual: str
    predicted: str
    count: int = Field(ge=0, lt=2**63)


def read_predictions(path: Path, split: processed.Split) -> npt.NDArray[np.uint8]:
    """Class indices uint8 (N, H, W), memory-mapped. Raises DataError if they do not fit `split`."""
    return read_rows(path, split, len(semantic(split.index.classes, split.index.objects)))


def read_rows(path: Path, split: processed.Split, num_values: int) -> npt.NDArray[np.uint8]:
    """Values uint8 (N, H, W) below `num_values`, memory-mapped. Raises DataError if they do not fit `split`."""
    rows = _array(path)
    shape = split.images.shape[:3]
    if rows.dtype != np.uint8 or rows.shape != shape:
        problem = f"{rows.dtype} {rows.shape}, expected uint8 {shape}"
        raise DataError(path, problem, REMEDY)
    if rows.size and rows.max() >= num_values:
        raise DataError(path, f"class {rows.max()}, expected 0..{num_values - 1}", REMEDY)
    return rows


def read_augmented(folder: Path, index: processed.Index) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Training samples as the network saw them: uint8 (n, h, w, C), and classes uint8 (n, h, w) with `onehot.VOID`.

    Raises DataError if they do not fit each other, or the channels and classes of `index`.
    """
    images, classes = _array(folder / "images.npy"), _array(folder / "classes.npy")
    num_classes = len(index.classes)
    fits = classes.ndim == 3 and len(classes) and images.shape == (*classes.shape, index.preparation.channels)
    if not fits or images.dtype != np.uint8 or classes.dtype != np.uint8:
        problem = f"images {images.dtype} {images.shape} and classes {classes.dtype} {classes.shape} do not fit"
        raise DataError(folder, problem, REMEDY)
    if unknown := {*np.unique(classes).tolist()} - {*range(num_classes), onehot.VOID}:
        raise DataError(folder, f"class {min(unknown)}, expected 0..{num_classes - 1} or {onehot.VOID}", REMEDY)
    return images, classes


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        return npy.map_array(path)
    except OSError as error:
        raise DataError(path, untrusted.problem(error), REMEDY) from None
    except ValueError as error:
        raise DataError(path, f"not a NumPy array ({error})", REMEDY) from None


def read_table(path: Path, model: type[RecordType], *, empty: bool = False) -> list[RecordType]:
    """The rows of a CSV file, which may only be `empty` if that is said. Raises DataError."""
    try:
        rows = records.read_csv(path)
    except UnicodeDecodeError as error:
        raise DataError(path, f"not UTF-8 at byte {error.start}", REMEDY) from None
    except csv.Error as error:
        raise DataError(path, f"not CSV ({error})", REMEDY) from None
    if not rows and not empty:
        raise DataError(path, "no rows, expected at least one", REMEDY)
    if long := [place for place, row in enumerate(rows, 1) if None in row]:  # DictReader puts surplus fields under None
        raise DataError(path, f"row {long[0]}: more fields than the header", REMEDY)
    return _checked(path, rows, list[model])  # type: ignore[valid-type]


def _checked(path: Path, content: Any, shape: type[Content]) -> Content:
    try:
        return TypeAdapter(shape).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ": ".join(f"row {part + 1}" if isinstance(part, int) else part for part in first["loc"])
        got = "" if first["type"] == "missing" else f", got {str(first['input'])[:80]!r}"
        message = first["msg"][0].lower() + first["msg"][1:]
        raise DataError(path, f"{place}: {message}{got}".removeprefix(": "), REMEDY) from None


def _require_same(path: Path, what: str, names: list[str], expected: list[str]) -> None:
    if len(names) != len(expected):
        raise DataError(path, f"{len(names)} {what}, but the processed split has {len(expected)}", REMEDY)
    for row, (name, wanted) in enumerate(zip(names, expected, strict=True)):
        if name != wanted:
            raise DataError(path, f"row {row + 1} is {name!r}, but the processed split has {wanted!r}", REMEDY)
