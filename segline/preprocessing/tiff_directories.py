"""The directories of a TIFF or BigTIFF file (TIFF 6.0, section 2), one for each image, read before any decoder runs.

They say which images are pages, how large they are declared, and where their data ends.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from segline.core.errors import DataError
from segline.preprocessing.headers import AGAIN

MOST_DIRECTORIES = 1 << 14
_MOST_ENTRIES = 1 << 12
_MOST_SMALL = 1 << 16  # values of a tag that is kept
_MOST_BLOCKS = 1 << 24  # strips or tiles of an image

_KINDS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of whole numbers -> numpy's
_SUBFILE, _OLD_SUBFILE = 254, 255
_KEPT = {_SUBFILE, _OLD_SUBFILE, 256, 257, 258, 259, 262, 274, 277, 338, 339}
_BLOCKS = ((273, 279), (324, 325))  # offsets and sizes of strips, of tiles


class Stream(Protocol):
    """An open file."""

    def seek(self, offset: int, /) -> int: ...
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class _Entry:
    kind: int
    count: int
    field: bytes  # the values, or where they are


@dataclass(frozen=True)
class Directory:
    """`number` counts all directories of the file from 1; `tags` holds those that matter here, by their number."""

    number: int
    tags: Mapping[int, tuple[int, ...]]
    blocks: tuple[tuple[_Entry, _Entry], ...]

    def first(self, tag: int, otherwise: int) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (otherwise,))[0]

    @property
    def is_page(self) -> bool:
        """Whether this is an image of its own, neither a smaller copy of one (an overview) nor a mask."""
        return not self.first(_SUBFILE, 0) & 5 and self.first(_OLD_SUBFILE, 1) != 2


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

    def all(self) -> list[Directory]:
        """Every directory of the chain, in order."""
        start, word = (8, "Q") if self._big else (4, "I")
        (offset,) = self._unpack(word, self._read(start, struct.calcsize(word)))
        found: list[Directory] = []
        seen: set[int] = set()
        while offset:
            if offset in seen or len(found) == MOST_DIRECTORIES:
                raise DataError(self._where, f"damaged: more than {len(found)} directories, or a loop of them", AGAIN)
            seen.add(offset)
            directory, offset = self._directory(offset, len(found) + 1)
            found.append(directory)
        return found

    def require_data(self, directory: Directory) -> None:
        """Raises DataError if the strips or tiles of an image lie beyond the end of the file."""
        for offsets, sizes in directory.blocks:
            if offsets.count != sizes.count or offsets.count > _MOST_BLOCKS:
                problem = f"damaged: {offsets.count} strips or tiles, but {sizes.count} sizes of them"
                raise DataError(self._where, problem, AGAIN)
            starts, lengths = (self._values(entry).astype(np.float64) for entry in (offsets, sizes))
            if starts.size and (missing := int((starts + lengths).max()) - self._size) > 0:
                raise DataError(self._where, f"cut: the file ends {missing} bytes too early", AGAIN)

    def _directory(self, offset: int, number: int) -> tuple[Directory, int]:
        counter, word, field = ("Q", "Q", 8) if self._big else ("H", "I", 4)
        size = struct.calcsize("=" + counter)
        (count,) = self._unpack(counter, self._read(offset, size))
        if count > _MOST_ENTRIES:
            raise DataError(self._where, f"damaged: a directory of {count} entries", AGAIN)
        length = 4 + 2 * field
        table = self._read(offset + size, count * length + field)
        entries: dict[int, _Entry] = {}
        for start in range(0, count * length, length):
            tag, kind, values = self._unpack(f"HH{word}", table[start : start + 4 + field])
            entries[tag] = _Entry(kind, values, table[start + 4 + field : start + length])
        tags = {
            tag: tuple(self._values(entry).tolist())
            for tag, entry in entries.items()
            if tag in _KEPT and entry.kind in _KINDS and 0 < entry.count <= _MOST_SMALL
        }
        blocks = tuple(
            (entries[offsets], entries[sizes])
            for offsets, sizes in _BLOCKS
            if {entries[tag].kind for tag in (offsets, sizes) if tag in entries} <= _KINDS.keys()
            and offsets in entries
            and sizes in entries
        )
        (following,) = self._unpack(word, table[-field:])
        return Directory(number, tags, blocks), following

    def _values(self, entry: _Entry) -> "np.ndarray[tuple[int], np.dtype[np.unsignedinteger]]":  # type: ignore[type-arg]
        kind = np.dtype(self._order + _KINDS[entry.kind])
        length = entry.count * kind.itemsize
        if length <= len(entry.field):
            return np.frombuffer(entry.field[:length], kind)
        (offset,) = self._unpack("Q" if self._big else "I", entry.field)
        return np.frombuffer(self._read(offset, length), kind)

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
