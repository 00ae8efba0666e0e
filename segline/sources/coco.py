"""COCO instances: one JSON a split, or one for all, whose annotations become masks and object numbers.

Polygons and run lengths are drawn as `pycocotools.coco.COCO.annToMask` does, each annotation above those before it in
the file: so a hole is an annotation that follows. Crowds (`iscrowd`) are void, below all objects wherever they stand:
`COCOeval`, too, takes an object's own annotation before a crowd's. The file may be large: annotations are parsed one at
a time, once to check them and once to draw them.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from segline.core.errors import DataError, PipelineError, combined
from segline.dataset.raw import SUFFIXES, Dataset
from segline.sources.collecting import (
    annotation_places,
    coco_runs,
    drawn,
    image_size,
    json_file,
    labels,
    listing,
    shapes,
    splitting,
)
from segline.sources.collecting.annotation_places import File, Folder, Split
from segline.sources.collecting.json_file import Elements
from segline.sources.collecting.listing import Entry
from segline.sources.collecting.shapes import Canvas, Faults

Content = TypeVar("Content")

MAX_IMAGES = 2_000_000
_ARRAYS = ("images", "annotations", "categories")
_LISTED = 100  # malformed elements of a file; then reading stops


class Section(labels.Rules):
    """data.coco: which JSON files, the folder that their `file_name` starts in ("." is data.input), and the splits."""

    split: Split
    annotations: File
    images: Folder
    group: splitting.Group


@dataclass(frozen=True)
class _Image:
    id: int
    file_name: Annotated[str, Field(min_length=1, max_length=4096)]
    height: int
    width: int


@dataclass(frozen=True)
class _Category:
    id: int
    name: Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True)
class _Annotation:
    image_id: int
    category_id: int
    id: int | None = None
    iscrowd: Literal[0, 1] | bool = False
    segmentation: coco_runs.Segmentation | None = None


IMAGE, CATEGORY, ANNOTATION = TypeAdapter(_Image), TypeAdapter(_Category), TypeAdapter(_Annotation)


@dataclass
class _Listed:
    """An image of a file: its size, and the annotations drawn on it: crowds first, then those with mask values."""

    file: Elements
    height: int
    width: int
    crowds: "array[int]" = field(default_factory=lambda: array("L"))
    numbers: "array[int]" = field(default_factory=lambda: array("L"))
    values: bytearray = field(default_factory=bytearray)


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return splitting.names(section.split)


def describe(section: Section, source_input: Path) -> Dataset:
    """The data set without its pairs."""
    return labels.dataset(source_input.resolve().name, section)


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would. Of images it reads headers: 100,000 annotations take some five seconds."""
    with ExitStack() as files:
        _Reader(section, source_input).read(files)


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The images below `source_input`, copied, with drawn masks and object numbers: see `collecting.drawn`.

    Raises ParameterError, and DataError for all problems of names, labels and shapes at once.
    """
    reader = _Reader(section, source_input)
    return drawn.collected(reader, describe(section, source_input), source_input, folder)


class _Reader:
    """Reads and checks the files once; then draws image by image, in any order, while they are open."""

    def __init__(self, section: Section, root: Path) -> None:
        self._section, self._root = section, root
        self._labels, self._faults = labels.Labels(section), Faults(section.faults)
        self._problems: list[PipelineError] = []
        self._images: dict[Path, _Listed] = {}
        self._crowds = self._repeated = 0

    def read(self, files: ExitStack) -> dict[str, list[Entry]]:
        """The entries of each split, sorted by stem. The files stay open as long as `files`."""
        annotation_places.require_folder(self._root)
        found: dict[str, list[Entry]] = {}
        for name, path, folder in annotation_places.of_each_split(self._root, self._section):
            found[name] = []
            try:
                found[name] = self._read(files.enter_context(json_file.elements(path, _ARRAYS)), folder)
            except DataError as error:
                self._problems.append(error)
        self._problems += [*drawn.alike(found), *self._labels.problems(), *self._faults.problems()]
        entries = splitting.divided(
            self._root, found, self._section.split, self._section.group, problems=self._problems
        )
        if self._problems:
            raise combined(self._root, self._problems)
        return entries

    def draw(self, entry: Entry) -> Canvas:
        """The crowds of an image, then its other annotations, in the order of the file."""
        image = self._images[entry.image]
        canvas, again = Canvas(image.height, image.width, self._section.background), Faults("skip")
        seen: set[bytes] = set()
        crowds = ((number, labels.VOID) for number in image.crowds)
        for number, value in chain(crowds, zip(image.numbers, image.values, strict=True)):
            segmentation = image.file.parse("annotations", number, ANNOTATION).segmentation
            drawable = coco_runs.drawable(segmentation, (image.height, image.width), image.file.path, "", again)
            if isinstance(drawable, list):
                self._faults.look_for_crossings(map(coco_runs.points, drawable), image.file.path)
                drawable = coco_runs.of_polygons(drawable, image.height, image.width)
            if drawable is not None:
                canvas.draw(value, coco_runs.region(drawable, image.height))
                key = sha256(bytes([value]) + drawable.tobytes()).digest()
                self._repeated += key in seen
                seen.add(key)
        self._faults.drawn(canvas)
        return canvas

    def notes(self) -> list[str]:
        """What was done without an error, a line each, with counts."""
        bare = sum(not image.numbers and not image.crowds for image in self._images.values())
        counted = (
            (self._crowds, "crowds are void"),
            (self._repeated, "annotations with the class and all pixels of another of their image, drawn above it"),
            (bare, f"images without an annotation are {self._section.unlabelled} everywhere"),
        )
        return [*self._labels.notes(), *(f"{what}: {count}" for count, what in counted if count), *self._faults.notes()]

    def _read(self, file: Elements, folder: Path) -> list[Entry]:
        """The entries of a file, sorted by stem."""
        if outside := listing.leads_out(self._root, file.path):
            raise DataError(file.path, outside, "Put the file itself below data.input.")
        entries, images = self._entries(file, folder)
        names: dict[int, str] = {}
        for _, category in self._each(file, "categories", CATEGORY):
            if names.setdefault(category.id, category.name) != category.name:
                problem = f"categories: id {category.id} is {names[category.id]!r} and {category.name!r}"
                self._problems.append(DataError(file.path, problem, "Give each an id of its own."))
        strays: Counter[str] = Counter()
        for number, annotation in self._each(file, "annotations", ANNOTATION):
            image, name = images.get(annotation.image_id), names.get(annotation.category_id)
            if image is None or name is None:
                strays[
                    f"image_id {annotation.image_id}, which is not in images"
                    if image is None
                    else f"category_id {annotation.category_id}, which is not in categories"
                ] += 1
                continue
            value = self._labels.value(name, file.path)
            self._crowds += bool(annotation.iscrowd)
            which = f"annotation {f'at place {number}' if annotation.id is None else annotation.id} ({name})"
            segmentation, size = annotation.segmentation, (image.height, image.width)
            if coco_runs.drawable(segmentation, size, file.path, which, self._faults) is None:
                continue
            if annotation.iscrowd:
                image.crowds.append(number)
            else:
                image.numbers.append(number)
                image.values.append(value)
        for reference, count in strays.most_common(_LISTED):
            problem = f"annotations with {reference}: {count}"
            self._problems.append(DataError(file.path, problem, "Export the annotations again, as a whole."))
        for entry in entries:
            values = self._images[entry.image].values
            if excess := shapes.too_many(shapes.count_objects(values, self._section.background)):
                self._problems.append(DataError(entry.image, excess, "Cut it into smaller images."))
        return entries

    def _entries(self, file: Elements, folder: Path) -> tuple[list[Entry], dict[int, _Listed]]:
        """The entries of a file, sorted by stem, and its images by their id."""
        if not 1 <= file.count("images") <= MAX_IMAGES:
            problem = f"{file.count('images')} images, expected 1 to {MAX_IMAGES}"
            raise DataError(
                file.path, problem, "Is this a COCO file of instances? It has images, annotations, categories."
            )
        if not folder.is_dir():
            raise DataError(folder, "no such folder", "Put the images there, or fix the parameter images.")
        entries, images = list[Entry](), dict[int, _Listed]()
        for number, record in self._each(file, "images", IMAGE):
            image = _Listed(file, record.height, record.width)
            path = folder / record.file_name
            if fault := self._fault_of(record, path, is_known=record.id in images):
                where = f"{file.path}: images[{number}]"
                self._problems.append(DataError(where, fault, "Correct the file, or export it again."))
            else:
                stem = record.file_name.removesuffix(path.suffix)
                entries.append(Entry(stem, None, path, file.path))
                self._images[path] = image
            images.setdefault(record.id, image)
        return sorted(entries, key=lambda entry: entry.stem), images

    def _fault_of(self, record: _Image, path: Path, *, is_known: bool) -> str | None:
        """What is wrong with an image that a file lists."""
        try:
            listing.relative(record.file_name)
        except ValueError:
            return f"file_name {record.file_name!a}, expected a path below the folder of the images, without .."
        if is_known:
            return f"id {record.id} a second time"
        if path in self._images:
            return f"{path} a second time"
        if path.suffix.lower() not in SUFFIXES:
            return f"{path} in a format that is not read"
        if not path.is_file():
            return f"no image {path}"
        return (
            listing.leads_out(self._root, path)
            or shapes.too_large(record.height, record.width)
            or image_size.other_than(path, record.height, record.width)
        )

    def _each(self, file: Elements, name: str, shape: TypeAdapter[Content]) -> Iterator[tuple[int, Content]]:
        """The elements of an array with their places. Those that are malformed are problems, at most 100 of them."""
        malformed = 0
        for number in range(file.count(name)):
            try:
                yield number, file.parse(name, number, shape)
            except DataError as error:
                self._problems.append(error)
                malformed += 1
                if malformed == _LISTED:
                    return
