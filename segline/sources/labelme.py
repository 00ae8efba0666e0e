"""Labelme: one JSON an image, which is beside it or embedded in it.

Shapes are drawn as labelme does it (see `collecting.labelme_shapes`), each above those before it. Shapes of one label
and one group number are one object. `__ignore__` is void; `_background_` is what pixels without a shape are, unless it
is one of the classes, or they are void: then it is the class background. Masks are upright, as labelme shows images.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationInfo

from segline.core.errors import DataError, PipelineError, combined
from segline.dataset.raw import SUFFIXES, Dataset
from segline.monitoring import console
from segline.preprocessing.image_files import image_file
from segline.preprocessing.image_files.headers import PNG
from segline.preprocessing.image_files.upright import TURNS
from segline.sources.collecting import (
    annotation_places,
    drawn,
    json_file,
    labelme_shapes,
    labels,
    listing,
    shapes,
    splitting,
)
from segline.sources.collecting.labelme_shapes import Pencil, Shape
from segline.sources.collecting.listing import Entry
from segline.sources.collecting.shapes import Canvas, Faults, Points, Region

IGNORED, BACKGROUND = "__ignore__", "_background_"
_BACKGROUND_CLASS = "background"  # what BACKGROUND is where unlabelled pixels are void
MAX_BYTES = 128 << 20  # of a JSON with its image


def _json(text: str, info: ValidationInfo) -> str:
    folder, _, name = listing.relative(text).rpartition("/")
    if "*" in folder or name.count("*") != 1 or not name.lower().endswith(".json"):
        raise ValueError("expected one * (the stem) in the file name and .json after it")
    form = info.data.get("split")
    if form is not None and (splitting.SPLIT in text) != isinstance(form, splitting.ByFolder):
        raise ValueError(
            f"expected {'' if isinstance(form, splitting.ByFolder) else 'no '}{{split}} in it with by: {form.by}"
        )
    return text


class Section(labels.Rules):
    """data.labelme: which files are annotations, such as "*.json" or "{split}/*.json", and how they are split."""

    split: annotation_places.Split
    annotations: Annotated[str, AfterValidator(_json)]
    group: splitting.Group


@dataclass(frozen=True)
class Document:
    """What is read of a file."""

    imagePath: Annotated[str, Field(min_length=1, max_length=4096)]  # noqa: N815 - labelme's name
    shapes: list[Shape]
    imageData: str | None = None  # noqa: N815
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815


@dataclass(frozen=True)
class _Picture:
    """The image of a file as labelme shows it, and its Exif tag.

    What is embedded has `content`; labelme then ignores the tag.
    """

    path: Path
    height: int
    width: int
    tag: int
    content: bytes | None = None

    @property
    def has_two_readings(self) -> bool:
        """Whether it has the same size turned and not, so that its mask does not tell which is meant."""
        return self.tag > 1 and (self.tag < 5 or self.height == self.width)


_DOCUMENT = TypeAdapter(Document)


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return splitting.names(section.split)


def describe(section: Section, source_input: Path) -> Dataset:
    """The data set without its pairs."""
    return labels.dataset(source_input.resolve().name, section)


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would. Decodes no images: 1,000 files take some seconds."""
    _entries(section, source_input)


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The images, copied or as they are embedded, with drawn masks and object numbers: see `collecting.drawn`.

    Raises ParameterError, and DataError for all problems of names, labels and shapes at once.
    """
    entries = _entries(section, source_input)
    drawing = _Drawing(section)
    pairs = drawn.write(
        entries,
        lambda entry: drawing.canvas(entry.mask, *_read(entry.mask, source_input)),
        folder,
        lambda entry: _read(entry.mask, source_input)[1].content,
    )
    without = _without_annotations(entries)
    left_out = [f"images without an annotation file are left out: {without}"] if without else []
    for line in [*left_out, *drawing.notes()]:
        console.warn(f"{source_input}: {line}")
    return replace(describe(section, source_input), splits=pairs)


def _entries(section: Section, root: Path) -> dict[str, list[Entry]]:
    """The checked files of each split: their `image` is the image, or the name that an embedded one gets."""
    annotation_places.require_folder(root)
    problems: list[PipelineError] = []
    drawing = _Drawing(section)
    form = section.split
    found: dict[str, list[Entry]] = {}
    for name, text in ({"": ""} if form.by == "ratio" else splitting.folders(form)).items():
        files = _files(root, section.annotations.replace(splitting.SPLIT, text), problems)
        found[name] = []
        for stem, file in console.progress(files.items(), len(files), f"check {name}".strip(), "file"):
            try:
                document, picture = _read(file, root)
            except DataError as error:
                problems.append(error)
                continue
            found[name].append(Entry(stem, None, picture.path, file))
            drawing.check(file, document, picture)
    problems += [*_shared(found), *drawn.alike(found), *drawing.labels.problems(), *drawing.faults.problems()]
    entries = splitting.divided(root, found, form, section.group, problems=problems)
    if problems:
        raise combined(root, problems)
    return entries


def _files(root: Path, pattern: str, problems: list[PipelineError]) -> dict[str, Path]:
    """Stem -> annotation file, sorted. Hidden files are ignored."""
    folder, _, name = pattern.rpartition("/")
    before, after = map(re.escape, name.split("*"))
    place = root / folder
    if not place.is_dir():
        problems.append(DataError(place, "no such folder", f"Put the files of {pattern} there, or fix the pattern."))
        return {}
    if outside := listing.leads_out(root, place):
        problems.append(DataError(place, outside, "Put the files themselves below data.input."))
        return {}
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        match = re.fullmatch(f"{before}(.+){after}", path.name, re.DOTALL)
        if match and not path.name.startswith("."):
            if (problem := listing.unusable(root, path)) is not None:
                problems.append(DataError(path, problem, "Replace it with a plain file with a plain name."))
            else:
                files[match[1]] = path
    if not files:
        problems.append(DataError(place, f"no file matches {name}", "Put annotations there, or fix the pattern."))
    return files


def _shared(found: dict[str, list[Entry]]) -> Iterator[PipelineError]:
    first: dict[Path, Entry] = {}
    for entry in (entry for entries in found.values() for entry in entries):
        if (other := first.setdefault(entry.image, entry)) is not entry:
            problem = f"its image {entry.image.name} is that of {other.mask} too"
            yield DataError(entry.mask, problem, "Remove one of the two annotation files.")


def _without_annotations(found: dict[str, list[Entry]]) -> int:
    """How many images lie beside those that have an annotation file, or beside such files, and have none."""
    paths = [path for entries in found.values() for entry in entries for path in (entry.image, entry.mask)]
    labelled = {path.with_suffix("") for path in paths}
    return sum(
        path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.with_suffix("") not in labelled
        for folder in {path.parent for path in paths}
        if folder.is_dir()
        for path in folder.iterdir()
    )


@lru_cache(maxsize=1)  # an entry is drawn and copied from one reading
def _read(file: Path, root: Path) -> tuple[Document, _Picture]:
    """An annotation file and its image. Raises DataError."""
    document = json_file.read(file, _DOCUMENT, MAX_BYTES)
    picture = _beside(file, root, document) if document.imageData is None else _embedded(file, document.imageData)
    size, given = (picture.height, picture.width), (document.imageHeight, document.imageWidth)
    if any(each is not None and each != actual for each, actual in zip(given, size, strict=True)):
        problem = f"imageWidth x imageHeight is {given[1]}x{given[0]}, but its image has {size[1]}x{size[0]} pixels"
        raise DataError(file, problem, "Put back the image that was labelled.")
    if too_much := shapes.too_large(*size) or shapes.too_many(len(document.shapes)):
        raise DataError(file, too_much, "Cut the image into parts.")
    return document, picture


def place_of(file: Path, root: Path, document: Document) -> Path:
    """Where the image of an annotation file is, if it is beside it or elsewhere below `root`. Raises DataError."""
    name = PureWindowsPath(document.imagePath)  # both kinds of slashes, as labelme reads it
    below = os.path.normpath(file.parent.relative_to(root) / name.as_posix())
    if name.anchor or Path(below).parts[:1] == (os.pardir,):
        remedy = "Put the image beside its annotation file, and write its name alone."
        raise DataError(file, f"imagePath {document.imagePath!a} leads out of {root}", remedy)
    try:
        return root / listing.relative(below)
    except ValueError as error:
        raise DataError(file, f"imagePath {document.imagePath!a}: {error}", "Rename the image.") from None


def _beside(file: Path, root: Path, document: Document) -> _Picture:
    path = place_of(file, root, document)
    if path.suffix.lower() not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise DataError(file, f"imagePath {document.imagePath!a}, expected one of {known}", "Convert the image.")
    problem = listing.unusable(root, path) if path.exists() else "missing"
    if problem is not None:
        raise DataError(file, f"imagePath {document.imagePath!a} is {problem}", "Put the image beside its JSON.")
    with image_file.opened(path, path, windows=True) as image:
        return _Picture(path, image.height, image.width, image.orientation)


def embedded(file: Path, text: str) -> tuple[Path, bytes]:
    """The name that the image in `imageData` gets, and its content. Raises DataError if it is not base64."""
    content = labelme_shapes.decoded(text, file, "imageData")
    return file.with_suffix(".png" if content.startswith(PNG) else ".jpg"), content


def _embedded(file: Path, text: str) -> _Picture:
    """The image in `imageData`: its container is checked, its pixels are not decoded."""
    path, content = embedded(file, text)
    stored = labelme_shapes.opened(content, file, path, "imageData")
    return _Picture(path, stored.height, stored.width, stored.orientation, content)


class _Drawing:
    """Checks and draws documents, and counts what it finds."""

    def __init__(self, section: Section) -> None:
        self._background = section.background
        self._classes = section.classes
        self._names_background = bool({BACKGROUND, _BACKGROUND_CLASS} & set(section.classes))
        self._ignored = self._ambiguous = 0
        self.labels, self.faults = labels.Labels(section), Faults(section.faults)

    def check(self, file: Path, document: Document, picture: _Picture) -> None:
        """Adds the problems of a document to those of labels and faults."""
        for number, shape in enumerate(document.shapes):
            self._value(shape, file)
            self._outline(shape, number, file, picture)

    def notes(self) -> list[str]:
        """What was done without an error, a line each, with counts."""
        counted = (
            (self._ignored, f"shapes labelled {IGNORED} are void"),
            (
                self._ambiguous,
                "images have the same size before and after their Exif turn; masks are upright, so set "
                "preprocess.orientation to upright",
            ),
        )
        return [*self.labels.notes(), *(f"{what}: {count}" for count, what in counted if count), *self.faults.notes()]

    def canvas(self, file: Path, document: Document, picture: _Picture) -> Canvas:
        """The drawn shapes, upright as the file of the image shows them."""
        canvas = Canvas(picture.height, picture.width, self._background)
        pencil = Pencil(picture.height, picture.width)
        objects: dict[tuple[str, int | None], int] = {}  # by label and group
        for number, shape in enumerate(document.shapes):
            value = self._value(shape, file)
            outline = self._outline(shape, number, file, picture)
            if outline is None:
                continue
            region = outline if isinstance(outline, Region) else pencil.region(shape, outline)
            key = (shape.label, shape.group_id)
            part_of = None if shape.group_id is None else objects.get(key)
            objects[key] = canvas.draw(value, region, part_of=part_of)
        self._ambiguous += picture.has_two_readings
        turn = TURNS[1 if picture.content is None else picture.tag]
        canvas.mask, canvas.objects = turn.upright(canvas.mask), turn.upright(canvas.objects)
        self.faults.drawn(canvas)
        return canvas

    def _value(self, shape: Shape, file: Path) -> int:
        if shape.label == IGNORED:
            self._ignored += 1
            return labels.VOID
        if shape.label != BACKGROUND or BACKGROUND in self._classes:
            return self.labels.value(shape.label, file)
        if self._background == labels.VOID and _BACKGROUND_CLASS in self._classes:
            return self.labels.value(_BACKGROUND_CLASS, file)
        return self._background

    def _outline(self, shape: Shape, number: int, file: Path, picture: _Picture) -> Points | Region | None:
        """As `labelme_shapes.drawable`."""
        which = f"shape {number} ({shape.label!a}, {shape.kind})"
        if shape.label == BACKGROUND and self._background == labels.VOID and not self._names_background:
            self.faults.add(file, which, f"{BACKGROUND} is what unlabelled says, which is {labels.VOID_NAME}")
            return None
        return labelme_shapes.drawable(shape, (picture.height, picture.width), file, which, self.faults)
