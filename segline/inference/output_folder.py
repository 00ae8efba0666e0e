"""A folder of predictions, and the tables that list them.

    summary.csv             image, height, width, share of each class among the pixels with data; ranked: entropy and
                            margin, see `segline.inference.uncertainty`, and the least certain image first
    masks/<image>.png       the class of each pixel, 8-bit gray; of a TIFF image <image>.tif, with its
                            coordinate system and transform, 255 = no data
    overlays/<image>.png    the image under the colours of its classes, scaled down if it is large
    instances.csv           image, instance, class, area, box, centroid            if objects were requested
    instances/<image>.png   the number of each pixel's object, 16-bit gray, 0 = none
    probabilities/<image>.tif  a plane for each class, 8 bits, 255 = 1               if they were requested
    annotations*            see `segline.inference.annotation_files`                if they were requested
    least_certain.png       overlays of the images that come first                  if they are ranked

The name of an image may be "left/frame": then its results are in subfolders.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core import atomic, records
from segline.core.errors import ParameterError
from segline.dataset import raw
from segline.inference import annotation_files, instances, mask_files, uncertainty
from segline.inference.annotations import Request
from segline.inference.input_rows import Image
from segline.inference.instances import Learnt
from segline.model import watershed
from segline.preprocessing.image_files import png
from segline.reporting import charts

SUMMARY, INSTANCES, LEAST_CERTAIN = "summary.csv", "instances.csv", "least_certain.png"
KINDS = ("masks", "overlays", "instances", "probabilities")
COLUMNS = ["image", "height", "width"]
RANK_COLUMNS = ["entropy", "margin"]
INSTANCE_COLUMNS = ["image", "instance", "class", "area", "left", "top", "width", "height", "x", "y"]

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]
Row = list[Any]


@dataclass(frozen=True)
class Contents:
    """What is written besides masks and overlays. The objects of the classes `counted` are numbered.

    `learnt` says which objects the model has learnt, if any are to be found.
    """

    counted: Sequence[int] = ()
    annotations: Request | None = None
    ranked: bool = False
    probabilities: bool = False
    learnt: Learnt | None = None

    @property
    def whole(self) -> str | None:
        """The option for which a mask must be in memory at once."""
        return "--instances" if self.counted else "--annotations" if self.annotations else None


@dataclass(frozen=True)
class Band:
    """Lines of an image: its classes (n, W), and probabilities (n, W, K) if they are written.

    `insides` (P, n, W) are those of the classes with objects, see `segline.model.objects`, if these are to be found.
    """

    classes: Uint8
    probabilities: Uint8 | None = None
    insides: Uint16 | None = None


@dataclass(frozen=True)
class Listed:
    """What tables list of the images of a chunk: rows by name, and where their annotations are in its spool."""

    rows: dict[str, Row]
    instances: dict[str, list[Row]]
    annotations: annotation_files.Places


class OutputFolder:
    """The folder while any thread adds predictions to it, or those of a chunk; `spool` takes a chunk's annotations."""

    def __init__(
        self, folder: Path, classes: Sequence[raw.Label], contents: Contents, spool: Path | None = None
    ) -> None:
        self.folder, self.classes, self.contents = folder, classes, contents
        rank = RANK_COLUMNS if contents.ranked else []
        self._columns = [*COLUMNS, *rank, *(f"{label.name}_share" for label in classes)]
        self._rows: dict[str, Row] = {}
        self._instances: dict[str, list[Row]] = {}
        wanted = contents.annotations
        self._annotations = annotation_files.Annotations(folder, classes, wanted, spool) if wanted else None

    def add(self, image: Image, bands: Iterable[Band], doubt: uncertainty.Uncertainty | None = None) -> None:
        """Writes the results of an image that comes in bands from the top: all or none.

        After the last band, `doubt` has the measures that rank the image.

        Raises DataError for too many objects, OSError if a file cannot be written, and what `bands` raises.
        """
        try:
            self._write(image, bands)
            if self.contents.ranked and doubt is not None:
                self._rows[image.source.name][len(COLUMNS) : len(COLUMNS)] = doubt.means()
        except BaseException:
            if self._annotations:
                self._annotations.drop(image.source.name)
            for kind in KINDS:
                with suppress(OSError):  # one of them may be why
                    self._path(kind, image).unlink()
            raise

    def _write(self, image: Image, bands: Iterable[Band]) -> None:
        name, (height, width) = image.source.name, image.grid.own
        num_classes, top = len(self.classes), 0
        counts = np.zeros(256, np.int64)  # of all values, as pixels without data are void
        whole = self.contents.whole is not None or not image.is_tiff
        kept: list[Uint8] = []
        insides: list[Uint16] = []
        with ExitStack() as stack:
            if image.is_tiff:
                place = image.georeference
                append = stack.enter_context(mask_files.written(self._path("masks", image), height, width, place))
            if self.contents.probabilities:
                path, names = self._path("probabilities", image), [label.name for label in self.classes]
                planes = mask_files.written(path, height, width, image.georeference, names)
                append_planes = stack.enter_context(planes)
            for band in bands:
                lines, missing = band.classes, image.no_data.missing(top, len(band.classes))
                if band.probabilities is not None:
                    if missing is not None:
                        band.probabilities[missing] = 0
                    append_planes(band.probabilities)
                image.no_data.cut_from(lines, top)
                top += len(lines)
                counts += np.bincount(lines.ravel(), minlength=256)
                image.canvas.add_mask(lines)
                if image.is_tiff:
                    append(lines)
                if whole:
                    kept.append(lines)
                if band.insides is not None:
                    insides.append(band.insides)
            found = self._found(image, np.concatenate(kept), insides) if insides else None
            if self.contents.counted:
                self._number(image, np.concatenate(kept), found)
        if self._annotations:
            self._annotations.add(name, image.source.path, np.concatenate(kept), found)
        if not image.is_tiff:
            png.write_png(self._path("masks", image), np.concatenate(kept))
        png.write_png(self._path("overlays", image), image.canvas.picture(counts[:num_classes] > 0))
        shares = counts[:num_classes] / max(1, counts[:num_classes].sum())
        self._rows[name] = [name, height, width, *shares.tolist()]

    def listed(self) -> Listed:
        """What tables list of the images that were added; none can be added then."""
        return Listed(self._rows, self._instances, self._annotations.places() if self._annotations else {})

    def join(self, chunk: Listed, spool: Path) -> None:
        """Adds the images of a chunk, whose files are in the folder."""
        if self._annotations:
            self._annotations.join(spool, chunk.annotations)
            spool.unlink()
        self._rows |= chunk.rows  # last: a disk that is full before leaves a chunk that is discarded
        self._instances |= chunk.instances

    def discard(self, names: Sequence[str]) -> None:
        """Removes what a chunk that was not finished may have written of these images."""
        for name in names:
            self._rows.pop(name, None)
            self._instances.pop(name, None)
        _clear(self.folder, names)
        if self._annotations:
            for name in names:
                self._annotations.drop(name)

    def _found(self, image: Image, mask: Uint8, insides: Sequence[Uint16]) -> watershed.Found | None:
        learnt = self.contents.learnt
        if learnt is None:
            return None
        whole = np.concatenate(insides, axis=1)
        return watershed.find(mask, whole, learnt.classes, learnt.rule, image.source.path)

    def _number(self, image: Image, mask: Uint8, found: watershed.Found | None) -> None:
        numbers, objects = instances.find(mask, self.contents.counted, image.source.path, found)
        png.write_png(self._path("instances", image), numbers)
        self._instances[image.source.name] = [self._instance_row(image.source.name, one) for one in objects]

    @property
    def written(self) -> tuple[str, ...]:
        """The names of folders and files that an image goes to."""
        contents = self.contents
        form = contents.annotations.form if contents.annotations else ""
        listed = (
            ("masks", True),
            ("overlays", True),
            ("instances", contents.counted),
            ("probabilities", contents.probabilities),
            (SUMMARY, True),
            (INSTANCES, contents.counted),
            (annotation_files.NAMES.get(form, ""), form),
            (LEAST_CERTAIN, contents.ranked),
        )
        return tuple(name for name, is_there in listed if is_there)

    def announce(self, names: Sequence[str]) -> None:
        """Lists the images to come, without values, so that a killed run leaves the names of everything it wrote."""
        unknown = [""] * (len(self._columns) - 1)
        records.write_csv(self.folder / SUMMARY, self._columns, [[name, *unknown] for name in names])

    def write_tables(self, order: Sequence[str]) -> None:
        """Writes what lists the images that were added, in this order; ranked, the least certain come first."""
        done = [name for name in order if name in self._rows]
        if self.contents.ranked:
            at = len(COLUMNS)
            done.sort(key=lambda name: -self._rows[name][at])
            self._show(done[: uncertainty.SHOWN])
        if self._annotations:
            self._annotations.write(done)
        records.write_csv(self.folder / SUMMARY, self._columns, [self._rows[name] for name in done])
        if self.contents.counted:
            rows = [row for name in done for row in self._instances[name]]
            records.write_csv(self.folder / INSTANCES, INSTANCE_COLUMNS, rows)

    def _show(self, least_certain: Sequence[str]) -> None:
        """Writes the contact sheet."""
        shown = []
        for place, name in enumerate(least_certain, start=1):
            entropy, margin = self._rows[name][len(COLUMNS) :][:2]
            text = f"{place}. {charts.short(name)}\nentropy {entropy:.3f}, margin {margin:.3f}"
            shown.append((self.folder / f"overlays/{name}.png", text))
        if shown:
            uncertainty.sheet(self.folder / LEAST_CERTAIN, shown)

    def _path(self, kind: str, image: Image) -> Path:
        suffix = ".tif" if kind == "probabilities" or (kind == "masks" and image.is_tiff) else ".png"
        return self.folder / kind / f"{image.source.name}{suffix}"

    def _instance_row(self, name: str, one: instances.Instance) -> Row:
        box = (one.left, one.top, one.width, one.height)
        return [name, one.number, self.classes[one.class_index].name, one.area, *box, one.x, one.y]


@contextmanager
def opened(
    folder: Path, classes: Sequence[raw.Label], contents: Contents, names: Sequence[str]
) -> Iterator[OutputFolder]:
    """A new output folder in place of an earlier prediction in `folder`. However the block ends, its tables then list
    what was added, in the order of `names`. Raises ParameterError for a folder that contains anything else."""
    names_before = earlier(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder, names_before)
    results = OutputFolder(folder, classes, contents)
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
    for name in (annotation_files.FOLDER, *annotation_files.NAMES.values()):
        if (folder / name).exists():
            problem = f"has {name} of an earlier prediction, which someone may have corrected"
            raise ParameterError(where, problem, "Name a new folder, or move it away.")
    return [row[0] for row in rows if row]


def _clear(folder: Path, names: Sequence[str]) -> None:
    """Removes the results of the images that an earlier prediction lists, and nothing else."""
    for name in names:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            continue  # not written by `OutputFolder`
        for kind, suffix in (*((kind, ".png") for kind in KINDS), ("masks", ".tif"), ("probabilities", ".tif")):
            path = folder / kind / f"{name}{suffix}"
            for each in (path, atomic.temporary_name(path)):
                each.unlink(missing_ok=True)
    for path in (folder / INSTANCES, folder / LEAST_CERTAIN, *folder.glob(spool(folder, "*").name)):
        path.unlink(missing_ok=True)


def spool(folder: Path, chunk: int | str) -> Path:
    """Where the annotations of a chunk wait until they are in the file of all images."""
    return folder / f".{annotation_files.FOLDER}-{chunk}.partial"
