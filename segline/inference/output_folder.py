"""A folder of predictions, and the tables that list them.

    summary.csv             image, height, width, share of each class
    masks/<image>.png       the class of each pixel, 8-bit gray
    overlays/<image>.png    the image under the colours of its classes
    instances.csv           image, instance, class, area, box, centroid            if objects were requested
    instances/<image>.png   the number of each pixel's object, 16-bit gray, 0 = none

The name of an image may be "left/frame": then its results are in subfolders.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core import atomic, records
from segline.core.errors import ParameterError
from segline.dataset import raw
from segline.inference import input_files, instances, overlay
from segline.preprocessing import images

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

    def add(self, source: input_files.InputImage, image: Uint8, mask: Uint8) -> None:
        """Writes the results of an image (H, W, C) with classes (H, W): all or none.

        Raises DataError for too many objects, OSError if a file cannot be written.
        """
        try:
            self._write(source, image, mask)
        except OSError:
            self._remove(source.name)
            raise

    def _write(self, source: input_files.InputImage, image: Uint8, mask: Uint8) -> None:
        if self.counted:
            numbers, objects = instances.find(mask, self.counted, source.path)
            with atomic.file(self._path("instances", source.name)) as temporary:
                temporary.write_bytes(instances.png(numbers))
            self._instances[source.name] = [self._instance_row(source.name, one) for one in objects]
        images.write_png(self._path("masks", source.name), mask)
        images.write_png(self._path("overlays", source.name), overlay.picture(image, mask, self.classes))
        shares = np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size
        self._rows[source.name] = [source.name, *mask.shape, *shares.tolist()]

    def _remove(self, name: str) -> None:
        for kind in KINDS:
            with suppress(OSError):  # one of them is why this is called
                self._path(kind, name).unlink()

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

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.png"

    def _instance_row(self, name: str, one: instances.Instance) -> Row:
        box = (one.left, one.top, one.width, one.height)
        return [name, one.number, self.classes[one.class_index].name, one.area, *box, one.x, one.y]


@contextmanager
def opened(
    folder: Path, classes: Sequence[raw.Label], counted: Sequence[int], names: Sequence[str]
) -> Iterator[OutputFolder]:
    """A new output folder in place of an earlier prediction in `folder`. However the block ends, its tables then list
    what was added, in the order of `names`. Raises ParameterError for a folder that contains anything else."""
    _clear(folder, earlier(folder))
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
        relative = PurePosixPath(f"{name}.png")
        if relative.is_absolute() or ".." in relative.parts:
            continue  # not written by `OutputFolder`
        for kind in KINDS:
            (folder / kind / relative).unlink(missing_ok=True)
    (folder / INSTANCES).unlink(missing_ok=True)
