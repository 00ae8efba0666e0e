"""The processed format on disk, one folder per split.

    images-00000.npy, ...   uint8 (N, H, W, C) in parts, see `segline.dataset.parts`
    onehot-00000.npy, ...   uint8 (N, H, W, ceil(K / 8)), see `segline.dataset.onehot`; its parts have the same rows
    origins.jsonl           the images that the rows come from, see `segline.dataset.origins`
    index.json              what all rows share: `Index`, with the SHA-256 of all other files and of itself

A row is a whole image or a tile of one, see `segline.dataset.tiling`. The rows of one image follow each other in the
order of its grid, the images in that of the origins.

Readers memory-map the arrays, so a split may be larger than memory. They compare the digests first, once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from segline.core import atomic, seal, untrusted
from segline.core.errors import DataError, IntegrityError
from segline.dataset import objects, origins, parts, raw, tiling
from segline.dataset.objects import Objects
from segline.dataset.onehot import packed_size
from segline.dataset.origins import ORIGINS, Origin, Origins
from segline.dataset.parts import Rows
from segline.dataset.preparation import Preparation
from segline.dataset.raw import Label, Void

IMAGES, ONEHOT, INDEX = "images", "onehot", "index.json"
OLD_IMAGES = "images.npy"
Class = Annotated[int, Field(ge=0, le=254)]
REMEDY = "Run the preprocess stage again: dvc repro -f preprocess."


@dataclass(frozen=True, slots=True)
class Row:
    """The number of its origin, and where the row lies in the working image, see `segline.dataset.tiling`."""

    origin: int
    top: int
    left: int


@dataclass(frozen=True)
class _Common:
    """What all rows share. `classes` has K entries, including void if `void_is_class`; with `objects` it has K'
    entries, see `segline.dataset.objects`.

    `encoding` and `threshold` are those of the raw masks; `values` maps each raw mask value to its class, or None for
    void.
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
    threshold: int | None = None
    objects: Objects | None = None


@dataclass(frozen=True, kw_only=True)
class Index(_Common):
    """What all rows share, and the images that they come from."""

    origins: Sequence[Origin]

    @cached_property
    def sizes(self) -> npt.NDArray[np.int32]:
        """Height and width of each origin, int32 (origins, 2): what grids need, without reading lines again."""
        sides = ((origin.height, origin.width) for origin in self.origins)
        return np.fromiter(sides, np.dtype((np.int32, 2)), len(self.origins))

    def grid(self, origin: int) -> tiling.Grid:
        """The windows of an origin."""
        return tiling.grid(self.preparation, *self.sizes[origin].tolist())

    @cached_property
    def first_rows(self) -> npt.NDArray[np.int64]:
        """The number of the first row of each origin, and at the end that of all rows: int64 (origins + 1,)."""
        counts = (tiling.count(self.preparation, *size.tolist()) for size in self.sizes)
        return np.fromiter(accumulate(counts, initial=0), np.int64)

    @property
    def num_rows(self) -> int:
        """The rows of all origins."""
        return int(self.first_rows[-1])

    @property
    def rows(self) -> Iterator[Row]:
        """Row i describes images[i] and onehot[i]."""
        for number in range(len(self.origins)):
            yield from (Row(number, *window) for window in self.grid(number).windows)

    @property
    def num_pixels(self) -> int:
        """The pixels of all images at their working size: each counts once, padding does not."""
        return sum(math.prod(self.grid(number).working) for number in range(len(self.origins)))

    @property
    def owned(self) -> npt.NDArray[np.int64]:
        """The part of each row that counts for it: top, bottom, left and right, the ends exclusive: int64 (N, 4)."""
        grids = (self.grid(number) for number in range(len(self.origins)))
        return np.fromiter((grid.owned(*window) for grid in grids for window in grid.windows), np.dtype((np.int64, 4)))


@dataclass(frozen=True, kw_only=True)
class _IndexFile(_Common):
    __pydantic_config__ = raw.CLOSED

    rows_of_part: Annotated[int, Field(ge=1)]
    sha256_origins: raw.Sha256
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
    """Writes `folder/origins.jsonl` and `folder/index.json`, with the digests of all: equal values, equal bytes."""
    _, _, each = _form(index.preparation, len(index.classes))
    files = {name: parts.paths(folder, name, index.num_rows, each) for name in (IMAGES, ONEHOT)}
    origins.write(folder / ORIGINS, index.origins, with_objects=index.objects is not None)
    digests = {f"sha256_{name}": parts.hashes(paths) for name, paths in files.items()}
    of_origins, form = parts.hashes([folder / ORIGINS])[0], index.preparation.as_dict()
    content = asdict(_common(index)) | digests
    content |= {"preparation": form, "rows_of_part": each, "sha256_origins": of_origins}
    if index.objects is None:  # older versions do not have them
        del content["objects"]
    with atomic.file(folder / INDEX) as temporary:
        temporary.write_text(seal.dumps(content, indent=1) + "\n", encoding="utf-8")


def _common(index: _Common) -> _Common:
    return _Common(**{field.name: getattr(index, field.name) for field in fields(_Common)})


def read(folder: Path) -> Split:
    """The split in `folder`; reads each file once from end to end, in pieces, to compare its digest.

    Raises IntegrityError if a file is damaged, DataError if it is missing or does not match the others.
    """
    if (folder / OLD_IMAGES).exists():
        raise DataError(folder, f"written by an older version: {OLD_IMAGES}, where arrays now have parts", REMEDY)
    try:
        file = _read_index(folder / INDEX)
        objects.require_classes(file.classes, file.objects)
        parts.require_intact([folder / ORIGINS], [file.sha256_origins], INDEX, REMEDY)
        index = Index(**vars(_common(file)), origins=Origins(folder / ORIGINS))
        images, onehot = _arrays(folder, file, index.num_rows)
    except OSError as error:
        raise DataError(error.filename or folder, untrusted.problem(error), REMEDY) from None
    except (ValueError, OverflowError) as error:  # more rows than a number has bits
        raise DataError(folder, f"not a processed split ({error})", REMEDY) from None
    return Split(index, images, onehot)


def _arrays(folder: Path, file: _IndexFile, count: int) -> tuple[Rows, Rows]:
    image, mask, _ = _form(file.preparation, len(file.classes))
    each, arrays = file.rows_of_part, []
    for name, row, digests in ((IMAGES, image, file.sha256_images), (ONEHOT, mask, file.sha256_onehot)):
        if len(digests) != (expected := parts.num_parts(count, each)):  # before their names take memory
            raise ValueError(f"{len(digests)} parts of {name}, expected {expected} for {count} rows")
        files = parts.paths(folder, name, count, each)
        parts.require_intact(files, digests, INDEX, REMEDY)
        arrays.append(parts.read(files, (count, *row), each))
    return arrays[0], arrays[1]


def _read_index(path: Path) -> _IndexFile:
    text = untrusted.read(path, raw.MAX_BYTES).decode("utf-8")
    if seal.is_intact(text.removesuffix("\n")) is False:
        raise IntegrityError(path, "damaged: its content does not match its own sha256", REMEDY)
    return untrusted.parse_json(text, TypeAdapter(_IndexFile))
