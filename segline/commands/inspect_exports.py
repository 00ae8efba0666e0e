"""Exports of labelling tools, recognised by their files: what a folder holds, and the labels in it, counted.

Shapes are counted, never drawn, and what cannot be read is left out: the source itself says what is wrong.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import TypeAdapter

from segline.commands import inspect_masks, inspect_places
from segline.commands.inspect_layouts import CALLED, SPLITS
from segline.commands.inspect_places import IMAGES, Place
from segline.core import untrusted
from segline.core.errors import DataError, PipelineError
from segline.dataset.raw import SUFFIXES
from segline.preprocessing.image_files import masks, reading
from segline.sources import cityscapes, coco, label_studio, labelme
from segline.sources.collecting import cvat_masks, cvat_xml, json_file, listing, splitting
from segline.sources.collecting.json_file import TOP, Elements

_SAMPLE = 1000  # masks in which colours are counted, at most
_ENOUGH = 3  # files of labelme in a folder, after which the others are taken for the same
_ANY: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])
_LABELME = TypeAdapter(labelme.Document)
Content = TypeVar("Content")


@dataclass
class Export:
    """What the section of a source says of places and splits; the objects of each label and the images they are in;
    and the image files that are there; or those that are embedded, by the name that they get.

    `special` labels have a meaning in the tool itself; `is_ordered` says that the order of the labels is the tool's;
    `numbered` are classes whose objects have numbers, where they are not counted.
    """

    source: str
    keys: dict[str, Any] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    within: Counter[str] = field(default_factory=Counter)
    images: list[Path] = field(default_factory=list)
    embedded: dict[Path, Callable[[], bytes]] = field(default_factory=dict)
    special: tuple[str, ...] = ()
    is_ordered: bool = False
    numbered: tuple[str, ...] = ()

    def add(self, labels: Iterable[str]) -> None:
        """Counts the objects of an image."""
        found = Counter(labels)
        self.objects.update(found)
        self.within.update(found.keys())


def recognise(root: Path) -> Export | None:
    """The export in `root`; None if there is none that is known. Raises DataError if it cannot be read at all."""
    files = inspect_places.files(root)
    return _cityscapes(root) or _cvat_masks(root, files) or _cvat_xml(root, files) or _json(root, files)


def unreadable(root: Path) -> Iterator[DataError]:
    """Why JSON files are not what any labelling tool writes."""
    for path in _with(inspect_places.files(root), ".json"):
        try:
            with json_file.elements(path, []):
                pass
        except DataError as error:
            yield error


def _with(files: Iterable[Path], suffix: str) -> list[Path]:
    return [path for path in files if path.suffix.lower() == suffix]


def _cityscapes(root: Path) -> Export | None:
    there = [split for split in ("train", "val", "test") if (root / "gtFine" / split).is_dir()]
    if not there or not (root / "leftImg8bit").is_dir():
        return None
    form = splitting.ByFolder(by="folder", names=there)
    pairs = splitting.usable(root, cityscapes.IMAGES, cityscapes.MASKS, form, "", problems=[])
    usable = [split for split in there if pairs[split]]
    entries = [entry for split in usable for entry in pairs[split]]
    numbered = cityscapes.WITH_OBJECTS if all(cityscapes.numbers(entry).exists() for entry in entries) else ()
    images = [entry.image for entry in entries]
    return Export("cityscapes", {"splits": usable}, images=images, numbered=numbered) if usable else None


def _cvat_masks(root: Path, files: Sequence[Path]) -> Export | None:
    maps = [path for path in files if path.name == cvat_masks.LABEL_MAP]
    top = next((path.parent for path in maps if (path.parent / cvat_masks.OBJECTS).is_dir()), None)
    if top is None:
        return None
    with_images = {path.parent for path in files if path.suffix.lower() in SUFFIXES}
    folder = next((name for name in IMAGES if top / name in with_images), "JPEGImages")
    found = Export("cvat", images=inspect_places.pictures([top / folder]), is_ordered=True)
    place = PurePosixPath(inspect_places.below(root, top))
    lists = {text: text for text in SPLITS if (top / cvat_masks.LISTS / f"{text}.txt").is_file()}
    file = str(place / cvat_masks.LISTS / f"{splitting.SPLIT}.txt")
    form = inspect_places.named_splits(lists, by="lists", file=file) or Place("").form(len(found.images))
    found.keys = _keys(form, str(place / cvat_masks.LABEL_MAP), str(place / folder))
    names = cvat_masks.label_map(top / cvat_masks.LABEL_MAP)
    found.objects.update(dict.fromkeys(names.values(), 0))
    for path in sorted((top / cvat_masks.CLASSES).rglob("*.png"))[:_SAMPLE]:
        with suppress(PipelineError):
            found.add(names[code] for code in _colours(path) if code in names)
    return found


def _colours(path: Path) -> Mapping[int, int]:
    """The colour codes in a mask, and their pixels."""
    content = reading.read(path)
    with masks.opened(content, path, None, windows=True) as mask:
        counted = inspect_masks.surveyed(mask, content, path)
    return counted.by_colour if counted.used else counted.counts


def _cvat_xml(root: Path, files: Sequence[Path]) -> Export | None:
    paths = [path for path in _with(files, ".xml") if b"<annotations>" in _head(path)]
    if not paths:
        return None
    place, found = inspect_places.place(root, paths), Export("cvat")
    names, subsets = list[tuple[str, str]](), set[str]()
    for token, path in place.paths(root):
        with cvat_xml.opened(path) as annotations:
            for image in annotations.images:
                names.append((token, image.name))
                subsets.add(image.subset)
                with suppress(DataError):
                    shapes = annotations.shapes(image)
                    found.add(shape.get("label", "") for kind, shape in shapes if kind in cvat_xml.DRAWN)
    folder = inspect_places.folder_of(root, place, names)
    found.images = inspect_places.there(root, folder, names)
    form = None
    if not place.tokens and len(subsets) > 1 and all(subset.lower() in CALLED for subset in subsets):
        form = inspect_places.named_splits({subset: subset for subset in subsets}, by="folder")
    if form is not None:  # the tasks of a project
        found.images = inspect_places.pictures([root / folder])
        folder = str(PurePosixPath(folder, splitting.SPLIT))
    found.keys = _keys(form or place.form(len(names)), place.template, folder)
    return found


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(1 << 12)


def _json(root: Path, files: Sequence[Path]) -> Export | None:
    """COCO, Label Studio or labelme, whatever is there first."""
    of_kind: dict[str, list[Path]] = defaultdict(list)
    seen: Counter[Path] = Counter()
    for path in _with(files, ".json"):
        kind = "labelme" if seen[path.parent] >= _ENOUGH else _kind(path)
        seen[path.parent] += kind == "labelme"
        of_kind[kind].append(path)
    readers = {"label_studio": _label_studio, "coco": _coco, "labelme": _labelme}
    return next((read(root, of_kind[kind]) for kind, read in readers.items() if of_kind[kind]), None)


def _kind(path: Path) -> str:
    """The name of a source; empty for any other JSON."""
    try:
        with json_file.elements(path, [TOP, "images", "categories"]) as document:
            if document.count("categories") and document.count("images"):
                return "coco"
            if document.count(TOP):
                return "label_studio" if document.parse(TOP, 0, _ANY).keys() >= {"annotations", "data"} else ""
        return "labelme" if b'"imagePath"' in untrusted.read(path, labelme.MAX_BYTES) else ""
    except (DataError, OSError):
        return ""


def _each(document: Elements, name: str, shape: TypeAdapter[Content]) -> Iterator[Content]:
    """The elements of an array that can be read."""
    for number in range(document.count(name)):
        with suppress(DataError):
            yield document.parse(name, number, shape)


def _coco(root: Path, paths: Sequence[Path]) -> Export:
    place = inspect_places.place(root, [path for path in paths if "instances" in path.name] or paths)
    found, names = Export("coco", is_ordered=True), list[tuple[str, str]]()
    for token, path in place.paths(root):
        with json_file.elements(path, ["images", "annotations", "categories"]) as document:
            of_id = {each.id: each.name for each in _each(document, "categories", coco.CATEGORY)}
            found.objects.update(dict.fromkeys(of_id.values(), 0))
            names += [(token, image.file_name) for image in _each(document, "images", coco.IMAGE)]
            within: set[tuple[int, str]] = set()
            for annotation in _each(document, "annotations", coco.ANNOTATION):
                if label := of_id.get(annotation.category_id):
                    found.objects[label] += 1
                    within.add((annotation.image_id, label))
            found.within.update(label for _, label in within)
    folder = inspect_places.folder_of(root, place, names)
    found.images = inspect_places.there(root, folder, names)
    found.keys = _keys(place.form(len(names)), place.template, folder)
    return found


def _label_studio(root: Path, paths: Sequence[Path]) -> Export:
    place, found = inspect_places.place(root, paths), Export("label_studio")
    names: dict[str, list[tuple[str, str]]] = defaultdict(list)  # by the field that names the image
    count = 0
    for token, path in place.paths(root):
        with json_file.elements(path, [TOP]) as document:
            for task in _each(document, TOP, label_studio.TASK):
                annotation = label_studio.counted(task)
                if annotation is None:
                    continue
                count += 1
                found.add(label for *_, label, _ in label_studio.labelled(annotation) if label is not None)
                for key in task.data:
                    candidates = list(label_studio.names_of(task, key))
                    if candidates and candidates[0].lower().endswith(SUFFIXES):
                        names[key] += [(token, name) for name in candidates]
    key = max(names, key=lambda each: len(names[each]), default="image")
    folder = inspect_places.folder_of(root, place, names[key])
    found.images = list(dict.fromkeys(inspect_places.there(root, folder, names[key])))
    found.keys = _keys(place.form(count), place.template, folder) | {"field": key}
    return found


def _labelme(root: Path, paths: Sequence[Path]) -> Export:
    folders = Counter(path.parent for path in paths)
    place = inspect_places.place(root, [folder for folder, _ in folders.most_common()])
    found, count = Export("labelme", special=(labelme.IGNORED, labelme.BACKGROUND)), 0
    for path in (path for _, folder in place.paths(root) for path in paths if path.parent == folder):
        with suppress(DataError):
            document = json_file.read(path, _LABELME, labelme.MAX_BYTES)
            count += 1
            found.add(shape.label for shape in document.shapes)
            if (picture := _beside(path, root, document)) is not None:
                found.images.append(picture)
            elif document.imageData is not None:
                name, _ = labelme.embedded(path, document.imageData)
                found.embedded[name] = partial(_embedded, path)
    pattern = str(PurePosixPath(place.template, "*.json"))
    found.keys = {"split": place.form(count), "annotations": pattern, "group": ""}
    return found


def _beside(path: Path, root: Path, document: labelme.Document) -> Path | None:
    with suppress(DataError):
        picture = labelme.place_of(path, root, document)
        return picture if picture.is_file() and not listing.leads_out(root, picture) else None
    return None


def _embedded(path: Path) -> bytes:
    """Read again when it is measured, so that one image at a time is in memory."""
    return labelme.embedded(path, json_file.read(path, _LABELME, labelme.MAX_BYTES).imageData or "")[1]


def _keys(form: splitting.Form, annotations: str, folder: str) -> dict[str, Any]:
    return {"split": form, "annotations": annotations, "images": folder, "group": ""}
