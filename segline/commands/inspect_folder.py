"""`segline inspect`: a folder of images and masks -> the `data` section of params.yaml for it, and what is wrong."""

import json
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.commands import inspect_layouts, inspect_survey
from segline.commands.inspect_layouts import Layout
from segline.commands.inspect_survey import Survey
from segline.core import params
from segline.core.errors import DataError, PipelineError
from segline.monitoring import console
from segline.sources import voc
from segline.sources.collecting import splitting, unsupported_formats
from segline.sources.collecting.listing import Entry

NAMES = ("labels.txt", "classes.txt", "class_names.txt")  # one name a line; line k names value k, the first is 0
MOST_CLASSES = 255
VOID = {"index": 255, "rgb": 0xE0E0C0}  # what usually means "not labelled"
SHOWN = 20  # problems
KNOWN = (
    "Known are: images beside masks (or labels, annotations, gt), with train, val, test in or above them or without; "
    "train beside trainannot; a.png beside a_mask.png; PASCAL VOC. PNG and JPEG only."
)

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Inspection:
    """`section` is YAML to paste into params.yaml, with comments; `problems` are what the pipeline would refuse.

    There is no section where no image or no mask can be used.
    """

    section: str | None
    problems: list[str]


@dataclass(frozen=True)
class _Class:
    name: str
    value: int
    rgb: Rgb


def inspect(root: Path) -> Inspection:
    """What was found in `root`. Raises DataError if it is no folder or its layout is unknown."""
    if not root.is_dir():
        raise DataError(root, "no such folder", "Name the folder that holds your images and masks.")
    layout = inspect_layouts.recognise(root)
    if layout is None:
        raise DataError(root, f"no images with masks found; it holds {_contents(root)}", KNOWN)
    problems: list[PipelineError] = []
    listed = splitting.usable(root, layout.images, layout.masks, layout.form, "", problems=problems)
    problems += [*inspect_layouts.one_sided(root, layout), *inspect_layouts.unused(root, layout)]
    found = inspect_survey.survey(listed)
    problems += found.problems
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    told = [*map(str, problems[:SHOWN]), *more, *unsupported_formats.left_out([root])]
    if not found.image_kinds or not found.masks:
        return Inspection(None, told)
    names = _names(root) if found.encoding == "index" else []
    is_voc = not names and _is_voc(layout, found)
    lines = _voc(root, layout) if is_voc else _folder(root, layout, found, *_table(found, names))
    facts = [f"# {line}" for line in _facts(layout, listed, found, is_voc)]
    return Inspection("\n".join([*lines, *facts]), [*told, *_doubts(layout, found)])


def _contents(root: Path) -> str:
    kinds = Counter(path.suffix.lower() or "no extension" for path in root.rglob("*") if path.is_file())
    return ", ".join(f"{count} files of {kind}" for kind, count in kinds.most_common(4)) or "no file"


def _names(root: Path) -> list[str]:
    """The class names in a file of the folder, in the order of their values."""
    path = next((root / name for name in NAMES if (root / name).is_file()), None)
    if path is None:
        return []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    names = [line.strip() for line in lines if line.strip() not in ("", "__ignore__")]  # labelme's name for -1
    usable = len(set(names)) == len(names) <= MOST_CLASSES and all(n.isprintable() and len(n) <= 60 for n in names)
    return names if usable else []


def _is_voc(layout: Layout, found: Survey) -> bool:
    """VOC's own layout and labels: another data set may borrow the layout, with other classes."""
    by_lists = isinstance(layout.form, splitting.ByLists) and layout.form.file == voc.LISTS
    known = {*range(len(voc.NAMES)), 255}
    return by_lists and (layout.images, layout.masks) == (voc.IMAGES, voc.MASKS) and found.pixels.keys() <= known


def _table(found: Survey, names: Sequence[str]) -> tuple[list[_Class], _Class | None]:
    """The classes, and void: 255 or VOC's colour for it, if at least two classes are left without."""
    values = sorted({*(value for value, _ in found.pixels.most_common(MOST_CLASSES + 1)), *range(len(names))})
    void = VOID[found.encoding]
    is_void = void in values and len(values) > 2 and void >= len(names)
    values = [value for value in values if not (is_void and value == void)][:MOST_CLASSES]
    colours = _colours(found, values)
    titles = [names[value] if value < len(names) else f"class_{_spoken(value, found)}" for value in values]
    classes = [_Class(*row) for row in zip(titles, values, colours, strict=True)]
    return classes, _Class("void", void, (224, 224, 192)) if is_void else None


def _colours(found: Survey, values: Sequence[int]) -> list[Rgb]:
    """Those of the masks, if they tell the classes apart; else VOC's, which all differ."""
    if found.encoding == "rgb":
        return [(value >> 16, value >> 8 & 255, value & 255) for value in values]
    own = [found.palette[value] for value in values if value < len(found.palette)]
    distinct = len(set(own)) == len(values) and any(len(set(rgb)) > 1 for rgb in own)
    return own if distinct else [voc.colour(place) for place in range(len(values))]


def _spoken(value: int, found: Survey) -> str:
    return f"{value:06x}" if found.encoding == "rgb" else str(value)


def _head(root: Path, source: str) -> list[str]:
    return ["data:", f"  source: {source}", f"  input: {_text(_place(root).as_posix())}", f"  {source}:"]


def _place(root: Path) -> Path:
    """The folder as params.yaml names it: relative to the project if it lies below, else absolute."""
    place = root.resolve() if ".." in root.parts else root.absolute()  # a link keeps its name
    project = next((folder for folder in place.parents if (folder / params.FILE).is_file()), None)
    return place.relative_to(project) if project else place


def _text(text: str) -> str:
    """A JSON string is a YAML string, whatever stands in it."""
    return json.dumps(text, ensure_ascii=False)


def _voc(root: Path, layout: Layout) -> list[str]:
    return [*_head(root, "voc"), f"    splits: [{', '.join(splitting.names(layout.form))}]"]


def _folder(root: Path, layout: Layout, found: Survey, classes: Sequence[_Class], void: _Class | None) -> list[str]:
    lines = [*_head(root, "folder"), f"    images: {_text(layout.images)}", f"    masks: {_text(layout.masks)}"]
    lines.append("    split:")
    for key, value in layout.form.model_dump().items():
        text = _text(value) if isinstance(value, str) and key == "file" else _flow(value)
        lines.append(f"      {key}: {text}")
    lines += ['    group: ""', f"    encoding: {found.encoding}", "    classes:"]
    for each in classes:
        entry = f"{{name: {_text(each.name)}, {_entry(each, found)}}}"
        lines.append(f"      - {entry:<60} # {_share(each.value, found)}")
    if void is None:
        return [*lines, "    void: null"]
    guess = "a guess: if it is a class, move it there, and write void: null"
    return [*lines, f"    void: {{{_entry(void, found)}}}  # {guess}; {_share(void.value, found)}"]


def _entry(each: _Class, found: Survey) -> str:
    rgb = f"rgb: [{', '.join(map(str, each.rgb))}]"
    return rgb if found.encoding == "rgb" else f"value: {each.value}, {rgb}"


def _flow(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}"
    return str(value)


def _share(value: int, found: Survey) -> str:
    if value not in found.pixels:
        return "in no mask"
    share = 100 * found.pixels[value] / found.pixels.total()
    return f"{found.pixels[value]} pixels ({share:.2f} %) in {found.masks[value]} masks"


def _facts(layout: Layout, listed: Mapping[str, Sequence[Entry]], found: Survey, is_voc: bool) -> Iterator[str]:
    """What was found, and what the user may want to change."""
    yield f"Pairs: {', '.join(f'{split} {len(entries)}' for split, entries in listed.items())}."
    sizes = [f"{width}x{height}" for (height, width), _ in found.sizes.most_common(3)]
    more = f" and {len(found.sizes) - 3} more sizes" if len(found.sizes) > 3 else ""
    yield f"Images: {_counted(found.image_kinds)}; {', '.join(sizes)}{more}."
    yield f"Masks: {_counted(found.mask_kinds)}."
    if is_voc:
        yield f"Labels: {', '.join(f'{value} in {found.masks[value]} masks' for value in sorted(found.masks))}."
        yield "source voc names the 21 classes of PASCAL VOC: a guess. For others add a labels.txt, and inspect again."
    values = set(found.pixels)
    if found.encoding == "index" and values == {0, 255}:
        yield "Binary masks: 0 and 255 are taken as two classes."
    elif min(values, default=1) == 0 and not is_voc:
        which = "Value 0" if found.encoding == "index" else "The colour [0, 0, 0]"
        yield f"{which} is taken as a class, a guess: if it means not labelled, make it void, and no class."
    if isinstance(layout.form, splitting.ByRatio):
        yield 'Frames of one video must not be torn apart: if there are any, set group, such as "(.+)_[0-9]+".'
    if found.image_kinds and all(" gray " in kind for kind in found.image_kinds):
        yield "All images are gray: set preprocess.channels to 1."
    if "test" not in listed and "val" in listed:
        yield "There is no split test: set evaluate.split to val."


def _counted(kinds: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common()) or "none"


def _doubts(layout: Layout, found: Survey) -> Iterator[str]:
    splits = splitting.names(layout.form)
    if absent := [split for split in ("train", "val") if split not in splits]:
        yield f"no split {' and no split '.join(absent)}, only {', '.join(splits)}: rename a folder or list, or add one"
    if len(found.pixels) > MOST_CLASSES:
        count, path = found.fullest
        smooth = "smoothed or compressed colours? Export the masks anew without"
        yield f"more labels than the {MOST_CLASSES} classes that can be, {count} in {path} alone: {smooth}"
    if len(found.pixels) < 2:
        yield f"{len(found.pixels)} label in all masks, expected two at least"


def command(args: Namespace) -> None:
    """`segline inspect FOLDER`: prints the data section and warns of what is wrong."""
    inspection = inspect(args.folder)
    if inspection.section:
        console.say(inspection.section)
    for problem in inspection.problems:
        console.warn(problem)
    if not inspection.section:
        raise DataError(args.folder, "no image or no mask that can be used", "Mend what is named, and inspect again.")
