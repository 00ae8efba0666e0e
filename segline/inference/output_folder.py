"""A folder of predictions, and the tables that list them.

    summary.csv             image, height, width, share of each class among the pixels with data
    masks/<image>.png       the class of each pixel, 8-bit gray; of a TIFF image <image>.tif, with its
                            coordinate system and transform, 255 = no data
    overlays/<image>.png    the image under the colours of its classes, scaled down if it is large
    instances.csv           image, instance, class, area, box, centroid            if objects were requested
    instances/<image>.png   the number of each pixel's object, 16-bit gray, 0 = none

The name of an image may be "left/frame": then its results are in subfolders.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core import atomic, records
from segline.core.errors import ParameterError
from segline.dataset import raw
from segline.inference import instances, mask_files
from segline.inference.input_rows import Image
from segline.preprocessing.image_files import png

SUMMARY, INSTANCES = "summary.csv", "instances.csv"
KINDS = ("masks", "overlays", "instances")
COLUMNS = ["image", "height", "width"]
INSTANCE_COLUMNS = ["image", "instance", "class", "area", "left", "top", "width", "height", "x", "y"]

Uint8 = npt.NDArray[np.uint8]
Row = list[Any]


class OutputFolder:
    """The folder while any thread adds predictions to it. The objects of the classes `counted` are numbered."""

    def __init__(self, folder: Path, classes: Sequence[raw.Label], counted: Sequence[int]) -> None:
        self.folder, self.classes, self.counted = folder, classes, counted
        self._columns = [*COLUMNS, *(f"{label.name}_share" for label in classes)]
        self._rows: dict[str, Row] = {}
        self._instances: dict[str, list[Row]] = {}

    def add(self, image: Image, bands: Iterable[Uint8]) -> None:
        """Writes the results of an image whose classes come in bands of lines (n, W) from the top: all or none.

        Raises DataError for too many objects, OSError if a file cannot be written, and what `bands` raises.
        """
        try:
            self._write(image, bands)
        except BaseException:
            for kind in KINDS:
                with suppress(OSError):  # one of them may be why
                    self._path(kind, image).unlink()
            raise

    def _write(self, image: Image, bands: Iterable[Uint8]) -> None:
        name, (height, width) = image.source.name, image.grid.own
        num_classes, top = len(self.classes), 0
        counts = np.zeros(256, np.int64)  # of all values, as pixels without data are void
        whole = bool(self.counted) or not image.is_tiff
        kept: list[Uint8] = []
        with ExitStack() as stack:
            if image.is_tiff:
                place = image.georeference
                append = stack.enter_context(mask_files.written(self._path("masks", image), height, width, place))
            for lines in bands:
                image.no_data.cut_from(lines, top)
                top += len(lines)
                counts += np.bincount(lines.ravel(), minlength=256)
                image.canvas.add_mask(lines)
                if image.is_tiff:
                    append(lines)
                if whole:
                    kept.append(lines)
            if self.counted:
                self._number(image, np.concatenate(kept))
        if not image.is_tiff:
            png.write_png(self._path("masks", image), np.concatenate(kept))
        png.write_png(self._path("overlays", image), image.canvas.picture(counts[:num_classes] > 0))
        shares = counts[:num_classes] / max(1, counts[:num_classes].sum())
        self._rows[name] = [name, height, width, *shares.tolist()]

    def _number(self, image: Image, mask: Uint8) -> None:
        numbers, objects = instances.find(mask, self.counted, image.source.path)
        with atomic.file(self._path("instances", image)) as temporary:
            temporary.write_bytes(instances.png(numbers))
        self._instances[image.source.name] = [self._instance_row(image.source.name, one) for one in objects]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables."""
        return (SUMMARY, INSTANCES) if self.counted else (SUMMARY,)

    def announce(self, names: Sequence[str]) -> None:
        """Lists the images to come, without values, so that a killed run leaves the names of everything it wrote."""
        unknown = [""] * (len(self._columns) - 1)
        records.write_csv(self.folder / SUMMARY, self._columns, [[name, *unknown] for name in names])

    def write_tables(self, order: Sequence[str]) -> None:
        """Writes the tables of the images that were added, in this order."""
        done = [name for name in order if name in self._rows]
        records.write_csv(self.folder / SUMMARY, self._columns, [self._rows[name] for name in done])
        if self.counted:
            rows = [row for name in done for row in self._instances[name]]
            records.write_csv(self.folder / INSTANCES, INSTANCE_COLUMNS, rows)

    def _path(self, kind: str, image: Image) -> Path:
        suffix = ".tif" if kind == "masks" and image.is_tiff else ".png"
        return self.folder / kind / f"{image.source.name}{suffix}"

    def _instance_row(self, name: str, one: instances.Instance) -> Row:
        box = (one.left, one.top, one.width, one.height)
        return [name, one.number, self.classes[one.class_index].name, one.area, *box, one.x, one.y]


@contextmanager
def opened(
    folder: Path, classes: Sequence[raw.Label], counted: Sequence[int], names: Sequence[str]
) -> Iterator[OutputFolder]:
    """A new output folder in place of an earlier prediction in `folder`. However the block ends, its tables then list
    what was added, in the order of `names`. Raises ParameterError for a folder that contains anything else."""
    names_before = earlier(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder, names_before)
    results = OutputFolder(folder, classes, counted)
    results.announce(names)
    try:
        yield results
    finally:
        results.write_tables(names)


def earlier(folder: Path) -> list[str]:
    """The images listed by an earlier prediction; none for a new or empty folder. Otherwise raises ParameterError."""
    where = f"--out {folder}"
    if folder.exists() and not folder.is_dir():
        raise ParameterError(where, "a file, expected a folder", "Name another.")
    if not folder.exists() or all(entry.name.startswith(".") for entry in folder.iterdir()):
        return []
    try:
        with (folder / SUMMARY).open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
    except (FileNotFoundError, ValueError, csv.Error):
        header, rows = [], []
    if header[: len(COLUMNS)] != COLUMNS:
        problem = f"neither empty nor an earlier prediction: {SUMMARY} is missing or of another kind"
        raise ParameterError(where, problem, "Name a new folder, or empty this one.")
    return [row[0] for row in rows if row]


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Removes the results of the images that an earlier prediction lists, and nothing else."""
    for name in names:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            continue  # not written by `OutputFolder`
        for kind, suffix in (*((kind, ".png") for kind in KINDS), ("masks", ".tif")):
            (folder / kind / f"{name}{suffix}").unlink(missing_ok=True)
    (folder / INSTANCES).unlink(missing_ok=True)
