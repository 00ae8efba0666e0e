"""One array of rows, uint8 (N, ...), in several .npy files: its parts.

    images-00000.npy, images-00001.npy, ...

Each part has the same number of rows, the last one those that are left; an array without rows has one empty part. So
DVC stores and sends what changed, several writers work side by side, and a reader maps what it needs.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from segline.core import parallel, untrusted
from segline.core.errors import IntegrityError
from segline.dataset import npy

MAX_BYTES = 1 << 30  # of a part, unless one row is larger
HEADER = 128  # bytes of a .npy file before its rows
MAPPED = 128  # parts of an array at once: each takes a file descriptor, of which a process has about 1,000

Uint8 = npt.NDArray[np.uint8]


def num_rows(row_bytes: int) -> int:
    """The rows of a part."""
    return max(1, (MAX_BYTES - HEADER) // row_bytes)


def num_parts(count: int, each: int) -> int:
    """The parts of `count` rows, `each` a part."""
    return max(1, -(-count // each))


def paths(folder: Path, name: str, count: int, each: int) -> list[Path]:
    """The files of `count` rows in parts of `each`."""
    return [folder / f"{name}-{number:05}.npy" for number in range(num_parts(count, each))]


class Writer:
    """Puts some uint8 rows, `rows`, at their places, from several threads. At most one row of each is in memory.

    A part is open from the first of these rows in it to the last, so that there are few open files.
    """

    def __init__(self, files: Sequence[Path], shape: tuple[int, ...], each: int, rows: range, stack: ExitStack) -> None:
        self._files, self._shape, self._each, self._rows, self._stack = files, shape, each, rows, stack
        self._lock = Lock()
        self._open: dict[int, tuple[npy.Writer, ExitStack]] = {}
        self._left: dict[int, int] = {}

    def put(self, number: int, row: Uint8) -> None:
        """Writes the row of this number, once."""
        part, place = divmod(number, self._each)
        with self._lock:
            writer = self._writer(part)
        writer.put(place, row)
        with self._lock:
            self._left[part] -= 1
            if not self._left[part]:
                self._open.pop(part)[1].close()

    def _writer(self, part: int) -> npy.Writer:
        if part not in self._open:
            stack = self._stack.enter_context(ExitStack())
            first = part * self._each
            last = min(first + self._each, self._shape[0])
            self._left[part] = min(last, self._rows.stop) - max(first, self._rows.start)
            shape = (last - first, *self._shape[1:])
            self._open[part] = stack.enter_context(npy.placing(self._files[part], shape)), stack
        return self._open[part][0]


def create(folder: Path, name: str, shape: tuple[int, ...], each: int) -> None:
    """The files of a new array of this shape (N first), in parts of `each` rows, which are zeros until they are put."""
    for number, path in enumerate(paths(folder, name, shape[0], each)):
        npy.create(path, (min(each, shape[0] - number * each), *shape[1:]))


@contextmanager
def placing(folder: Path, name: str, shape: tuple[int, ...], each: int, rows: range) -> Iterator[Writer]:
    """A writer that puts `rows` into the files that `create` made; others may put other rows meanwhile."""
    with ExitStack() as stack:
        yield Writer(paths(folder, name, shape[0], each), shape, each, rows, stack)


@contextmanager
def writing(folder: Path, name: str, shape: tuple[int, ...], each: int) -> Iterator[Writer]:
    """A writer of all rows of a new array: `create` and `placing`."""
    create(folder, name, shape, each)
    with placing(folder, name, shape, each, range(shape[0])) as writer:
        yield writer


def hashes(files: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file, read on all cores in pieces. Raises OSError."""
    with ThreadPoolExecutor(parallel.count()) as pool:
        return [*pool.map(_sha256, files)]


def _sha256(path: Path) -> str:
    with untrusted.opened(path, npy.MAX_BYTES) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def require_intact(files: Sequence[Path], expected: Sequence[str], listed_in: str, remedy: str) -> None:
    """Raises IntegrityError for the first file whose SHA-256 is another, OSError for one that cannot be read."""
    for path, actual, wanted in zip(files, hashes(files), expected, strict=True):
        if actual != wanted:
            problem = f"damaged: sha256 {actual[:12]}..., expected {wanted[:12]}... ({listed_in})"
            raise IntegrityError(path, problem, remedy)


class Parts:
    """The parts of an array as one: what training and scoring need of a memory-mapped array, read-only.

    A row is a view of the map; several are a copy. A part is mapped when one of its rows is read.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, files: Sequence[Path], shape: tuple[int, ...], each: int) -> None:
        self.shape, self._each, self._num_files = shape, each, len(files)
        self._part = lru_cache(MAPPED)(lambda number: npy.map_array(files[number]))

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Uint8]:
        for number in range(self._num_files):
            yield from self._part(number)

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> Uint8: ...
    @overload
    def __getitem__(self, key: slice | npt.NDArray[np.integer[Any]]) -> Uint8: ...
    def __getitem__(self, key: int | np.integer[Any] | slice | npt.NDArray[np.integer[Any]]) -> Uint8:
        if isinstance(key, int | np.integer):
            part, place = divmod(range(len(self))[key], self._each)
            return self._part(part)[place]  # type: ignore[no-any-return]
        return self._rows(np.arange(*key.indices(len(self))) if isinstance(key, slice) else key)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self._rows(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def _rows(self, numbers: npt.NDArray[np.integer[Any]]) -> Uint8:
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if len(wrong := numbers[(numbers < 0) | (numbers >= len(self))]):
            raise IndexError(f"row {wrong[0]} is out of bounds of {len(self)} rows")
        found = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        parts, places = np.divmod(numbers, self._each)
        for part in np.unique(parts).tolist():
            mine = parts == part
            found[mine] = self._part(part)[places[mine]]
        return found


Rows = Uint8 | Parts


def read(files: Sequence[Path], shape: tuple[int, ...], each: int) -> Rows:
    """The array of this shape (N first) in these files: a memory map if that is one file.

    Raises OSError, or ValueError if a file is not the part that it should be.
    """
    for number, path in enumerate(files):
        mapped = npy.map_array(path)
        wanted = (min(each, shape[0] - number * each), *shape[1:])
        if mapped.dtype != np.uint8 or mapped.shape != wanted:
            raise ValueError(f"{path.name}: {mapped.dtype} {mapped.shape}, expected uint8 {wanted}")
    return mapped if len(files) == 1 else Parts(files, shape, each)
