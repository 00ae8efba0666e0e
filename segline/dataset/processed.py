"""The processed format on disk, one folder per split.

    images.npy   uint8 (N, H, W, C), C = 1 or 3 (RGB)
    onehot.npy   uint8 (N, H, W, ceil(K / 8)), see `segline.dataset.onehot`
    index.json   the origin of each row: `Index`

Readers memory-map the arrays, so a split may be larger than memory.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core import atomic
from segline.core.errors import DataError
from segline.dataset import raw
from segline.dataset.onehot import packed_size
from segline.dataset.raw import Label, Void

IMAGES, ONEHOT, INDEX = "images.npy", "onehot.npy", "index.json"
REMEDY = "Run the preprocess stage again: dvc repro -f preprocess."


@dataclass(frozen=True)
class Row:
    """The origin of a row. `height` and `width` are those of the raw image; paths are relative to the raw split."""

    stem: str
    group: str | None
    height: int
    width: int
    image: str
    mask: str
    sha256_image: str
    sha256_mask: str


@dataclass(frozen=True)
class Index:
    """Row i describes images[i] and onehot[i]. `classes` has K entries, including void if `void_is_class`.

    `encoding` is that of the raw masks; `values` maps each raw mask value to its class, or None for void.
    """

    dataset: str
    split: str
    classes: tuple[Label, ...]
    void: Void | None
    void_is_class: bool
    encoding: str
    values: tuple[tuple[int, int | None], ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Split:
    """A processed split; both arrays are memory-mapped and read-only."""

    index: Index
    images: npt.NDArray[np.uint8]
    onehot: npt.NDArray[np.uint8]


@contextmanager
def writing(path: Path, shape: tuple[int, ...]) -> Iterator[Callable[[npt.NDArray[np.uint8]], None]]:
    """Yields a function that appends one uint8 row to the .npy file at `path`; `shape` (N first) is known in advance.

    At most one row is in memory. `read` refuses a file with fewer than N rows.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)

        def append(row: npt.NDArray[np.uint8]) -> None:
            if row.shape != shape[1:] or row.dtype != np.uint8:
                raise ValueError(f"expected a uint8 row of shape {shape[1:]}, got {row.dtype} {row.shape}")
            stream.write(np.ascontiguousarray(row).data)

        yield append


def write_index(folder: Path, index: Index) -> None:
    """Writes `folder/index.json`: equal values give equal bytes."""
    with atomic.file(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(asdict(index), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> Split:
    """The split in `folder`. Raises DataError if a file is missing, broken or does not match the others."""
    try:
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        content["rows"] = tuple(Row(**row) for row in content["rows"])
        content["classes"] = raw.labels_from_json(content["classes"])
        content["void"] = raw.void_from_json(content["void"])
        content["values"] = tuple((int(v), None if k is None else int(k)) for v, k in content["values"])
        index = Index(**content)
        images = np.lib.format.open_memmap(folder / IMAGES, mode="r")
        onehot = np.lib.format.open_memmap(folder / ONEHOT, mode="r")
    except FileNotFoundError as error:
        raise DataError(error.filename, "missing", REMEDY) from None
    except (ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise DataError(folder, f"not a processed split ({type(error).__name__}: {error})", REMEDY) from None
    size, depth = (len(index.rows), *images.shape[1:3]), packed_size(len(index.classes))
    fits = images.shape in ((*size, 1), (*size, 3)) and onehot.shape == (*size, depth)
    if not fits or images.dtype != np.uint8 or onehot.dtype != np.uint8:
        kinds = f"images {images.dtype} {images.shape}, onehot {onehot.dtype} {onehot.shape}"
        problem = f"files that do not fit: {len(index.rows)} rows and {len(index.classes)} classes, {kinds}"
        raise DataError(folder, problem, REMEDY)
    return Split(index, images, onehot)
