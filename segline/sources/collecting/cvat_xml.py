"""The XML file of "CVAT for images 1.1", of any origin and size: images in one pass, the shapes of one when asked for.

Nothing is defined by the file itself: a document type, and with it all entities, is refused. Memory grows with the
number of images, not of shapes.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from xml.parsers import expat

from segline.core import untrusted
from segline.core.errors import DataError
from segline.sources.collecting.shapes import MAX_OBJECTS

MAX_BYTES = 2 << 30
MAX_TAG = 16 << 20  # bytes of a tag with its attributes: of a polygon, a million points
MAX_IMAGE = 64 << 20  # bytes of an image with its shapes
MAX_IMAGES = 2_000_000
MAX_DEPTH = 50
DRAWN = ("polygon", "box", "mask", "ellipse")
NOT_DRAWN = ("polyline", "points", "cuboid", "skeleton")  # CVAT itself leaves them out of masks
_CHUNK = 1 << 20
_REMEDY = 'Export the annotations again as "CVAT for images 1.1".'

Attributes = dict[str, str]
Shapes = list[tuple[str, Attributes]]


@dataclass(frozen=True)
class Image:
    """An image of the file, whose element lies between two bytes; `subset` is that of a project's task, or empty."""

    name: str
    subset: str
    height: int
    width: int
    begin: int
    end: int


class Annotations:
    """An open file: `images` in its order."""

    def __init__(self, path: Path, stream: FileIO) -> None:
        self.path = path
        self._stream = stream
        self.images: list[Image] = []
        self._find()

    def shapes(self, image: Image) -> Shapes:
        """Names and attributes of the shapes of an image, in the order of the file. Raises DataError."""
        try:
            return self._shapes(image)
        except (ValueError, expat.ExpatError) as error:
            raise DataError(self.path, f"image {image.name!a}: {error}", _REMEDY) from None

    def _shapes(self, image: Image) -> Shapes:
        if (size := image.end - image.begin) > MAX_IMAGE:
            raise ValueError(f"{size} bytes, expected at most {MAX_IMAGE}")
        found: Shapes = []

        def start(depth: int, name: str, attributes: Attributes, _: int) -> None:
            if depth == 1 and name in (*DRAWN, *NOT_DRAWN):  # deeper ones are parts of a skeleton
                found.append((name, attributes))
            if len(found) > MAX_OBJECTS:
                raise ValueError(f"more than {MAX_OBJECTS} shapes")

        self._stream.seek(image.begin)
        _parse([self._stream.read(size)], start, lambda *_: None, closing=b"</image>")
        return found

    def _find(self) -> None:
        begin, opened = 0, dict[str, str]()

        def start(depth: int, name: str, attributes: Attributes, at: int) -> None:
            nonlocal begin, opened
            if depth == 0 and name != "annotations":
                raise ValueError(f"<{name}>, expected <annotations>")
            if depth == 1 and name == "track":
                raise ValueError("tracks of a video")
            if depth == 1 and name == "image":
                begin, opened = at, attributes

        def end(depth: int, name: str, at: int) -> None:
            if depth == 1 and name == "image":
                if len(self.images) == MAX_IMAGES:
                    raise ValueError(f"more than {MAX_IMAGES} images")
                self.images.append(_image(opened, begin, at))

        _parse(iter(lambda: self._stream.read(_CHUNK), b""), start, end)


@contextmanager
def opened(path: Path) -> Iterator[Annotations]:
    """The annotations of a file of at most 2 GiB. Raises DataError."""
    with ExitStack() as files:
        try:
            annotations = Annotations(path, files.enter_context(untrusted.opened(path, MAX_BYTES)))
        except (ValueError, expat.ExpatError) as error:
            raise DataError(path, f"not the XML that is expected ({error})", _REMEDY) from None
        except OSError as error:
            raise DataError(path, untrusted.problem(error), "Check the file and its permissions.") from None
        yield annotations


def _image(attributes: Attributes, begin: int, end: int) -> Image:
    missing = [key for key in ("name", "width", "height") if key not in attributes]
    if missing:
        raise ValueError(f"an image without {missing[0]} at byte {begin}")
    width, height = (number(attributes, key) for key in ("width", "height"))
    return Image(attributes["name"], attributes.get("subset", ""), height, width, begin, end)


def number(attributes: Attributes, key: str) -> int:
    """A whole number of at most 9 digits, 0 if there is none. Raises ValueError."""
    text = attributes.get(key, "0").strip()
    if not text.removeprefix("-").isdecimal() or len(text) > 9:
        raise ValueError(f"{key} is {text[:40]!a}, expected a whole number")
    return int(text)


def _parse(
    chunks: Iterator[bytes] | list[bytes],
    start: Callable[[int, str, Attributes, int], None],
    end: Callable[[int, str, int], None],
    closing: bytes = b"",
) -> None:
    """Calls `start` and `end` with the depth of an element, its name and byte; `closing` ends a document that is open.

    The file's own encoding must be UTF-8. Raises ValueError, and ExpatError for what is no XML.
    """
    parser = expat.ParserCreate("UTF-8")
    depth = fed = 0

    def starts(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        if depth == MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels at byte {parser.CurrentByteIndex}")
        start(depth, name, attributes, parser.CurrentByteIndex)
        depth += 1

    def ends(name: str) -> None:
        nonlocal depth
        depth -= 1
        end(depth, name, parser.CurrentByteIndex)

    def doctype(*_: object) -> None:
        raise ValueError("a document type, which could define entities")

    parser.StartElementHandler, parser.EndElementHandler = starts, ends
    parser.StartDoctypeDeclHandler = doctype
    try:
        for chunk in chunks:
            parser.Parse(chunk)
            fed += len(chunk)
            if not closing and fed - parser.CurrentByteIndex > MAX_TAG + _CHUNK:
                raise ValueError(f"a tag of more than {MAX_TAG} bytes at byte {parser.CurrentByteIndex}")
        parser.Parse(closing if depth else b"", True)
    finally:  # a parser and its handlers hold each other
        parser.StartElementHandler = parser.EndElementHandler = parser.StartDoctypeDeclHandler = None
