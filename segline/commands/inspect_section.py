"""The `data` section of params.yaml for a folder, as YAML with comments: classes, colours and splits as surveyed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from segline.commands.inspect_exports import Export
from segline.commands.inspect_layouts import Layout
from segline.commands.inspect_masks import MOST_CLASSES, Labels
from segline.core import params
from segline.sources import voc
from segline.sources.collecting import labels as label_rules
from segline.sources.collecting import object_files, splitting

VOID = {"index": 255, "palette": 0xE0E0C0, "rgb": 0xE0E0C0}  # what usually means "not labelled"
_BELOW = range(240, 255)  # if one of these is a value too, 255 is a value like the others

_GROUND, _VOID = ("background", "bg", "_background_"), ("void", "ignore", "unlabeled", "unlabelled")  # names
_CLASS_NAME: TypeAdapter[str] = TypeAdapter(label_rules.ClassName)

_MANY = 2  # objects of a class in an image that has any, from which on they may be told apart

_GUESS = "a guess: if it is a class, move it there, and write void: null"

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class _Class:
    name: str
    value: int
    rgb: Rgb


def is_voc(layout: Layout, labels: Labels) -> bool:
    """True for VOC's layout with VOC's labels: other data sets use the layout with other classes."""
    form = layout.form
    by_lists = type(form) is splitting.ByLists and isinstance(form.names, list) and form.file == voc.LISTS
    known = {*range(len(voc.NAMES)), 255}
    return by_lists and (layout.images, layout.masks) == (voc.IMAGES, voc.MASKS) and labels.pixels.keys() <= known


def class_values(labels: Labels) -> tuple[list[int], int | None]:
    """The mask values of the classes, ascending, and that of void: 255 or VOC's colour for it.

    Void is guessed only if two or more classes remain without it, and never where masks look smeared.
    """
    values = sorted(labels.common or [value for value, _ in labels.pixels.most_common(MOST_CLASSES + 1)])
    if labels.void in values:
        return [value for value in values if value != labels.void], labels.void
    void = VOID[labels.encoding]
    is_like_others = labels.encoding == "index" and any(value in _BELOW for value in values)
    if labels.common or is_like_others or void not in values or len(values) <= 2:
        return values[:MOST_CLASSES], None
    return [value for value in values if value != void], void


def _table(labels: Labels, names: Mapping[int, str]) -> tuple[list[_Class], _Class | None]:
    """The classes of the masks and of `names`, and void."""
    values, void = class_values(labels)
    if void is not None and void in names:
        values, void = [*values, void], None
    values = sorted({*values, *names})[:MOST_CLASSES]
    colours = _colours(labels, values)
    titles = [names.get(value, f"class_{_shown(value, labels)}") for value in values]
    classes = [_Class(*row) for row in zip(titles, values, colours, strict=True)]
    return classes, None if void is None else _Class("void", void, (224, 224, 192))


def _colours(labels: Labels, values: Sequence[int]) -> list[Rgb]:
    """The colours of the masks, if they distinguish the classes; else those of VOC, which all differ."""
    if labels.encoding != "index":
        return [(value >> 16, value >> 8 & 255, value & 255) for value in values]
    own = [labels.palette[value] for value in values if value in labels.palette]
    distinct = len(set(own)) == len(values) and any(len(set(rgb)) > 1 for rgb in own)
    return own if distinct else [label_rules.colour(place) for place in range(len(values))]


def _shown(value: int, labels: Labels) -> str:
    return str(value) if labels.encoding == "index" else f"{value:06x}"


def _head(root: Path, source: str) -> list[str]:
    return ["data:", f"  source: {source}", f"  input: {_text(place(root).as_posix())}", f"  {source}:"]


def place(root: Path) -> Path:
    """The folder as params.yaml names it: relative to the project if it is inside, else absolute."""
    path = root.resolve() if ".." in root.parts else root.absolute()  # a link keeps its name
    project = next((folder for folder in path.parents if (folder / params.FILE).is_file()), None)
    return path.relative_to(project) if project else path


def _text(text: str) -> str:
    """A YAML string: every JSON string is one."""
    return json.dumps(text, ensure_ascii=False)


def voc_section(root: Path, layout: Layout) -> list[str]:
    """The lines of the section with source voc."""
    return [*_head(root, "voc"), f"    splits: [{', '.join(splitting.names(layout.form))}]"]


def export_section(root: Path, export: Export) -> list[str]:
    """The lines of the section of a labelling tool, or of a published layout."""
    lines = _head(root, export.source)
    if export.objects:
        lines += _rules(export)
    for key, value in export.keys.items():
        if isinstance(value, str | list):
            lines.append(f"    {key}: {_text(value) if isinstance(value, str) else _flow(value)}")
        else:
            lines += [
                f"    {key}:",
                *(f"      {name}: {_entry_of(name, each)}" for name, each in value.model_dump().items()),
            ]
    return lines


def _entry_of(key: str, value: object) -> str:
    return _text(value) if isinstance(value, str) and key == "file" else _flow(value)


def export_objects(export: Export) -> tuple[str, str]:
    """The `preprocess.objects` of an export, and why: it may tell objects apart that are many in an image.

    Null: to tell objects apart is another task than to name pixels, and whoever exports polygons may want either.
    """
    numbered = export.numbered or [
        name for name in _names(export) if export.objects[name] >= _MANY * export.within[name] > 0
    ]
    if not numbered:
        return "null", ""
    return "null", f"{{classes: [{', '.join(map(_text, numbered))}], border: 2}} tells one object from the next"


def _names(export: Export) -> list[str]:
    """The labels that can be classes."""
    usable = [name for name in export.objects if name not in export.special and _is_usable(name)]
    usable.sort(key=lambda name: -export.objects[name])
    names = list({label_rules.key(name): name for name in reversed(usable)}.values())  # the most frequent spelling
    return sorted(names, key=list(export.objects).index if export.is_ordered else str.casefold)[: MOST_CLASSES - 1]


def _rules(export: Export) -> list[str]:
    """The classes with their counts, and what becomes of everything else."""
    names = _names(export)
    ground = next((name for name in names if label_rules.key(name) in _GROUND), None)
    added = [] if ground else [f"      - {_text('background'):<40} # added, for pixels without an object"]
    lines = ["    classes:", *added]
    for name in names:
        count, files = export.objects[name], export.within[name]
        objects = f"{count} objects " if count > files else ""
        lines.append(f"      - {_text(name):<40} # {f'{objects}in {files} images' if count else 'in no image'}")
    others = [name for name in export.objects if label_rules.key(name) in _VOID and name not in names]
    unknown = f"void{'':<36} # labels that are no class: {', '.join(map(_text, others))}" if others else "refuse"
    guess = "of pixels without an object, a guess: void if they are not labelled"
    return [
        *lines,
        f"    unlabelled: {_text(ground or 'background'):<31} # {guess}",
        f"    unknown: {unknown}",
        "    faults: refuse",
    ]


def _is_usable(name: str) -> bool:
    try:
        _CLASS_NAME.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True


def folder_section(root: Path, layout: Layout, labels: Labels, names: Mapping[int, str]) -> list[str]:
    """The lines of the section with source folder. `names` are those of mask values, as far as they are known."""
    classes, void = _table(labels, names)
    lines = [*_head(root, "folder"), f"    images: {_text(layout.images)}"]
    lines += [f"    objects: {_objects(layout)}", f"    masks: {_text(layout.masks)}"]
    lines.append("    split:")
    for key, value in layout.form.model_dump().items():
        lines.append(f"      {key}: {_entry_of(key, value)}")
    threshold = "null" if labels.threshold is None else f"{labels.threshold}  # values above it are the second class"
    lines += ['    group: ""', f"    encoding: {labels.encoding}", f"    threshold: {threshold}", "    classes:"]
    for each in classes:
        entry = f"{{name: {_text(each.name)}, {_entry(each, labels)}}}"
        lines.append(f"      - {entry:<60} # {_share(each.value, labels)}")
    if void is None:
        return [*lines, "    void: null"]
    guess = "what has no label" if void.value == labels.void else _GUESS
    return [*lines, f"    void: {{{_entry(void, labels)}}}  # {guess}; {_share(void.value, labels)}"]


def _objects(layout: Layout) -> str:
    if layout.objects is None or layout.objects == object_files.EACH:
        return layout.objects or "null"
    return _text(layout.objects)


def with_objects(layout: Layout, labels: Labels, names: Mapping[int, str]) -> tuple[str, str]:
    """The `preprocess.objects` of a folder with object numbers, and why."""
    if layout.objects is None:
        return "null", ""
    classes, _ = _table(labels, names)
    if len(classes) == 2:
        return f"{{classes: [{_text(classes[1].name)}], border: 2}}", "null: not to tell one from the next"
    return "null", "{classes: [...], border: 2} tells the numbered objects of these classes apart"


def _entry(each: _Class, labels: Labels) -> str:
    rgb = f"rgb: [{', '.join(map(str, each.rgb))}]"
    return f"value: {each.value}, {rgb}" if labels.encoding == "index" else rgb


def _flow(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}"
    return str(value)


def _share(value: int, labels: Labels) -> str:
    if value not in labels.pixels:
        return "in no mask"
    share = 100 * labels.pixels[value] / labels.pixels.total()
    return f"{labels.pixels[value]} pixels ({share:.2f} %) in {labels.masks[value]} masks"
