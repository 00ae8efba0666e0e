"""The processed format on disk, one folder per split.

    images-00000.npy, ...   uint8 (N, H, W, C) in parts, see `segline.dataset.parts`
    onehot-00000.npy, ...   uint8 (N, H, W, ceil(K / 8)), see `segline.dataset.onehot`; its parts have the same rows
    index.json              the origin of each row: `Index`, with the SHA-256 of all parts and of itself

A row is a whole image or a tile of one, see `segline.dataset.tiling`.

Readers memory-map the arrays, so a split may be larger than memory. They compare the digests first, once.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from segline.core import atomic, seal, untrusted
from segline.core.errors import DataError, IntegrityError
from segline.dataset import objects, parts, raw, tiling
from segline.dataset.objects import Objects
from segline.dataset.onehot import packed_size
from segline.dataset.parts import Rows
from segline.dataset.preparation import Preparation
from segline.dataset.raw import Label, Void

IMAGES, ONEHOT, INDEX = "images", "onehot", "index.json"
OLD_IMAGES = "images.npy"
Side = Annotated[int, Field(ge=1, le=1 << 26)]
Class = Annotated[int, Field(ge=0, le=254)]
REMEDY = "Run the preprocess stage again: dvc repro -f preprocess."


@dataclass(frozen=True, slots=True)
class Origin:
    """An image that rows come from. `height` and `width` are its own, once it is upright; paths are relative to the raw
    split. `page` is that of both files, from 1, if they have several; `no_data`: some of its pixels have no value.
    `objects` are its object numbers (see `raw.Pair`), None unless the index has objects.
    """

    __pydantic_config__ = raw.CLOSED

    stem: raw.RelativePath
    group: str | None
    height: Side
    width: Side
    image: raw.RelativePath
    mask: raw.RelativePath
    sha256_image: raw.Sha256
    sha256_mask: raw.Sha256
    page: Annotated[int, Field(ge=1)] | None = None
    no_data: bool = False
    objects: raw.RelativePath | None = None
    sha256_objects: raw.Sha256 | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The number of its origin, and where the row lies in the working image, see `segline.dataset.tiling`."""

    __pydantic_config__ = raw.CLOSED

    origin: Annotated[int, Field(ge=0)]
    top: Annotated[int, Field(ge=0)]
    left: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Index:
    """Row i describes images[i] and onehot[i]. `classes` has K entries, including void if `void_is_class`; with
    `objects` it has K' entries, see `segline.dataset.objects`.

    The rows of one origin follow each other in the order of its grid. `encoding` and `threshold` are those of the raw
    masks; `values` maps each raw mask value to its class, or None for void.
    """

    __pydantic_config__ = raw.CLOSED

    dataset: raw.Name
    split: raw.Name
    classes: tuple[Label, ...]
    void: Void | None
    void_is_class: bool
    encoding: str
    values: tuple[tuple[raw.Value, Class | None], ...]
    preparation: Preparation
    origins: tuple[Origin, ...]
    rows: tuple[Row, ...]
    threshold: int | None = None
    objects: Objects | None = None

    def grid(self, origin: int) -> tiling.Grid:
        """The windows of an origin."""
        return tiling.grid(self.preparation, self.origins[origin].height, self.origins[origin].width)

    @property
    def num_pixels(self) -> int:
        """The pixels of all images at their working size: each counts once, padding does not."""
        return sum(math.prod(self.grid(number).working) for number in range(len(self.origins)))

    @property
    def owned(self) -> npt.NDArray[np.int64]:
        """The part of each row that counts for it: top, bottom, left and right, the ends exclusive: int64 (N, 4)."""
        grids = [self.grid(number) for number in range(len(self.origins))]
        boxes = [grids[row.origin].owned(row.top, row.left) for row in self.rows]
        return np.array(boxes, np.int64).reshape(-1, 4)


@dataclass(frozen=True, kw_only=True)
class _IndexFile(Index):
    __pydantic_config__ = raw.CLOSED

    rows_of_part: Annotated[int, Field(ge=1)]
    sha256_images: tuple[raw.Sha256, ...]
    sha256_onehot: tuple[raw.Sha256, ...]
    sha256: raw.Sha256


@dataclass(frozen=True)
class Split:
    """A processed split; both arrays are memory-mapped and read-only."""

    index: Index
    images: Rows
    onehot: Rows


Put = Callable[[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8]], None]


@contextmanager
def writing(folder: Path, count: int, form: Preparation, num_classes: int) -> Iterator[Put]:
    """Writes `count` rows to `folder`: `create`, and `placing` all of them. `write_index` comes after."""
    create(folder, count, form, num_classes)
    with placing(folder, count, form, num_classes, range(count)) as put:
        yield put


def create(folder: Path, count: int, form: Preparation, num_classes: int) -> None:
    """The files of `count` rows, which are zeros until they are put."""
    image, mask, each = _form(form, num_classes)
    parts.create(folder, IMAGES, (count, *image), each)
    parts.create(folder, ONEHOT, (count, *mask), each)


@contextmanager
def placing(folder: Path, count: int, form: Preparation, num_classes: int, rows: range) -> Iterator[Put]:
    """Puts `rows` of the `count` for which `create` made files: the function takes the number of a row, its image uint8
    (H, W, C) and its mask uint8 (H, W, ceil(K / 8)). Threads may call it, once for each row, while other processes put
    other rows."""
    image, mask, each = _form(form, num_classes)
    with (
        parts.placing(folder, IMAGES, (count, *image), each, rows) as images,
        parts.placing(folder, ONEHOT, (count, *mask), each, rows) as onehot,
    ):

        def put(number: int, pixels: npt.NDArray[np.uint8], packed: npt.NDArray[np.uint8]) -> None:
            images.put(number, pixels)
            onehot.put(number, packed)

        yield put


def _form(form: Preparation, num_classes: int) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
    """The shapes of an image and of a mask, and the rows of a part: of both arrays the same."""
    image = form.height, form.width, form.channels
    mask = form.height, form.width, packed_size(num_classes)
    return image, mask, parts.num_rows(max(math.prod(image), math.prod(mask)))


def write_index(folder: Path, index: Index) -> None:
    """Writes `folder/index.json`, with the digests of the arrays there: equal values give equal bytes."""
    _, _, each = _form(index.preparation, len(index.classes))
    files = {name: parts.paths(folder, name, len(index.rows), each) for name in (IMAGES, ONEHOT)}
    digests = {f"sha256_{name}": parts.hashes(paths) for name, paths in files.items()}
    content = asdict(index) | {"preparation": index.preparation.as_dict(), "rows_of_part": each} | digests
    if index.objects is None:  # older versions do not have them
        del content["objects"]
        for origin in content["origins"]:
            del origin["objects"], origin["sha256_objects"]
    with atomic.file(folder / INDEX) as temporary:
        temporary.write_text(seal.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Split:
    """The split in `folder`; reads each file once from end to end, in pieces, to compare its digest.

    Raises IntegrityError if a file is damaged, DataError if it is missing or does not match the others.
    """
    if (folder / OLD_IMAGES).exists():
        raise DataError(folder, f"written by an older version: {OLD_IMAGES}, where arrays now have parts", REMEDY)
    try:
        file = _read_index(folder / INDEX)
        index = Index(**{field.name: getattr(file, field.name) for field in fields(Index)})
        objects.require_classes(index.classes, index.objects)
        images, onehot = _arrays(folder, file)
    except OSError as error:
        raise DataError(error.filename or folder, untrusted.problem(error), REMEDY) from None
    except ValueError as error:
        raise DataError(folder, f"not a processed split ({error})", REMEDY) from None
    places = (Row(number, *window) for number in range(len(index.origins)) for window in index.grid(number).windows)
    if not all(row == place for row, place in zip_longest(index.rows, places)):
        raise DataError(folder, "rows that are not those of its images", REMEDY)
    return Split(index, images, onehot)


def _arrays(folder: Path, file: _IndexFile) -> tuple[Rows, Rows]:
    image, mask, _ = _form(file.preparation, len(file.classes))
    count, each = len(file.rows), file.rows_of_part
    arrays = []
    for name, row, digests in ((IMAGES, image, file.sha256_images), (ONEHOT, mask, file.sha256_onehot)):
        files = parts.paths(folder, name, count, each)
        if len(files) != len(digests):
            raise ValueError(f"{len(digests)} parts of {name}, expected {len(files)} for {count} rows")
        parts.require_intact(files, digests, INDEX, REMEDY)
        arrays.append(parts.read(files, (count, *row), each))
    return arrays[0], arrays[1]


def _read_index(path: Path) -> _IndexFile:
    text = untrusted.read(path, raw.MAX_BYTES).decode("utf-8")
    if seal.is_intact(text.removesuffix("\n")) is False:
        raise IntegrityError(path, "damaged: its content does not match its own sha256", REMEDY)
    return untrusted.parse_json(text, TypeAdapter(_IndexFile))
