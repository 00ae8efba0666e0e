"""Which images a person means by files and folders, and the name that each result goes under. Opens no image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline import containers
from segline.errors import DataError

SUFFIXES = frozenset(suffix for suffixes in containers.EXTENSIONS.values() for suffix in suffixes)


@dataclass(frozen=True)
class Found:
    """An image and its name: "frame" for a file `frame.png`, "left/frame" for `left/frame.png` in a folder given."""

    path: Path
    name: str


def find(inputs: Sequence[Path], out: Path) -> list[Found]:
    """The files as given and the PNG and JPEG files in the folders, sorted within each; none in `out`, hidden ones
    only where given by name. Links to folders are followed, but never round in a circle.

    Raises DataError for an input that is missing, one that lies in `out` at any depth or by a link (results would
    replace it), two images of one name, and none at all.
    """
    found = [image for given in inputs for image in _images(given, out.resolve())]
    if not found:
        where = ", ".join(str(given) for given in inputs)
        raise DataError(where, f"no images, expected files ending in {', '.join(sorted(SUFFIXES))}", "Name others.")
    first: dict[str, Path] = {}
    for image in found:
        if (other := first.setdefault(image.name, image.path)) is not image.path:
            problem = f"its results would be called {image.name}, as those of {other}"
            raise DataError(image.path, problem, "Rename one, or predict them into two folders.")
    return found


def _images(given: Path, out: Path) -> Iterator[Found]:
    if given.is_dir():
        paths = [(path, path.relative_to(given)) for path in _walk(given, frozenset(), out)]
    elif not given.exists():
        raise DataError(given, "missing, expected an image or a folder of images", "Check the path.")
    else:
        paths = [(given, Path(given.name))]
    for path, relative in paths:
        if path.exists() and out in path.resolve().parents:  # a link to itself does not exist, and has no place
            raise DataError(path, f"lies in {out}, where the results go", "Name another folder with --out.")
        name = relative.with_suffix("").as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(repr(str(path)), "a name that is not UTF-8 text", "Rename the file.") from None
        yield Found(path, name)


def _walk(folder: Path, above: frozenset[Path], out: Path) -> Iterator[Path]:
    place = folder.resolve()
    if place in above or place == out:
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path, above | {place}, out)
        elif path.suffix.lower() in SUFFIXES:
            yield path
