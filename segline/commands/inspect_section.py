"""The `data` section of params.yaml for a folder, as YAML with comments: classes, colours and splits as surveyed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.commands.inspect_layouts import Layout
from segline.commands.inspect_survey import Survey
from segline.core import params
from segline.sources import voc
from segline.sources.collecting import splitting

NAMES = ("labels.txt", "classes.txt", "class_names.txt")  # one name per line; line k names value k, the first is 0
MOST_CLASSES = 255
VOID = {"index": 255, "rgb": 0xE0E0C0}  # what usually means "not labelled"

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class _Class:
    name: str
    value: int
    rgb: Rgb


def class_names(root: Path) -> list[str]:
    """The class names in a file of the folder, in the order of their values; none without a usable file."""
    path = next((root / name for name in NAMES if (root / name).is_file()), None)
    if path is None:
        return []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    names = [line.strip() for line in lines if line.strip() not in ("", "__ignore__")]  # labelme's name for -1
    usable = len(set(names)) == len(names) <= MOST_CLASSES and all(n.isprintable() and len(n) <= 60 for n in names)
    return names if usable else []


def is_voc(layout: Layout, survey: Survey) -> bool:
    """True for VOC's layout with VOC's labels: other data sets use the layout with other classes."""
    by_lists = isinstance(layout.form, splitting.ByLists) and layout.form.file == voc.LISTS
    known = {*range(len(voc.NAMES)), 255}
    return by_lists and (layout.images, layout.masks) == (voc.IMAGES, voc.MASKS) and survey.pixels.keys() <= known


def _table(survey: Survey, names: Sequence[str]) -> tuple[list[_Class], _Class | None]:
    """The classes, and void: 255 or VOC's colour for it, if two or more classes remain without it."""
    values = sorted({*(value for value, _ in survey.pixels.most_common(MOST_CLASSES + 1)), *range(len(names))})
    void = VOID[survey.encoding]
    is_void = void in values and len(values) > 2 and void >= len(names)
    values = [value for value in values if not (is_void and value == void)][:MOST_CLASSES]
    colours = _colours(survey, values)
    titles = [names[value] if value < len(names) else f"class_{_shown(value, survey)}" for value in values]
    classes = [_Class(*row) for row in zip(titles, values, colours, strict=True)]
    return classes, _Class("void", void, (224, 224, 192)) if is_void else None


def _colours(survey: Survey, values: Sequence[int]) -> list[Rgb]:
    """The colours of the masks, if they distinguish the classes; else those of VOC, which all differ."""
    if survey.encoding == "rgb":
        return [(value >> 16, value >> 8 & 255, value & 255) for value in values]
    own = [survey.palette[value] for value in values if value < len(survey.palette)]
    distinct = len(set(own)) == len(values) and any(len(set(rgb)) > 1 for rgb in own)
    return own if distinct else [voc.colour(place) for place in range(len(values))]


def _shown(value: int, survey: Survey) -> str:
    return f"{value:06x}" if survey.encoding == "rgb" else str(value)


def _head(root: Path, source: str) -> list[str]:
    return ["data:", f"  source: {source}", f"  input: {_text(_place(root).as_posix())}", f"  {source}:"]


def _place(root: Path) -> Path:
    """The folder as params.yaml names it: relative to the project if it is inside, else absolute."""
    place = root.resolve() if ".." in root.parts else root.absolute()  # a link keeps its name
    project = next((folder for folder in place.parents if (folder / params.FILE).is_file()), None)
    return place.relative_to(project) if project else place


def _text(text: str) -> str:
    """A YAML string: every JSON string is one."""
    return json.dumps(text, ensure_ascii=False)


def voc_section(root: Path, layout: Layout) -> list[str]:
    """The lines of the section with source voc."""
    return [*_head(root, "voc"), f"    splits: [{', '.join(splitting.names(layout.form))}]"]


def folder_section(root: Path, layout: Layout, survey: Survey, names: Sequence[str]) -> list[str]:
    """The lines of the section with source folder. `names` are those of the classes, as far as they are known."""
    classes, void = _table(survey, names)
    lines = [*_head(root, "folder"), f"    images: {_text(layout.images)}", f"    masks: {_text(layout.masks)}"]
    lines.append("    split:")
    for key, value in layout.form.model_dump().items():
        text = _text(value) if isinstance(value, str) and key == "file" else _flow(value)
        lines.append(f"      {key}: {text}")
    lines += ['    group: ""', f"    encoding: {survey.encoding}", "    classes:"]
    for each in classes:
        entry = f"{{name: {_text(each.name)}, {_entry(each, survey)}}}"
        lines.append(f"      - {entry:<60} # {_share(each.value, survey)}")
    if void is None:
        return [*lines, "    void: null"]
    guess = "a guess: if it is a class, move it there, and write void: null"
    return [*lines, f"    void: {{{_entry(void, survey)}}}  # {guess}; {_share(void.value, survey)}"]


def _entry(each: _Class, survey: Survey) -> str:
    rgb = f"rgb: [{', '.join(map(str, each.rgb))}]"
    return rgb if survey.encoding == "rgb" else f"value: {each.value}, {rgb}"


def _flow(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}"
    return str(value)


def _share(value: int, survey: Survey) -> str:
    if value not in survey.pixels:
        return "in no mask"
    share = 100 * survey.pixels[value] / survey.pixels.total()
    return f"{survey.pixels[value]} pixels ({share:.2f} %) in {survey.masks[value]} masks"
