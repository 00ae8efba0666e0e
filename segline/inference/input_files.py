"""Which images a person means by files and folders, and the name that each result goes under. Opens no image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.core.errors import DataError, PipelineError, combined
from segline.dataset.raw import SUFFIXES


@dataclass(frozen=True)
class Found:
    """An image and its name: "frame" for a file `frame.png`, "left/frame" for `left/frame.png` in a folder given."""

    path: Path
    name: str


def find(inputs: Sequence[Path], out: Path, problems: list[PipelineError]) -> list[Found]:
    """The files as given and the PNG and JPEG files in the folders, sorted within each; none in `out`, hidden ones
    only where given by name. Links to folders are followed, but never round in a circle.

    What cannot be used is added to `problems`: a missing input, an image whose name another has already, a name that no
    table could hold. Raises DataError for `out` itself and for an image that lies in it at any depth or by a link
    (results would replace it), and if there is none at all.
    """
    found: dict[str, Found] = {}
    for image in (image for given in inputs for image in _images(given, out.resolve(), problems)):
        if (first := found.setdefault(image.name, image)) is not image:
            problem = f"its results would be called {image.name}, as those of {first.path}"
            problems.append(DataError(image.path, problem, "Rename one, or predict them into two folders."))
    if not found:
        where = ", ".join(str(given) for given in inputs)
        nothing = DataError(where, f"no images, expected files ending in {', '.join(sorted(SUFFIXES))}", "Name others.")
        raise combined(where, problems or [nothing])
    return list(found.values())


def _images(given: Path, out: Path, problems: list[PipelineError]) -> Iterator[Found]:
    if given.is_dir():
        if given.resolve() == out:
            raise DataError(given, "is the folder where the results go", "Name another folder with --out.")
        paths = [(path, path.relative_to(given)) for path in _walk(given, frozenset(), out)]
    elif not given.exists() and not given.is_symlink():
        problems.append(DataError(given, "missing, expected an image or a folder of images", "Check the path."))
        return
    else:
        paths = [(given, Path(given.name))]
    for path, relative in paths:
        if path.exists() and out in path.resolve().parents:  # a link to itself does not exist, and has no place
            raise DataError(path, f"lies in {out}, where the results go", "Name another folder with --out.")
        name = relative.with_suffix("").as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            problems.append(DataError(repr(str(path)), "a name that is not UTF-8 text", "Rename the file."))
        else:
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
