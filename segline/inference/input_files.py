"""The images that a user names as files and folders, and the name of the results of each. Opens no image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.core.errors import DataError, PipelineError, combined
from segline.dataset.raw import SUFFIXES


@dataclass(frozen=True)
class InputImage:
    """An image and its name: "frame" for a file `frame.png`, "left/frame" for `left/frame.png` in a given folder."""

    path: Path
    name: str


def find(inputs: Sequence[Path], out: Path, problems: list[PipelineError]) -> list[InputImage]:
    """The files as given, and the PNG and JPEG files in the folders, sorted within each, except those in `out`.

    Hidden files are ignored unless given by name. Links to folders are followed; circles of links end.

    Adds to `problems` what cannot be used: a missing input, an image of the same name as an earlier one, a name that
    cannot be written into a table. Raises DataError for `out` itself, for an image inside it (results would replace
    it), however deep or by a link, and if no image remains.
    """
    by_name: dict[str, InputImage] = {}
    for image in (image for given in inputs for image in _images(given, out.resolve(), problems)):
        if (first := by_name.setdefault(image.name, image)) is not image:
            problem = f"its results would have the name {image.name}, like those of {first.path}"
            problems.append(DataError(image.path, problem, "Rename one, or predict them into different folders."))
    if not by_name:
        where = ", ".join(str(given) for given in inputs)
        nothing = DataError(where, f"no images, expected files ending in {', '.join(sorted(SUFFIXES))}", "Name others.")
        raise combined(where, problems or [nothing])
    return list(by_name.values())


def _images(given: Path, out: Path, problems: list[PipelineError]) -> Iterator[InputImage]:
    if given.is_dir():
        if given.resolve() == out:
            raise DataError(given, "the folder for the results", "Name another folder with --out.")
        paths = [(path, path.relative_to(given)) for path in _walk(given, frozenset(), out)]
    elif not given.exists() and not given.is_symlink():
        problems.append(DataError(given, "missing, expected an image or a folder of images", "Check the path."))
        return
    else:
        paths = [(given, Path(given.name))]
    for path, relative in paths:
        if path.exists() and out in path.resolve().parents:  # a link to itself does not exist and cannot be resolved
            raise DataError(path, f"inside {out}, the folder for the results", "Name another folder with --out.")
        name = relative.with_suffix("").as_posix()
        try:
            name.encode()
        except UnicodeEncodeError:
            problems.append(DataError(repr(str(path)), "a name that is not UTF-8 text", "Rename the file."))
        else:
            yield InputImage(path, name)


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
