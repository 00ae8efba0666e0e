"""Arrays of bytes in .npy files: written row by row, read through memory maps."""

import io
import math
import os
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core import untrusted

MAX_BYTES = 1 << 44  # of a file: it is only mapped


class Writer:
    """Writes uint8 rows to a new .npy file, whose `shape` (N first) is known in advance. At most one is in memory.

    Rows are appended by one thread to a file that it begins, or put at their places in one that is there.
    """

    def __init__(self, path: Path, stream: io.FileIO, shape: tuple[int, ...]) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        start = io.BytesIO()
        np.lib.format.write_array_header_1_0(start, header)
        self._path, self._stream, self._shape = path, stream, shape
        self._start, self._row_bytes = len(start.getvalue()), math.prod(shape[1:])
        self._total, self._header = self._start + math.prod(shape), start.getbuffer()

    def begin(self) -> None:
        """Writes what comes before the rows."""
        self._write(self._header)

    def __call__(self, row: npt.NDArray[np.uint8]) -> None:
        """Appends a row."""
        self._write(self._bytes(row))

    def put(self, number: int, row: npt.NDArray[np.uint8]) -> None:
        """Writes the row of this number; safe to call from threads, and beside other processes."""
        content, offset = self._bytes(row), self._start + number * self._row_bytes
        try:
            while content:
                written = os.pwrite(self._stream.fileno(), content, offset)
                content, offset = content[written:], offset + written
        except OSError as error:
            raise self._named(error, offset) from None

    def _bytes(self, row: npt.NDArray[np.uint8]) -> memoryview:
        if row.shape != self._shape[1:] or row.dtype != np.uint8:
            raise ValueError(f"expected a uint8 row of shape {self._shape[1:]}, got {row.dtype} {row.shape}")
        return np.ascontiguousarray(row).data.cast("B")

    def _write(self, content: memoryview) -> None:
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
    """A writer of rows to a new file at `path`. `map_array` refuses a file with fewer than N rows."""
    with io.FileIO(path, "w") as stream:  # no buffer: nothing is left to fail when it is closed
        writer = Writer(path, stream, shape)
        writer.begin()
        yield writer


def create(path: Path, shape: tuple[int, ...]) -> None:
    """A new file at `path` of its full length, whose rows are zeros until they are put: several may then put them.

    On a shared file system too: no one's writing moves its end.
    """
    with io.FileIO(path, "w") as stream:
        Writer(path, stream, shape).begin()
        stream.truncate(stream.tell() + math.prod(shape))


@contextmanager
def placing(path: Path, shape: tuple[int, ...]) -> Iterator[Writer]:
    """A writer that puts rows into the file that `create` made.

    It is open for writing alone: then NFS sends the bytes that were written. It would send whole pages if it could read
    them, with what another machine has written beside as it was before.
    """
    with io.FileIO(os.open(path, os.O_WRONLY | os.O_CLOEXEC), "w") as stream:
        yield Writer(path, stream, shape)


def save(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """`np.save` of a uint8 array of at least two dimensions, whose errors name the file and its size."""
    with writing(path, array.shape) as append:
        for row in array:
            append(row)


def map_array(path: Path) -> npt.NDArray[Any]:
    """The array in a .npy file, memory-mapped and read-only. Raises OSError, or ValueError if it is not an array."""
    with untrusted.opened(path, MAX_BYTES):
        pass
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    except (EOFError, SyntaxError, tokenize.TokenError, OverflowError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__}: {error}") from None  # what NumPy's parser raises
