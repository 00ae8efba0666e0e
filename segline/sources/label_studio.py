"""Label Studio's JSON export (not JSON_MIN): polygons, rectangles, ellipses and brush strokes, one image a task.

How shapes are drawn is in `collecting.label_studio_shapes`; each result is above those before it. Of several
annotations of a task the last one counts that was not cancelled.
"""

import re
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, TypeAdapter

from segline.core.errors import DataError, PipelineError, combined
from segline.dataset.raw import SUFFIXES, Dataset
from segline.preprocessing.image_files import image_file, reading
from segline.sources.collecting import (
    annotation_places,
    drawn,
    image_size,
    json_file,
    label_studio_shapes,
    labels,
    listing,
    shapes,
    splitting,
)
from segline.sources.collecting.annotation_places import File, Folder, Split
from segline.sources.collecting.json_file import TOP, Elements
from segline.sources.collecting.label_studio_shapes import Value
from segline.sources.collecting.listing import Entry
from segline.sources.collecting.shapes import Canvas, Faults

MAX_TASKS = 2_000_000
READ = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels", "labels")
BARE = ("polygon", "rectangle", "ellipse", "brush")  # beside a result with the same id, which has the label
_AREAS = ("keypoint", "vector", "bitmask", "videorectangle", "magicwand")  # other marks on an image; and all *labels
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")  # before the name of an uploaded file
_UPLOADS = "data/upload/"  # the folder that Label Studio itself keeps them in
_LISTED = 100  # malformed tasks of a file; then reading stops


class Section(labels.Rules):
    """data.label_studio: the export, the folder of the images ("." is data.input), the field of a task's data that
    names its image, and the splits."""

    split: Split
    annotations: File
    images: Folder
    field: Annotated[str, Field(min_length=1, max_length=200)]
    group: splitting.Group


@dataclass(frozen=True)
class Result:
    """A shape or anything else that people said of an image."""

    type: str
    value: Value = field(default_factory=Value)
    id: str | None = None
    original_width: int = 0
    original_height: int = 0
    image_rotation: float = 0.0


@dataclass(frozen=True)
class Annotation:
    """What one person said of an image at one time."""

    result: list[Result]
    was_cancelled: bool | None = None
    created_at: str | None = None


@dataclass(frozen=True)
class Task:
    """What is read of a task."""

    id: int
    annotations: list[Annotation]
    data: dict[str, Any]
    file_upload: str | None = None


TASK = TypeAdapter(Task)


@dataclass
class _Listed:
    """A task with an image: its place in the file, its size (None without results), and which results are drawn, with
    their mask values."""

    file: Elements
    number: int
    size: tuple[int, int] | None
    results: "array[int]" = field(default_factory=lambda: array("L"))
    values: bytearray = field(default_factory=bytearray)


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return splitting.names(section.split)


def describe(section: Section, source_input: Path) -> Dataset:
    """The data set without its pairs."""
    return labels.dataset(source_input.resolve().name, section)


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would. Of images it reads headers."""
    with ExitStack() as files:
        _Reader(section, source_input).read(files)


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The images below `source_input`, copied, with drawn masks and object numbers: see `collecting.drawn`.

    Raises ParameterError, and DataError for all problems of names, labels and shapes at once.
    """
    reader = _Reader(section, source_input)
    return drawn.collected(reader, describe(section, source_input), source_input, folder)


def counted(task: Task) -> Annotation | None:
    """The last annotation that was not cancelled, by the time it was made; None if there is none."""
    kept = [each for each in task.annotations if not each.was_cancelled]
    return sorted(kept, key=lambda each: each.created_at or "")[-1] if kept else None


def labelled(annotation: Annotation) -> Iterator[tuple[int, Result, str | None, str | None]]:
    """The marks on the image: place in the results, the result, its label, and why it cannot be drawn, if so.

    Others, such as choices and relations, are left out.
    """
    ids = {result.id for result in annotation.result if result.type in READ}
    for number, result in enumerate(annotation.result):
        kind = result.type
        if kind in READ:
            names = getattr(result.value, kind)
            problem = None if len(names) == 1 else f"{len(names)} labels, expected one"
            yield number, result, names[0] if names else None, problem
        elif kind in BARE and result.id not in ids:
            yield number, result, None, "without a label"
        elif kind in _AREAS or (kind.endswith("labels") and kind not in READ):
            yield number, result, None, f"of type {kind}, which is not read"


class _Reader:
    """Reads and checks the files once; then draws image by image, in any order, while they are open."""

    def __init__(self, section: Section, root: Path) -> None:
        self._section, self._root = section, root
        self._labels, self._faults = labels.Labels(section), Faults(section.faults)
        self._problems: list[PipelineError] = []
        self._tasks: dict[Path, _Listed] = {}
        self._unlabelled = self._several = self._elsewhere = 0

    def read(self, files: ExitStack) -> dict[str, list[Entry]]:
        """The entries of each split, sorted by stem. The files stay open as long as `files`."""
        annotation_places.require_folder(self._root)
        found: dict[str, list[Entry]] = {}
        for name, path, folder in annotation_places.of_each_split(self._root, self._section):
            found[name] = []
            try:
                found[name] = self._entries(files.enter_context(json_file.elements(path, [TOP])), folder)
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
        """The results of an image, in their order."""
        task = self._tasks[entry.image]
        if task.size is None:
            with image_file.opened(reading.read(entry.image), entry.image, alpha="drop", windows=True) as image:
                return Canvas(image.height, image.width, self._section.background)
        canvas = Canvas(*task.size, self._section.background)
        annotation = counted(task.file.parse(TOP, task.number, TASK))
        for number, value in zip(task.results, task.values, strict=True):
            shape = annotation.result[number].value if annotation else Value()
            if shape.points is not None:
                self._faults.look_for_crossings([label_studio_shapes.corners(shape, *task.size)], task.file.path)
            canvas.draw(value, label_studio_shapes.region(shape, *task.size))
        self._faults.drawn(canvas)
        return canvas

    def notes(self) -> list[str]:
        """What was done without an error, a line each, with counts."""
        empty = sum(not task.results for task in self._tasks.values())
        counts = (
            (self._unlabelled, "tasks have no annotation that was not cancelled: they are left out"),
            (self._elsewhere, "images are in another folder than their task says: they are found by their name alone"),
            (self._several, "tasks have several annotations: the last one counts"),
            (empty, f"images have an annotation without objects: all their pixels are {self._section.unlabelled}"),
        )
        return [*self._labels.notes(), *(f"{count} {what}" for count, what in counts if count), *self._faults.notes()]

    def _entries(self, file: Elements, folder: Path) -> list[Entry]:
        """The entries of a file, sorted by stem."""
        if not 1 <= file.count(TOP) <= MAX_TASKS:
            problem = f"{file.count(TOP)} tasks, expected 1 to {MAX_TASKS}"
            raise DataError(file.path, problem, "Export from Label Studio as JSON: a list of tasks.")
        if not folder.is_dir():
            raise DataError(folder, "no such folder", "Put the images there, or fix the parameter images.")
        entries, malformed = [], 0
        for number in range(file.count(TOP)):
            try:
                task = file.parse(TOP, number, TASK)
            except DataError as error:
                self._problems.append(error)
                malformed += 1
                if malformed == _LISTED:
                    break
                continue
            if entry := self._entry(task, _Listed(file, number, None), folder):
                entries.append(entry)
        return sorted(entries, key=lambda entry: entry.stem)

    def _entry(self, task: Task, listed: _Listed, folder: Path) -> Entry | None:
        where = f"{listed.file.path}: task {task.id}"
        annotation = counted(task)
        if annotation is None:
            self._unlabelled += 1
            return None
        self._several += sum(not each.was_cancelled for each in task.annotations) > 1
        name = self._image(task, folder, where)
        if name is None:
            return None
        path = folder / name
        if path in self._tasks:
            self._problems.append(DataError(where, f"{path} a second time", "Delete one of the two tasks."))
            return None
        self._tasks[path] = listed
        self._check(annotation, listed, f"task {task.id}")
        if listed.size and (problem := image_size.other_than(path, *listed.size)):
            self._problems.append(DataError(where, problem, "Put back the image that was labelled."))
        if excess := shapes.too_many(shapes.count_objects(listed.values, self._section.background)):
            self._problems.append(DataError(path, excess, "Cut it into smaller images."))
        return Entry(name.removesuffix(path.suffix), None, path, listed.file.path)

    def _image(self, task: Task, folder: Path, where: str) -> str | None:
        """The image's path below `folder`: as the task names it, or by its name, also without the code of an upload."""
        names = list(names_of(task, self._section.field))
        usable = [name for name in names if name.lower().endswith(SUFFIXES) and _is_below(name)]
        name = next((name for name in usable if (folder / name).is_file()), None)
        if not names:
            text = task.data.get(self._section.field)
            fields = ", ".join(map(repr, list(task.data)[:5])) or "none"
            problem = f"no text in the field {self._section.field!r} of its data, which has {fields}"
            if isinstance(text, str) and not text.startswith("data:"):
                problem = f"{text[:100]!a} in the field {self._section.field!r} of its data names no image"
            self._problems.append(DataError(where, problem, "Fix the parameter field."))
        elif name is None:
            problem = f"no image {' or '.join(dict.fromkeys([names[0], names[-1]]))} in {folder}"
            self._problems.append(DataError(where, problem, "Put the images there: the export does not contain them."))
        elif outside := listing.leads_out(self._root, folder / name):
            self._problems.append(DataError(folder / name, outside, "Put the files themselves below data.input."))
        else:
            self._elsewhere += name != names[0] and "/" in names[0] and not names[0].startswith(_UPLOADS)
            return name
        return None

    def _check(self, annotation: Annotation, listed: _Listed, task: str) -> None:
        """Adds the results that can be drawn to `listed`, and the faults of the others."""
        file = listed.file.path
        for number, result, label, unlabelled in labelled(annotation):
            which = f"{task}, result {number if result.id is None else result.id} ({label or result.type})"
            value = labels.VOID if label is None or unlabelled else self._labels.value(label, file)
            height, width = result.original_height, result.original_width
            if problem := unlabelled or _misplaced(result, height, width, listed.size):
                self._faults.add(file, which, problem)
                continue
            listed.size = height, width
            if label_studio_shapes.passes(result.value, listed.size, file, which, self._faults):
                listed.results.append(number)
                listed.values.append(value)


def names_of(task: Task, key: str) -> Iterator[str]:
    """The names that the image of a task may have below the folder of the images, most specific first."""
    text = task.data.get(key)
    found = []
    if isinstance(text, str) and not text.startswith("data:"):
        with suppress(ValueError):  # no address: http://[a/0.png
            address = urlsplit(text)
            local = parse_qs(address.query).get("d")  # of Label Studio's local storage
            found.append((local[0] if local else unquote(address.path)).strip("/"))
            found.append(PurePosixPath(found[0]).name)
            found.append(_UPLOAD.sub("", found[1], count=1))
    if upload := task.file_upload:
        name = PurePosixPath(upload).name
        found += [name, _UPLOAD.sub("", name, count=1)]
    return iter(dict.fromkeys(filter(None, found)))


def _is_below(name: str) -> bool:
    try:
        listing.relative(name)
    except ValueError:
        return False
    return True


def _misplaced(result: Result, height: int, width: int, size: tuple[int, int] | None) -> str | None:
    """What is wrong with the image that a result names; `size` is that of the results before it."""
    if degrees := result.image_rotation:
        return f"drawn on an image turned by {degrees:g} degrees in Label Studio, which is not read"
    if excess := shapes.too_large(height, width):
        return f"original_width and original_height say {excess}"
    if size not in {None, (height, width)}:
        return f"on an image of {width}x{height} pixels, unlike the results before it"
    return None
