"""The raw data set on disk: `dataset.json` beside one folder per split.

    data/raw/dataset.json
    data/raw/<split>/<Pair.image>      exactly as published
    data/raw/<split>/<Pair.mask>

This module knows names, never pixels.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segline.core import atomic
from segline.core.errors import DataError

DATASET_FILE = "dataset.json"
FORMATS = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg")}  # of images and masks, with their suffixes in lower case
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Encoding of a mask -> how many values it can have: samples of up to 16 bits, or colours r << 16 | g << 8 | b.
ENCODINGS = {"index": 1 << 16, "rgb": 1 << 24}


@dataclass(frozen=True)
class Label:
    """The name of a class and the colour it is drawn in (three integers 0..255)."""

    name: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Void:
    """The mask value that means "not labelled", and the colour it is drawn in."""

    value: int
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Pair:
    """One image and its mask. Paths are relative to the folder of the split, POSIX style.

    Pairs of one `group` are not independent, such as frames of one video; None if unknown.
    """

    stem: str
    group: str | None
    image: str
    mask: str
    sha256_image: str
    sha256_mask: str


@dataclass(frozen=True)
class Dataset:
    """Class k of `classes` has mask value `values[k]`, a sample or a colour depending on `encoding`.

    Pairs of a split are sorted by stem.
    """

    name: str
    classes: tuple[Label, ...]
    values: tuple[int, ...]
    void: Void | None
    encoding: str
    splits: Mapping[str, Sequence[Pair]]


def summary(dataset: Dataset) -> str:
    """Name, number of classes, and for each split the number of pairs and of the groups that they come from."""
    counts = (
        f"{split} {len(pairs)} ({len({pair.group for pair in pairs} - {None})})"
        for split, pairs in dataset.splits.items()
    )
    return f"{dataset.name}, {len(dataset.classes)} classes; pairs (groups): {', '.join(counts)}"


def name_key(name: str) -> str:
    """Equal for names that some file system does not tell apart: those that differ in case or Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def labels_from_json(rows: Any) -> tuple[Label, ...]:
    """The class table as written by `asdict`; raises KeyError, TypeError or ValueError on anything else."""
    return tuple(Label(str(row["name"]), _rgb(row["rgb"])) for row in rows)


def void_from_json(row: Any) -> Void | None:
    """The void entry as written by `asdict`; raises as `labels_from_json` does."""
    return None if row is None else Void(int(row["value"]), _rgb(row["rgb"]))


def _rgb(values: Any) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    return red, green, blue


def write(folder: Path, dataset: Dataset) -> None:
    """Writes `folder/dataset.json`: pairs sorted by stem, keys sorted, the same bytes for the same value."""
    content = asdict(dataset)
    content["splits"] = {
        split: [asdict(pair) for pair in sorted(pairs, key=lambda pair: pair.stem)]
        for split, pairs in dataset.splits.items()
    }
    with atomic.file(folder / DATASET_FILE) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> Dataset:
    """The data set in `folder`. Raises DataError if `dataset.json` is missing or is not what `write` makes."""
    path = folder / DATASET_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        dataset = Dataset(
            name=str(content["name"]),
            classes=labels_from_json(content["classes"]),
            values=tuple(int(value) for value in content["values"]),
            void=void_from_json(content["void"]),
            encoding=str(content["encoding"]),
            splits={split: [Pair(**pair) for pair in pairs] for split, pairs in content["splits"].items()},
        )
    except FileNotFoundError:
        raise DataError(path, "missing", "Run the download stage: dvc repro download.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Run the download stage again: dvc repro -f download."
        raise DataError(path, f"not a data set index ({type(error).__name__}: {error})", remedy) from None
    if dataset.encoding not in ENCODINGS:
        problem = f"mask encoding {dataset.encoding!r}, expected one of {tuple(ENCODINGS)}"
        raise DataError(path, problem, "Run download again.")
    return dataset
