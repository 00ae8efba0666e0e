"""A folder of predictions, and the tables that list them.

    summary.csv             image, height, width, share of each class
    masks/<image>.png       the class of each pixel, 8-bit gray
    overlays/<image>.png    the image under the colours of its classes
    instances.csv           image, instance, class, area, box, centroid            where objects were asked for
    instances/<image>.png   the number of each pixel's object, 16-bit gray, 0 = none

An image may be called "left/frame": then there are folders within.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


class Gallery:
    """The folder while predictions are added to it, by any thread. Classes `counted` are numbered object by object."""

    def __init__(self, folder: Path, classes: Sequence[raw.Label], counted: Sequence[int]) -> None:
        self.folder, self.classes, self.counted = folder, classes, counted
        self._columns = [*COLUMNS, *(f"{label.name}_share" for label in classes)]
        self._rows: dict[str, Row] = {}
        self._instances: dict[str, list[Row]] = {}

    def add(self, found: input_files.Found, image: Uint8, mask: Uint8) -> None:
        """Writes what belongs to the image (H, W, C) with classes (H, W). Raises DataError for too many objects."""
        if self.counted:
            numbers, objects = instances.find(mask, self.counted, found.path)
            with atomic.file(self._path("instances", found.name)) as temporary:
                temporary.write_bytes(instances.png(numbers))
            self._instances[found.name] = [self._instance_row(found.name, one) for one in objects]
        images.write_png(self._path("masks", found.name), mask)
        images.write_png(self._path("overlays", found.name), overlay.picture(image, mask, self.classes))
        shares = np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size
        self._rows[found.name] = [found.name, *mask.shape, *shares.tolist()]

    def announce(self, names: Sequence[str]) -> None:
        """Lists the images to come, without values: so a run that is killed leaves the names of all it has written."""
        unknown = [""] * (len(self._columns) - 1)
        records.write_csv(self.folder / SUMMARY, self._columns, [[name, *unknown] for name in names])

    def write_tables(self, order: Sequence[str]) -> None:
        """Writes the tables of those images in `order` that were added."""
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
) -> Iterator[Gallery]:
    """A gallery in place of the earlier one in `folder`; when the block ends, however it does, its tables list what was
    added, in the order of `names`. Raises ParameterError for a folder that holds anything but a gallery."""
    _clear(folder, earlier(folder))
    gallery = Gallery(folder, classes, counted)
    gallery.announce(names)
    try:
        yield gallery
    finally:
        gallery.write_tables(names)


def earlier(folder: Path) -> list[str]:
    """The images in the summary of an earlier prediction, none for a new or empty folder. Raises ParameterError."""
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
        found = f"not empty, and no earlier prediction: it has no {SUMMARY} of one"
        raise ParameterError(where, found, "Name a new folder, or empty this one.")
    return [row[0] for row in rows if row]


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Removes what an earlier prediction lists, and nothing else."""
    for name in names:
        relative = PurePosixPath(f"{name}.png")
        if relative.is_absolute() or ".." in relative.parts:
            continue  # not written by us
        for kind in KINDS:
            (folder / kind / relative).unlink(missing_ok=True)
    (folder / INSTANCES).unlink(missing_ok=True)
