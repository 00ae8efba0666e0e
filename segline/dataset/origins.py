"""The images that the rows of a processed split come from: `origins.jsonl`, an image a line.

They are read from the disk when they are asked for: of each, 8 bytes stay in memory.
"""

import json
import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Annotated, overload

import numpy as np
from pydantic import Field, TypeAdapter

from segline.core import atomic, untrusted
from segline.dataset import npy, raw

ORIGINS = "origins.jsonl"
MAX_LINE = 1 << 20  # bytes: five texts of 4,096 characters, each of which takes 12 bytes at most
Side = Annotated[int, Field(ge=1, le=1 << 26)]


@dataclass(frozen=True, slots=True)
class Origin:
    """An image that rows come from. `height` and `width` are its own, once it is upright; paths are relative to the raw
    split. `page` is that of both files, from 1, if they have several; `no_data`: some of its pixels have no value.
    `objects` are its object numbers (see `raw.Pair`), None unless the index has objects.
    """

    __pydantic_config__ = raw.CLOSED

    stem: raw.RelativePath
    group: raw.Group | None
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


_ORIGIN = TypeAdapter(Origin)


class Origins(Sequence[Origin]):
    """Those of a file that `write` made, read-only. Raises OSError, or ValueError for a line that is no origin."""

    def __init__(self, path: Path) -> None:
        with untrusted.opened(path, npy.MAX_BYTES) as stream:
            is_empty = not stream.seek(0, 2)  # which cannot be mapped
            self._lines = b"" if is_empty else mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._ends = np.fromiter(accumulate(map(len, self._checked())), np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, key: int) -> Origin: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Origin, ...]: ...
    def __getitem__(self, key: int | slice) -> Origin | tuple[Origin, ...]:
        numbers = range(len(self))[key]
        return self._read(numbers) if isinstance(numbers, int) else tuple(map(self._read, numbers))

    def _read(self, number: int) -> Origin:
        start = self._ends[number - 1] if number else 0
        return _parsed(self._lines[start : self._ends[number]], number)

    def _checked(self) -> Iterator[bytes]:
        start = number = 0
        while start < len(self._lines):
            end = self._lines.find(b"\n", start, start + MAX_LINE) + 1
            if not end:
                raise ValueError(f"{ORIGINS}, line {number + 1}: does not end within {MAX_LINE} bytes")
            line = self._lines[start:end]
            _parsed(line, number)
            yield line
            start, number = end, number + 1


def _parsed(line: bytes, number: int) -> Origin:
    try:
        return untrusted.parse_json(line, _ORIGIN)
    except ValueError as error:
        raise ValueError(f"{ORIGINS}, line {number + 1}: {error}") from None


def write(path: Path, origins: Iterable[Origin], *, with_objects: bool) -> None:
    """Writes the file: the same bytes for the same values. Without objects lines do not speak of them."""
    with atomic.file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for origin in origins:
            content = asdict(origin)
            if not with_objects:
                del content["objects"], content["sha256_objects"]
            stream.write(json.dumps(content, sort_keys=True) + "\n")
