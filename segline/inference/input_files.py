"""The images that a user names as files and folders, and the name of the results of each. Decodes no image."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segline.core.errors import DataError, PipelineError, combined
from segline.dataset.raw import FORMATS, SUFFIXES
from segline.preprocessing.image_files import image_file

IMAGES, MASKS = "images", ("masks", "labels", "annotations")  # names of folders in a data set


@dataclass(frozen=True)
class InputImage:
    """An image and its name: "frame" for a file `frame.png`, "left/frame" for `left/frame.png` in a given folder.

    Each page of a file with several is an image: page 2 of 10 of `stack.tif` has the name "stack-page-02".
    """

    path: Path
    name: str
    page: int | None = None


def find(inputs: Sequence[Path], out: Path, problems: list[PipelineError], left_out: list[Path]) -> list[InputImage]:
    """The files as given, and the image files in the folders, sorted within each, except those in `out`.

    Hidden files are ignored unless given by name. Links to folders are followed; circles of links end. Folders of masks
    that lie beside one of images, as in a data set, are added to `left_out` instead.

    Adds to `problems` what cannot be used: a missing input, an image of the same name as an earlier one, a name that
    cannot be written into a table. Raises DataError for `out` itself, for an image inside it (results would replace
    it), however deep or by a link, and if no image remains.
    """
    by_name: dict[str, InputImage] = {}
    for image in (image for given in inputs for image in _images(given, out.resolve(), problems, left_out)):
        if (first := by_name.setdefault(image.name, image)) is not image:
            problem = f"its results would have the name {image.name}, like those of {first.path}"
            problems.append(DataError(image.path, problem, "Rename one, or predict them into different folders."))
    if not by_name:
        where = ", ".join(str(given) for given in inputs)
        nothing = DataError(where, f"no images, expected files ending in {', '.join(sorted(SUFFIXES))}", "Name others.")
        raise combined(where, problems or [nothing])
    return list(by_name.values())


def _images(given: Path, out: Path, problems: list[PipelineError], left_out: list[Path]) -> Iterator[InputImage]:
    if given.is_dir():
        if given.resolve() == out:
            raise DataError(given, "the folder for the results", "Name another folder with --out.")
        paths = [(path, path.relative_to(given)) for path in _walk(given, frozenset(), out, left_out)]
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
            yield from _pages(path, name)


def _pages(path: Path, name: str) -> Iterator[InputImage]:
    count = 1
    if path.suffix.lower() in FORMATS["TIFF"]:
        with suppress(PipelineError):  # whoever opens the image will report it
            count = image_file.pages(path, path)
    if count == 1:
        yield InputImage(path, name)
    else:
        digits = len(str(count))
        yield from (InputImage(path, f"{name}-page-{page:0{digits}}", page) for page in range(1, count + 1))


def _walk(folder: Path, above: frozenset[Path], out: Path, left_out: list[Path]) -> Iterator[Path]:
    place = folder.resolve()
    if place in above or place == out:
        return
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    folders = {path.name.lower() for path in paths if path.is_dir()}
    for path in paths:
        if path.is_dir():
            if path.name.lower() in MASKS and IMAGES in folders:
                left_out.append(path)
            else:
                yield from _walk(path, above | {place}, out, left_out)
        elif path.suffix.lower() in SUFFIXES:
            yield path
