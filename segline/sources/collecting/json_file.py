"""Annotation files in JSON, of any origin: bounded in bytes, depth and number of elements, typed, refused in one line.

A small one is read whole. Of a large one, the elements of its outermost arrays are found in one pass of a few
megabytes at a time, and parsed when they are asked for: memory grows by 16 bytes an element, not with the file.
"""

import re
from array import array
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from segline.core import untrusted
from segline.core.errors import DataError

Content = TypeVar("Content")

MAX_BYTES = 2 << 30  # of a file read by its elements
MAX_WHOLE = 64 << 20  # of a file or an element read whole
MAX_VALUES = 10_000_000  # in it: a parser takes some 100 bytes for each number
MAX_ARRAYS = 2_000_000  # and objects in it: a point takes some 300 bytes
MAX_DEPTH = 50
MAX_ELEMENTS = 10_000_000
TOP = ""  # the name of the outermost array, where the document is one
_CHUNK = 4 << 20  # bytes read at once
_GAP = 1 << 20  # bytes of white space between elements
_REMEDY = "Export the annotations again as JSON."
_OUTSIDE, _INSIDE = re.compile(rb'["\[\]{}]'), re.compile(rb'["\\]')  # of a string
_QUOTE, _BACKSLASH, _ARRAY = b'"\\['
_OPENING = b"[{"
_BOM = b"\xef\xbb\xbf"


def read(path: Path, shape: TypeAdapter[Content], most: int = MAX_WHOLE) -> Content:
    """The document of a file of at most `most` bytes, strictly as `shape`. Raises DataError."""
    try:
        content = untrusted.read(path, most)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        _require_few(content)
        for _ in _marks([content]):
            pass
        return untrusted.parse_json(content.removeprefix(_BOM), shape)
    except ValueError as error:
        raise DataError(path, f"not the JSON that is expected ({error})", _REMEDY) from None


class Elements:
    """The elements of arrays of a JSON file, by the name of their array; `elements` makes it."""

    def __init__(self, path: Path, stream: FileIO, names: Collection[str]) -> None:
        self.path = path
        self._stream = stream
        self._spans = {name: (array("Q"), array("Q")) for name in names}  # begins, ends
        self._find()

    def count(self, name: str) -> int:
        """How many elements the array has; 0 without such an array."""
        return len(self._spans[name][0])

    def parse(self, name: str, number: int, shape: TypeAdapter[Content]) -> Content:
        """Element `number` of the array, from 0, strictly as `shape`. Raises DataError."""
        begins, ends = self._spans[name]
        where = f"{self.path}: {name}[{number}]"
        if (size := ends[number] - begins[number]) > MAX_WHOLE:
            raise DataError(where, f"{size} bytes, expected at most {MAX_WHOLE}", _REMEDY)
        content = self._slice(begins[number], ends[number])
        try:
            _require_few(content)
            return untrusted.parse_json(content, shape)
        except ValueError as error:
            raise DataError(where, f"not what is expected ({error})", _REMEDY) from None

    def each(self, name: str, shape: TypeAdapter[Content]) -> Iterator[Content]:
        """All elements of the array, in order, parsed one by one. Raises DataError."""
        return (self.parse(name, number, shape) for number in range(self.count(name)))

    def _slice(self, begin: int, end: int) -> bytes:
        self._stream.seek(begin)
        content = self._stream.read(end - begin)
        if len(content) != end - begin:
            raise DataError(self.path, "changed while it was read", "Run again.")
        return content

    def _chunks(self) -> Iterator[bytes]:
        position = 0
        while chunk := self._stream.read(_CHUNK):
            position += len(chunk)
            yield chunk
            self._stream.seek(position)  # what lies between elements was read meanwhile

    def _find(self) -> None:
        """Fills the spans. Raises ValueError for a document that is cut, too deep, or has an array twice."""
        seen: set[str] = set()
        key, name = (0, 0), None  # where the last name stands; the array that is open
        root, end, total = 0, 0, 0
        for byte, begin, after, depth in _marks(self._chunks()):
            root = root or byte
            if name is None:
                if byte == _QUOTE:
                    key = begin, after
                elif byte == _ARRAY and depth == (0 if root == _ARRAY else 1):
                    name, end = (self._slice(*key)[1:-1].decode("utf-8") if depth else TOP), after
                    if name in seen:
                        raise ValueError(f"two arrays {name!r}")
                    seen.add(name)
                    name = name if name in self._spans else None
                continue
            begins, ends = self._spans[name]
            inner = 1 if name == TOP else 2
            if depth == inner and byte in _OPENING:
                self._require(b"," if begins else b"", end, begin)
                begins.append(begin)
                total += 1
                if total > MAX_ELEMENTS:
                    raise ValueError(f"more than {MAX_ELEMENTS} elements")
            elif depth == inner and byte != _QUOTE:
                ends.append(after)
                end = after
            elif depth == inner - 1 and byte != _QUOTE:
                self._require(b"", end, begin)
                name = None

    def _require(self, wanted: bytes, end: int, begin: int) -> None:
        """Raises ValueError unless exactly that, and white space, stands between two elements."""
        if begin - end > _GAP or self._slice(end, begin).strip() != wanted:
            raise ValueError(f"no object or array at byte {end}")


@contextmanager
def elements(path: Path, names: Collection[str]) -> Iterator[Elements]:
    """The elements of these outermost arrays of a file of at most 2 GiB; an absent array has none. Raises DataError."""
    with ExitStack() as files:
        try:
            found = Elements(path, files.enter_context(untrusted.opened(path, MAX_BYTES)), names)
        except ValueError as error:
            raise DataError(path, f"not the JSON that is expected ({error})", _REMEDY) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        yield found  # errors of whoever reads the elements are not those of this file


def _require_few(content: bytes) -> None:
    """Raises ValueError for more values than can be parsed in bounded memory; those in strings count too."""
    if (values := content.count(b",") + 1) > MAX_VALUES:
        raise ValueError(f"{values} values, expected at most {MAX_VALUES}")
    if (arrays := content.count(b"[") + content.count(b"{")) > MAX_ARRAYS:
        raise ValueError(f"{arrays} arrays and objects, expected at most {MAX_ARRAYS}")


def _marks(chunks: Iterable[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Each bracket, and each string that is at most one deep: its first byte, begin, end, and the depth it is in.

    Raises ValueError unless brackets match, are at most `MAX_DEPTH` deep, and all strings end.
    """
    open_brackets = bytearray()
    before, at = 0, 0  # bytes of earlier chunks; where to go on in this one
    quote: int | None = None  # where the string begins that is not yet ended
    is_over = False
    for chunk in chunks:
        while match := (_OUTSIDE if quote is None else _INSIDE).search(chunk, at):
            at, byte = match.end(), match[0][0]
            place = before + match.start()
            if byte == _BACKSLASH:
                at += 1  # the byte after it is no quote, and may be in the next chunk
            elif byte == _QUOTE:
                if quote is not None and len(open_brackets) <= 1:
                    yield byte, quote, place + 1, len(open_brackets)
                quote = place if quote is None else None
            elif byte in _OPENING:
                if len(open_brackets) == MAX_DEPTH:
                    raise ValueError(f"more than {MAX_DEPTH} levels at byte {place}")
                if is_over:
                    raise ValueError(f"a second document at byte {place}")
                yield byte, place, place + 1, len(open_brackets)
                open_brackets.append(byte)
            else:
                if not open_brackets or open_brackets.pop() != byte - 2:  # in ASCII, [ and ] are two apart, { and } too
                    raise ValueError(f"brackets do not match at byte {place}")
                is_over = not open_brackets
                yield byte, place, place + 1, len(open_brackets)
        before += len(chunk)
        at = max(at - len(chunk), 0)
    if quote is not None or not is_over:
        raise ValueError("cut, or neither an object nor an array")


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(path, untrusted.problem(error), "Check the file and its permissions.")
