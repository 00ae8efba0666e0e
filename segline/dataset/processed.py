"""The processed format on disk, one folder per split.

    images.npy   uint8 (N, H, W, C)
    onehot.npy   uint8 (N, H, W, ceil(K / 8)), see `segline.dataset.onehot`
    index.json   the origin of each row: `Index`, with the SHA-256 of both arrays and of itself

A row is a whole image or a tile of one, see `segline.dataset.tiling`.

Readers memory-map the arrays, so a split may be larger than memory. They compare the digests first, once.
"""

import hashlib
import io
import math
import os
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter

from segline.core import atomic, seal, untrusted
from segline.core.errors import DataError, IntegrityError
from segline.dataset import objects, raw, tiling
from segline.dataset.objects import Objects
from segline.dataset.onehot import packed_size
from segline.dataset.preparation import Preparation
from segline.dataset.raw import Label, Void

IMAGES, ONEHOT, INDEX = "images.npy", "onehot.npy", "index.json"
MAX_BYTES = 1 << 44  # of an array: it is only mapped
Side = Annotated[int, Field(ge=1, le=1 << 26)]
Class = Annotated[int, Field(ge=0, le=254)]
REMEDY = "Run the preprocess stage again: dvc repro -f preprocess."


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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

    sha256_images: raw.Sha256
    sha256_onehot: raw.Sha256
    sha256: raw.Sha256


@dataclass(frozen=True)
class Split:
    """A processed split; both arrays are memory-mapped and read-only."""

    index: Index
    images: npt.NDArray[np.uint8]
    onehot: npt.NDArray[np.uint8]


class Writer:
    """Writes uint8 rows to a new .npy file, whose `shape` (N first) is known in advance. At most one is in memory.

    Rows are appended by one thread, or put at their places by several; not both.
    """

    def __init__(self, path: Path, stream: io.FileIO, shape: tuple[int, ...]) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        start = io.BytesIO()
        np.lib.format.write_array_header_1_0(start, header)
        self._path, self._stream, self._shape = path, stream, shape
        self._start, self._row_bytes = len(start.getvalue()), math.prod(shape[1:])
        self._total = self._start + math.prod(shape)
        self._digest = hashlib.sha256()
        self._write(start.getbuffer())

    def __call__(self, row: npt.NDArray[np.uint8]) -> None:
        """Appends a row."""
        self._write(self._bytes(row))

    def put(self, number: int, row: npt.NDArray[np.uint8]) -> None:
        """Writes the row of this number; safe to call from threads."""
        content, offset = self._bytes(row), self._start + number * self._row_bytes
        try:
            while content:
                written = os.pwrite(self._stream.fileno(), content, offset)
                content, offset = content[written:], offset + written
        except OSError as error:
            raise self._named(error, offset) from None

    @property
    def sha256(self) -> str:
        """The digest of what was appended so far, and of the header."""
        return self._digest.hexdigest()

    def _bytes(self, row: npt.NDArray[np.uint8]) -> memoryview:
        if row.shape != self._shape[1:] or row.dtype != np.uint8:
            raise ValueError(f"expected a uint8 row of shape {self._shape[1:]}, got {row.dtype} {row.shape}")
        return np.ascontiguousarray(row).data.cast("B")

    def _write(self, content: memoryview) -> None:
        self._digest.update(content)
        try:
            while content:
                content = content[self._stream.write(content) :]
        except OSError as error:
            raise self._named(error, self._stream.tell()) from None

    def _named(self, error: OSError, offset: int) -> OSError:
        error.filename = str(self._path)
        error.strerror = f"{error.strerror} after {offset} of {self._total} bytes"
        return error


@contextmanager
def writing(path: Path, shape: tuple[int, ...]) -> Iterator[Writer]:
    """A writer of rows to a new file at `path`. `read` refuses a file with fewer than N rows."""
    with io.FileIO(path, "w") as stream:  # no buffer: nothing is left to fail when it is closed
        yield Writer(path, stream, shape)


def save(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """`np.save` of a uint8 array of at least two dimensions, whose errors name the file and its size."""
    with writing(path, array.shape) as append:
        for row in array:
            append(row)


def write_index(folder: Path, index: Index, images_sha256: str = "", onehot_sha256: str = "") -> None:
    """Writes `folder/index.json`: equal values give equal bytes. An array is read for its hash if that is not given."""
    digests = {
        "sha256_images": images_sha256 or _sha256(folder / IMAGES),
        "sha256_onehot": onehot_sha256 or _sha256(folder / ONEHOT),
    }
    content = asdict(index) | {"preparation": index.preparation.as_dict()} | digests
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
    try:
        file = _read_index(folder / INDEX)
        index = Index(**{field.name: getattr(file, field.name) for field in fields(Index)})
        objects.require_classes(index.classes, index.objects)
        for path, expected in ((folder / IMAGES, file.sha256_images), (folder / ONEHOT, file.sha256_onehot)):
            if (actual := _sha256(path)) != expected:
                problem = f"damaged: sha256 {actual[:12]}..., expected {expected[:12]}... ({INDEX})"
                raise IntegrityError(path, problem, REMEDY)
        images, onehot = (map_array(folder / name) for name in (IMAGES, ONEHOT))
    except OSError as error:
        raise DataError(error.filename or folder, untrusted.problem(error), REMEDY) from None
    except ValueError as error:
        raise DataError(folder, f"not a processed split ({error})", REMEDY) from None
    size = (len(index.rows), index.preparation.height, index.preparation.width)
    shapes = (*size, index.preparation.channels), (*size, packed_size(len(index.classes)))
    if (images.shape, onehot.shape) != shapes or images.dtype != np.uint8 or onehot.dtype != np.uint8:
        kinds = f"images {images.dtype} {images.shape}, onehot {onehot.dtype} {onehot.shape}"
        problem = f"files that do not fit: {len(index.rows)} rows and {len(index.classes)} classes, {kinds}"
        raise DataError(folder, problem, REMEDY)
    places = (Row(number, *window) for number in range(len(index.origins)) for window in index.grid(number).windows)
    if not all(row == place for row, place in zip_longest(index.rows, places)):
        raise DataError(folder, "rows that are not those of its images", REMEDY)
    return Split(index, images, onehot)


def map_array(path: Path) -> npt.NDArray[Any]:
    """The array in a .npy file, memory-mapped and read-only. Raises OSError, or ValueError if it is not an array."""
    with untrusted.opened(path, MAX_BYTES):
        pass
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (EOFError, SyntaxError, tokenize.TokenError, OverflowError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__}: {error}") from None  # what NumPy's parser raises


def _read_index(path: Path) -> _IndexFile:
    text = untrusted.read(path, raw.MAX_BYTES).decode("utf-8")
    if seal.is_intact(text.removesuffix("\n")) is False:
        raise IntegrityError(path, "damaged: its content does not match its own sha256", REMEDY)
    return untrusted.parse_json(text, TypeAdapter(_IndexFile))


def _sha256(path: Path) -> str:
    with untrusted.opened(path, MAX_BYTES) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
