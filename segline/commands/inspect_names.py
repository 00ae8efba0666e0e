"""Names of classes from a file beside the images or masks, matched to mask values only where that is no guess."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from segline.commands.inspect_masks import MOST_CLASSES, Labels
from segline.preprocessing.mask_values import runs
from segline.preprocessing.palettes import Rgb

FILES = ("labels.txt", "classes.txt", "class_names.txt")  # one name per line; line k names value k, the first is 0
ROBOFLOW = "_classes.csv"  # "Pixel Value, Class", then a line for each value
ADE20K = "objectInfo150.txt"  # columns with tabs, the first is the value and the last the name; 0 has no label
CVAT = "labelmap.txt"  # "name:r,g,b::" for each class, in the order of the values; comments start with #
_LENGTH = 60
_LABEL = re.compile(r"(?P<name>[^#:][^:]*):(?P<rgb>\d{1,3},\d{1,3},\d{1,3})(:.*)?")
_UNLABELLED = {"void", "unlabeled", "unlabelled", "ignore"}
_NOT_AN_OBJECT = {"background", "bg", "other", "none"} | _UNLABELLED

Table = dict[int, str]


@dataclass(frozen=True)
class Names:
    """The names `of` mask values, what is doubtful, and as far as the file has them colours to draw, and void."""

    of: Table = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    rgb: dict[int, Rgb] = field(default_factory=dict)
    void: int | None = None


def matched(places: Sequence[Path], values: Sequence[int], labels: Labels) -> Names:
    """The names in a file of one of these folders, the first of which is the top one, or no names.

    `values` are the ascending mask values of the classes.
    """
    if path := next((places[0] / name for name in FILES if (places[0] / name).is_file()), None):
        names = [line for line in _lines(path) if line not in ("", "__ignore__")]  # labelme's name for -1
        if problem := _problem(names):
            return Names({}, [f"{path}: unused names: {problem}"])
        if labels.encoding != "index":
            return Names({}, [f"{path}: unused names: nothing says which colour is which of the {len(names)}"])
        return _by_value(path, names, list(values))
    readers: dict[str, Callable[[Path, Sequence[int], Labels], Names]] = {
        ROBOFLOW: _roboflow,
        CVAT: _cvat,
        ADE20K: _ade20k,
    }
    for name, read in readers.items():
        if paths := [place / name for place in places if (place / name).is_file()]:
            others = [path for path in paths if path.read_bytes() != paths[0].read_bytes()]
            table = read(paths[0], values, labels)
            return replace(
                table, doubts=[*table.doubts, *(f"{path}: unused: differs from {paths[0]}" for path in others)]
            )
    return Names()


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]


def _problem(names: Sequence[str]) -> str | None:
    if len(set(names)) < len(names) or not all(name.isprintable() and 0 < len(name) <= _LENGTH for name in names):
        return f"expected each once, printable, of at most {_LENGTH} characters"
    return None if 0 < len(names) <= MOST_CLASSES else f"{len(names)} of them, expected 1 to {MOST_CLASSES}"


def _roboflow(path: Path, values: Sequence[int], labels: Labels) -> Names:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(_lines(path)[1:]) if row]
    except csv.Error as error:
        return Names({}, [f"{path}: unused names: not CSV ({error})"])
    numbers = [row[0] for row in rows if len(row) == 2 and re.fullmatch(r"\d{1,5}", row[0])]
    problem = "expected a number and a name in each line" if len(numbers) < len(rows) else None
    problem = problem or ("a value has two names" if len({*map(int, numbers)}) < len(rows) else None)
    problem = problem or ("they are those of numbers, not of colours" if labels.encoding != "index" else None)
    if problem := problem or _problem([row[1] for row in rows]):
        return Names({}, [f"{path}: unused names: {problem}"])
    return _known(path, {int(number): name for number, name in rows}, values)


def _ade20k(path: Path, values: Sequence[int], labels: Labels) -> Names:
    rows = [line.split("\t") for line in _lines(path)[1:] if line]
    numbers = [int(row[0]) for row in rows if re.fullmatch(r"\d{1,3}", row[0].strip())]
    names = [_first_synonyms(row[-1].strip()) for row in rows]
    is_known = len({*numbers, 0}) == len(rows) + 1 and labels.encoding == "index"
    problem = None if is_known else "expected a number of its own and a name in each line, and index masks"
    if problem := problem or _problem(names):
        return Names({}, [f"{path}: unused names: {problem}"])
    known = _known(path, dict(zip(numbers, names, strict=True)), [value for value in values if value])
    return replace(known, void=0)


def _first_synonyms(text: str) -> str:
    """As many of the words between commas as fit into a name."""
    return text if len(text) <= _LENGTH else text[: text.rfind(",", 0, _LENGTH + 1)].strip()


def _cvat(path: Path, values: Sequence[int], labels: Labels) -> Names:
    lines = [line for line in _lines(path) if line and not line.startswith("#")]
    matches = [match for line in lines if (match := _LABEL.fullmatch(line))]
    names = [match["name"].strip() for match in matches]
    rgbs = [_rgb(match["rgb"]) for match in matches]
    problem = "expected name:r,g,b:: in each line" if len(matches) < len(lines) else None
    problem = problem or ("two have the same colour" if len(set(rgbs)) < len(rgbs) else None)
    if problem := problem or _problem(names):
        return Names({}, [f"{path}: unused names: {problem}"])
    by_colour = dict(zip(rgbs, names, strict=True))
    if labels.encoding != "index":
        return _known(
            path, {red << 16 | green << 8 | blue: by_colour[red, green, blue] for red, green, blue in rgbs}, values
        )
    in_palette = [labels.palette[value] for value in values if value in labels.palette]
    if len(set(in_palette)) == len(values) and by_colour.keys() >= set(in_palette):
        return Names({value: by_colour[rgb] for value, rgb in zip(values, in_palette, strict=True)})
    by_order = _by_value(path, names, list(values))
    colours = {name: rgb for rgb, name in by_colour.items()}
    return replace(by_order, rgb={value: colours[name] for value, name in by_order.of.items()})


def _rgb(text: str) -> Rgb:
    red, green, blue = map(int, text.split(","))
    return red, green, blue


def _known(path: Path, names: Mapping[int, str], values: Sequence[int]) -> Names:
    """`names`, without one for void, and which values have none."""
    of = {value: name for value, name in names.items() if value in values or name.lower() not in _UNLABELLED}
    nameless = sum(value not in of for value in values)
    return Names(of, [f"{path}: no name for {nameless} of the {len(values)} mask values"] if nameless else [])


def _by_value(path: Path, names: list[str], values: list[int]) -> Names:
    count = len(names)
    if values == list(range(count)):
        return Names(dict(enumerate(names)))
    if len(values) == count == 2:  # binary: black and white, whatever their values
        return Names(dict(zip(values, names, strict=True)))
    known = f"{path}: {count} name{'s' * (count != 1)} for {len(values)} mask values ({runs(values)})"
    objects = not any(name.strip("_ ").lower() in _NOT_AN_OBJECT for name in names)
    if objects and values == list(range(count + 1)):
        return Names(
            dict(enumerate(names, start=1)), [f"{known}: taken as those of 1..{count}, without the background 0"]
        )
    if objects and count == 1 and len(values) == 2:
        return Names(
            {values[1]: names[0]}, [f"{known}: taken as that of {values[1]}, without the background {values[0]}"]
        )
    if objects and values == list(range(1, count + 1)):
        return Names(dict(enumerate(names, start=1)), [f"{known}: taken as those of 1..{count}, in this order"])
    return Names(
        dict(enumerate(names)), [f"{known}: line k names value k - 1, a guess; correct the names if it is wrong"]
    )
