"""The directories of a TIFF or BigTIFF file (TIFF 6.0, section 2), one for each image, read before any decoder runs.

They say which images are pages, how large they are declared, and where their data ends.
"""

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.preprocessing.image_files.headers import AGAIN

MOST_DIRECTORIES = 1 << 14
_MOST_ENTRIES = 1 << 10  # of a directory
_MOST_BLOCKS = 1 << 24  # strips or tiles of an image

_KINDS = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of whole numbers, and text
_SUBFILE, _OLD_SUBFILE = 254, 255
_OVERVIEW, _MASK = 1, 4  # bits of NewSubfileType
_BLOCKS = ((273, 279), (324, 325))  # offsets and sizes of strips, of tiles


class Stream(Protocol):
    """An open file."""

    def seek(self, offset: int, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Directory:
    """`offset` is its place in the file; `table` holds its entries as they are; `mask` says which pixels have data."""

    offset: int
    table: bytes
    mask: "Directory | None" = None


class Reader:
    """The directories of one open file of `size` bytes. Raises DataError for `where` if it is cut or damaged."""

    def __init__(self, stream: Stream, size: int, where: Path) -> None:
        self._stream, self._size, self._where = stream, size, where
        start = self._read(0, 8)
        self._order = "<" if start.startswith(b"II") else ">"
        (version,) = self._unpack("H", start[2:4])
        self._big = version == 43
        if version not in (42, 43):
            raise DataError(where, f"damaged: TIFF version {version}, expected 42 or 43", AGAIN)

    def pages(self) -> list[Directory]:
        """The images of their own: neither smaller copies of others (overviews) nor masks, which follow their image."""
        start, word = (8, "Q") if self._big else (4, "I")
        (offset,) = self._unpack(word, self._read(start, struct.calcsize(word)))
        found: list[Directory] = []
        seen: set[int] = set()
        masks = 0
        while offset:
            if offset in seen or len(seen) == MOST_DIRECTORIES:
                raise DataError(self._where, f"damaged: more than {len(seen)} directories, or a loop of them", AGAIN)
            seen.add(offset)
            directory, offset = self._directory(offset)
            kind = self.first(directory, _SUBFILE, 0) & (_OVERVIEW | _MASK)
            if not kind and self.first(directory, _OLD_SUBFILE, 1) != 2:
                found.append(directory)
            elif kind == _MASK and found:
                # GDAL appends a mask of the first page behind all pages, and takes any mask for that of the first.
                if masks != len(found) - 1:
                    problem = f"a mask inside it behind page {len(found)}, which may be that of another page"
                    raise DataError(self._where, problem, "Save each page as a file of its own.")
                found[-1] = replace(found[-1], mask=directory)
                masks += 1
        return found

    def first(self, directory: Directory, tag: int, otherwise: int) -> int:
        """The first value of a tag."""
        values = self.values(directory, tag, 1)
        return int(values[0]) if len(values) else otherwise

    def values(self, directory: Directory, tag: int, most: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """At most so many values of a tag, or bytes of text; none if it is missing or of another kind."""
        if (entry := self._entry(directory, tag)) is None:
            return np.zeros(0, np.uint8)
        kind, count, field = entry
        values = np.dtype(self._order + _KINDS[kind])
        length = min(count, most) * values.itemsize
        if count * values.itemsize > len(field):
            field = self._read(self._unpack("Q" if self._big else "I", field)[0], length)
        return np.frombuffer(field[:length], values)

    def require_data(self, directory: Directory) -> None:
        """Raises DataError if the strips or tiles of an image lie beyond the end of the file."""
        for tags in _BLOCKS:
            starts, lengths = (self.values(directory, tag, _MOST_BLOCKS).astype(np.float64) for tag in tags)
            if len(starts) != len(lengths):
                problem = f"damaged: {len(starts)} strips or tiles, but {len(lengths)} sizes of them"
                raise DataError(self._where, problem, AGAIN)
            if starts.size and (missing := int((starts + lengths).max()) - self._size) > 0:
                raise DataError(self._where, f"cut: the file ends {missing} bytes too early", AGAIN)

    def _directory(self, offset: int) -> tuple[Directory, int]:
        counter, word = ("Q", "Q") if self._big else ("H", "I")
        start = offset + struct.calcsize("=" + counter)
        (count,) = self._unpack(counter, self._read(offset, start - offset))
        if count > _MOST_ENTRIES:
            raise DataError(self._where, f"damaged: a directory of {count} entries", AGAIN)
        field = struct.calcsize("=" + word)
        table = self._read(start, count * self._length + field)
        return Directory(offset, table[:-field]), self._unpack(word, table[-field:])[0]

    def _entry(self, directory: Directory, tag: int) -> tuple[int, int, bytes] | None:
        """Type, number of values, and the values or their place."""
        place, wanted = -1, struct.pack(self._order + "H", tag)
        while (place := directory.table.find(wanted, place + 1)) >= 0:
            if place % self._length == 0:
                entry = directory.table[place : place + self._length]
                kind, count = self._unpack("HQ" if self._big else "HI", entry[2 : 12 if self._big else 8])
                return (kind, count, entry[12 if self._big else 8 :]) if kind in _KINDS and count else None
        return None

    @property
    def _length(self) -> int:
        """Bytes of an entry."""
        return 20 if self._big else 12

    def _unpack(self, form: str, content: bytes) -> tuple[int, ...]:
        return struct.unpack(self._order + form, content)

    def _read(self, offset: int, length: int) -> bytes:
        content = b""
        if offset + length <= self._size:
            self._stream.seek(offset)
            content = self._stream.read(length)
        if len(content) != length:
            raise DataError(self._where, f"cut: {offset + length} bytes expected, the file has {self._size}", AGAIN)
        return content
