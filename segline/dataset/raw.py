"""The raw data set on disk: `dataset.json` beside one folder per split.

    data/raw/dataset.json
    data/raw/<split>/<Pair.image>      exactly as published
    data/raw/<split>/<Pair.mask>

This module knows names, never pixels.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from segline.core import atomic, untrusted
from segline.core.errors import DataError

DATASET_FILE = "dataset.json"
MAX_BYTES = 1 << 30  # of that file: room for two million pairs
FORMATS = {  # of images and masks, with their suffixes in lower case
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "WebP": (".webp",),
    "GIF": (".gif",),
}
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Encoding of a mask -> how many values it can have: samples of up to 16 bits, or colours r << 16 | g << 8 | b,
# which are those of the pixels (rgb) or those that the mask's own palette gives to them (palette).
ENCODINGS = {"index": 1 << 16, "palette": 1 << 24, "rgb": 1 << 24}

CLOSED = ConfigDict(extra="forbid")  # a file with a field more than its dataclass is refused
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _plain(name: str) -> str:
    if _CONTROL.search(name):
        raise ValueError("expected a name without line breaks and other control characters")
    return name


# What files may contain, checked where they are read.
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Shade = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Shade, Shade, Shade]
Value = Annotated[int, Field(ge=0, lt=1 << 24)]
RelativePath = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
Group = Annotated[str, Field(max_length=4096)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Label:
    """The name of a class and the colour it is drawn in (three integers 0..255)."""

    __pydantic_config__ = CLOSED

    name: Name
    rgb: Rgb


@dataclass(frozen=True)
class Void:
    """The mask value that means "not labelled", and the colour it is drawn in."""

    __pydantic_config__ = CLOSED

    value: Value
    rgb: Rgb


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and its mask. Paths are relative to the folder of the split, POSIX style.

    Pairs of one `group` are not independent, such as frames of one video; None if unknown. `objects` is a 16-bit PNG of
    object numbers, 0 = no object; None if the source knows of none.
    """

    __pydantic_config__ = CLOSED

    stem: RelativePath
    group: Group | None
    image: RelativePath
    mask: RelativePath
    sha256_image: Sha256
    sha256_mask: Sha256
    objects: RelativePath | None = None
    sha256_objects: Sha256 | None = None


@dataclass(frozen=True)
class Dataset:
    """Class k of `classes` has mask value `values[k]`, a sample or a colour depending on `encoding`.

    With a `threshold` the mask values are 1 where the mask is above it, and 0 elsewhere. Pairs of a split are sorted
    by stem.
    """

    __pydantic_config__ = CLOSED

    name: Name
    classes: tuple[Label, ...]
    values: tuple[Value, ...]
    void: Void | None
    encoding: str
    splits: Mapping[str, Sequence[Pair]]
    threshold: int | None = None


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


def write(folder: Path, dataset: Dataset) -> None:
    """Writes `folder/dataset.json`: pairs sorted by stem, keys sorted, the same bytes for the same value."""
    splits = {split: sorted(pairs, key=lambda pair: pair.stem) for split, pairs in dataset.splits.items()}
    encoder = json.JSONEncoder(indent=1, sort_keys=True, default=asdict)  # pair by pair: a text of all takes memory
    with atomic.file(folder / DATASET_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(encoder.iterencode(vars(dataset) | {"splits": splits}))
        stream.write("\n")


def read(folder: Path) -> Dataset:
    """The data set in `folder`. Raises DataError if `dataset.json` is missing or is not what `write` makes."""
    path = folder / DATASET_FILE
    try:
        dataset = untrusted.parse_json(untrusted.read(path, MAX_BYTES), TypeAdapter(Dataset))
    except FileNotFoundError:
        raise DataError(path, "missing", "Run the download stage: dvc repro download.") from None
    except OSError as error:
        raise DataError(path, untrusted.problem(error), "Check the file and its permissions.") from None
    except ValueError as error:
        remedy = "Run the download stage again: dvc repro -f download."
        raise DataError(path, f"not a data set index ({error})", remedy) from None
    if dataset.encoding not in ENCODINGS:
        problem = f"mask encoding {dataset.encoding!r}, expected one of {tuple(ENCODINGS)}"
        raise DataError(path, problem, "Run download again.")
    return dataset
