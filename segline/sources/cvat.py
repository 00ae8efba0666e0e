"""CVAT: the XML of "CVAT for images 1.1", or the colour-coded masks of "Segmentation mask 1.1".

What is drawn above what, and how, is in `collecting.cvat_shapes`. Polylines, points, cuboids and skeletons have no
pixels, as in CVAT's own masks.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from segline.core import params
from segline.core.errors import DataError, ParameterError, PipelineError, combined
from segline.dataset.raw import SUFFIXES, Dataset
from segline.monitoring import console
from segline.sources.collecting import (
    cvat_masks,
    cvat_shapes,
    cvat_xml,
    drawn,
    image_size,
    labels,
    listing,
    shapes,
    splitting,
)
from segline.sources.collecting.cvat_masks import LABEL_MAP, Export
from segline.sources.collecting.cvat_shapes import Shape
from segline.sources.collecting.cvat_xml import Annotations, Attributes, Image
from segline.sources.collecting.listing import Entry
from segline.sources.collecting.shapes import Canvas, Faults

_LISTED = 100  # missing images of a file


def _file(text: str, info: ValidationInfo) -> str:
    name = listing.relative(text).rpartition("/")[2]
    if "*" in text or not (name.lower().endswith(".xml") or name == LABEL_MAP):
        raise ValueError(f"expected a file that ends in .xml, or {LABEL_MAP}, without *")
    form = info.data.get("split")
    if isinstance(form, splitting.ByLists) and name != LABEL_MAP:
        raise ValueError("expected by: folder or by: ratio with an XML file, got by: lists")
    if form is not None and splitting.SPLIT in text and not isinstance(form, splitting.ByFolder):
        raise ValueError(f"expected no {{split}} in it with by: {form.by}")
    return text


def _folder(text: str, info: ValidationInfo) -> str:
    if "*" in listing.relative(text):
        raise ValueError("expected a folder without *")
    form, annotations = info.data.get("split"), info.data.get("annotations")
    if form is None or annotations is None:
        return text
    if not isinstance(form, splitting.ByFolder) and splitting.SPLIT in text:
        raise ValueError(f"expected no {{split}} in it with by: {form.by}")
    if isinstance(form, splitting.ByFolder) and splitting.SPLIT not in f"{text}{annotations}":
        raise ValueError("expected {split} in annotations (a file a split) or in images (the subsets of a project)")
    return text


class Section(labels.Rules):
    """data.cvat: the XML file or the labelmap.txt, the folder of the images, and how they are split.

    With {split} in `images` alone, a split is what the XML calls a subset.
    """

    split: splitting.Form
    annotations: Annotated[str, AfterValidator(_file)]
    images: Annotated[str, AfterValidator(_folder)]
    group: splitting.Group


def splits(section: Section) -> list[str]:
    """The names of the splits that `collect` returns."""
    return splitting.names(section.split)


def describe(section: Section, source_input: Path) -> Dataset:
    """The data set without its pairs."""
    return labels.dataset(source_input.resolve().name, section)


def require_input(section: Section, source_input: Path) -> None:
    """Raises what `collect` would. Decodes nothing, so what is wrong with colours of masks is not found."""
    with ExitStack() as files:
        _reader(section, source_input, pixels=False).read(files)


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The images below `source_input`, copied, with masks and object numbers: see `collecting.drawn`.

    Raises ParameterError, and DataError for all problems of names, labels and shapes at once.
    """
    reader = _reader(section, source_input, pixels=True)
    return drawn.collected(reader, describe(section, source_input), source_input, folder)


def _reader(section: Section, root: Path, *, pixels: bool) -> "_Xml | _Masks":
    """With `pixels`, masks of colours are decoded to check them."""
    if not root.is_dir():
        remedy = "Unpack CVAT's export there, or name the folder that contains it."
        raise ParameterError(f"{params.FILE}: data.input", f"no such folder: {root}", remedy)
    return _Masks(section, root, pixels=pixels) if section.annotations.endswith(LABEL_MAP) else _Xml(section, root)


def _inside(root: Path, path: Path) -> Path:
    """Raises DataError for a link that leads out of `root`."""
    if outside := listing.leads_out(root, path):
        raise DataError(path, outside, "Put the file itself below data.input.")
    return path


class _Masks:
    """Finds, checks and reads masks of colours."""

    def __init__(self, section: Section, root: Path, *, pixels: bool) -> None:
        self._section, self._root, self._pixels = section, root, pixels
        self._labels = labels.Labels(section)
        self._exports: dict[Path, Export] = {}  # by the path of the image
        self._bare = 0

    def read(self, _: ExitStack) -> dict[str, list[Entry]]:
        """The entries of each split, sorted by stem."""
        problems: list[PipelineError] = []
        found = dict(self._found(problems))
        problems += drawn.alike(found)
        if self._pixels and not problems:
            problems += self._look([entry for entries in found.values() for entry in entries])
        entries = splitting.divided(self._root, found, self._section.split, self._section.group, problems=problems)
        if problems:
            raise combined(self._root, problems)
        return entries

    def draw(self, entry: Entry) -> Canvas:
        """The classes and objects of an image."""
        self._bare += not entry.mask.exists()
        return self._exports[entry.image].canvas(entry, self._section, self._labels)

    def notes(self) -> list[str]:
        """What was done without an error, a line each, with counts."""
        bare = f"images without a mask are wholly {self._section.unlabelled}: {self._bare}"
        return [*self._labels.notes(), *([bare] if self._bare else [])]

    def _found(self, problems: list[PipelineError]) -> Iterator[tuple[str, list[Entry]]]:
        form, taken = self._section.split, dict[str, str]()
        texts = splitting.folders(form) if form.by == "folder" else {"": ""}
        for name, text in texts.items():
            path = self._root / self._section.annotations.replace(splitting.SPLIT, text)
            images = self._root / self._section.images.replace(splitting.SPLIT, text)
            try:
                export = Export(self._root, path.parent, images, cvat_masks.label_map(_inside(self._root, path)))
            except DataError as error:
                problems.append(error)
                yield from ((split, []) for split in (splitting.folders(form) if form.by == "lists" else [name]))
                continue
            lists = {name: export.lists()}
            if form.by == "lists":
                folders = splitting.folders(form).items()
                lists = {name: [form.file.replace(splitting.SPLIT, text)] for name, text in folders}
            for split, files in lists.items():
                stems: dict[str, str] = {}
                for file in files:
                    stems |= listing.stems(self._root, file, stems if form.by != "lists" else taken, problems)
                entries = export.entries(stems, problems)
                self._exports |= {entry.image: export for entry in entries}
                yield split, entries
                if not files:
                    where = path.parent / cvat_masks.LISTS
                    problems.append(DataError(where, "no lists", "Export from CVAT as Segmentation mask 1.1."))

    def _look(self, entries: list[Entry]) -> Iterator[PipelineError]:
        seen = labels.Labels(self._section)
        for entry in console.progress(entries, len(entries), "check", "mask"):
            try:
                self._exports[entry.image].canvas(entry, self._section, seen)
            except DataError as error:
                yield error
        yield from seen.problems()


class _Xml:
    """Reads and checks the files once, then draws image by image, in any order, while they are open."""

    def __init__(self, section: Section, root: Path) -> None:
        self._section, self._root = section, root
        self._labels, self._faults = labels.Labels(section), Faults(section.faults)
        self._images: dict[Path, tuple[Annotations, Image]] = {}  # by the path of the image
        self._left_out: Counter[str] = Counter()
        self._bare = self._mixed = 0

    def read(self, files: ExitStack) -> dict[str, list[Entry]]:
        """The entries of each split, sorted by stem. The files stay open as long as `files`."""
        form, problems = self._section.split, list[PipelineError]()
        texts = splitting.folders(form) if isinstance(form, splitting.ByFolder) else {"": ""}
        by_subset = splitting.SPLIT not in self._section.annotations and form.by == "folder"
        opened: dict[Path, Annotations] = {}
        found: dict[str, list[Entry]] = {}
        for name, text in texts.items():
            path = self._root / self._section.annotations.replace(splitting.SPLIT, text)
            folder = self._root / self._section.images.replace(splitting.SPLIT, text)
            found[name] = []
            try:
                if path not in opened:
                    opened[path] = files.enter_context(cvat_xml.opened(_inside(self._root, path)))
                found[name] = self._entries(opened[path], folder, text if by_subset else None, problems)
            except DataError as error:
                problems.append(error)
        problems += [*drawn.alike(found), *self._labels.problems(), *self._faults.problems()]
        entries = splitting.divided(self._root, found, form, self._section.group, problems=problems)
        if problems:
            raise combined(self._root, problems)
        self._labels, self._faults = labels.Labels(self._section), Faults(self._section.faults)
        self._left_out.clear()  # what is drawn is counted again
        return entries

    def _entries(
        self, file: Annotations, folder: Path, subset: str | None, problems: list[PipelineError]
    ) -> list[Entry]:
        """The checked images of a file, or of a subset of it."""
        wanted = [image for image in file.images if subset in (None, image.subset)]
        entries: list[Entry] = []
        if not wanted:
            names = ", ".join(sorted({repr(image.subset) for image in file.images})) or "none"
            problem = f"no image of subset {subset!r} ({names})" if subset else "no image"
            problems.append(DataError(file.path, problem, "Correct the names of split, or export all images."))
        before = len(problems)
        for image in console.progress(wanted, len(wanted), "check"):
            try:
                entry = self._entry(file, folder, image)
                for number, (kind, attributes) in enumerate(file.shapes(image)):
                    self._shape(file.path, image, number, kind, attributes)
            except DataError as error:
                problems.append(error)
                if len(problems) - before > _LISTED:
                    break
                continue
            entries.append(entry)
        return sorted(entries, key=lambda entry: entry.stem)

    def _entry(self, file: Annotations, folder: Path, image: Image) -> Entry:
        try:
            path = folder / listing.relative(image.name)
            if not path.exists() and image.subset and "/" not in image.subset:  # of a project
                path = folder / listing.relative(f"{image.subset}/{image.name}")
        except ValueError as error:
            subset = f" of subset {image.subset!a}" if image.subset else ""
            raise DataError(file.path, f"image {image.name!a}{subset}: {error}", "Export from CVAT again.") from None
        stem = path.relative_to(folder).with_suffix("").as_posix()
        problem = f"no image {path}" if not path.exists() else listing.unusable(self._root, path)
        if path.suffix.lower() not in SUFFIXES:
            problem = f"expected one of {', '.join(SUFFIXES)}"
        problem = problem or shapes.too_large(image.height, image.width)
        if problem := problem or image_size.other_than(path, image.height, image.width):
            raise DataError(file.path, f"image {image.name!a}: {problem}", "Export from CVAT with images.")
        if path in self._images:
            raise DataError(file.path, f"image {image.name!a} is listed twice", "Export each task once.")
        self._images[path] = file, image
        return Entry(stem, None, path, file.path)

    def draw(self, entry: Entry) -> Canvas:
        """The drawn shapes of an image."""
        file, image = self._images[entry.image]
        size = image.height, image.width
        canvas = Canvas(*size, self._section.background)
        parsed = [
            self._shape(file.path, image, number, kind, attributes)
            for number, (kind, attributes) in enumerate(file.shapes(image))
        ]
        self._bare += not parsed
        for each in cvat_shapes.objects([shape for shape in parsed if shape], *size):
            canvas.draw(each.value, each.region(*size))
            self._mixed += each.is_mixed
        self._faults.drawn(canvas)
        return canvas

    def notes(self) -> list[str]:
        """What was done without an error, a line each, with counts."""
        left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(self._left_out.items()))
        counted = (
            (self._bare, f"images without a shape are wholly {self._section.unlabelled}: {self._bare}"),
            (left_out, f"shapes without an area are left out, as CVAT's own masks do: {left_out}"),
            (self._mixed, f"groups of several labels have that of their largest shape: {self._mixed}"),
        )
        return [*self._labels.notes(), *(line for applies, line in counted if applies), *self._faults.notes()]

    def _shape(self, path: Path, image: Image, number: int, kind: str, attributes: Attributes) -> Shape | None:
        """A shape as it is drawn; None for one that cannot be: adds its fault."""
        if kind in cvat_xml.NOT_DRAWN:
            self._left_out[kind] += 1
            return None
        which = f"image {image.name!a}, shape {number} ({attributes.get('label', '')!a}, {kind})"
        try:
            shape = cvat_shapes.parsed(kind, attributes, number, lambda label: self._labels.value(label, path))
        except ValueError as error:
            self._faults.add(path, which, str(error))
            return None
        if not self._faults.passes(shape.points, image.height, image.width, path, which):
            return None
        if kind == "mask" and ((shape.points < 0) | (shape.points > (image.width, image.height))).any():
            self._faults.add(path, which, f"reaches out of its image of {image.width}x{image.height} pixels")
            return None
        if kind == "polygon":
            self._faults.look_for_crossings([shape.points], path)
        return shape
