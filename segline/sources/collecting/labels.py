"""The names that people gave to their objects -> classes, by one rule for all labelling tools.

A source's `Section` inherits `Rules`. `collect` and `require_input` make one `Labels`, call `value` for every object,
then add `problems()` to those of the shapes, so that all are reported together.

A class's number in the masks is its position in `classes`; 255 is void.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from segline.core import params
from segline.core.errors import DataError, PipelineError, suggestion
from segline.dataset.raw import Dataset, Label, Void

VOID = 255  # in every mask that is drawn here
VOID_NAME = "void"  # in params.yaml
_FILES_SHOWN = 3


def colour(value: int) -> tuple[int, int, int]:
    """VOC's colour of a mask value 0..255: its bits, three by three, are the high bits of red, green and blue."""
    red = green = blue = 0
    for place in range(8):
        bits = value >> 3 * place
        red |= (bits & 1) << 7 - place
        green |= (bits >> 1 & 1) << 7 - place
        blue |= (bits >> 2 & 1) << 7 - place
    return red, green, blue


def key(name: str) -> str:
    """Equal for names that differ in case or spaces alone."""
    return "".join(name.split()).casefold()


def _class_name(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("expected a name of printable characters without spaces around it")
    if key(name) == VOID_NAME:
        raise ValueError(f"{name!r} is no class: what is not among the classes is void with unknown: void")
    return name


def _told_apart(names: list[str]) -> list[str]:
    first: dict[str, str] = {}
    for name in names:
        if (other := first.get(key(name))) is not None:
            same = f"duplicate {name!r}" if other == name else f"{other!r} and {name!r} differ in case or spaces alone"
            raise ValueError(same)
        first[key(name)] = name
    return names


def _void_or_class(name: str, info: ValidationInfo) -> str:
    classes = info.data.get("classes")
    if classes is not None and name != VOID_NAME and name not in classes:
        raise ValueError(f"expected {VOID_NAME} or one of the classes")
    return name


ClassName = Annotated[str, Field(min_length=1, max_length=60), AfterValidator(_class_name)]


class Rules(params.Section):
    """What every source of a labelling tool asks for.

    `classes`: the labels that become classes, in the order of their numbers. `unlabelled`: what pixels without an
    object are, void or a class. `unknown`: labels that are no class are an error, or void. `faults`: shapes that
    cannot be drawn are an error, or are left out.
    """

    classes: Annotated[list[ClassName], Field(min_length=1, max_length=255), AfterValidator(_told_apart)]
    unlabelled: Annotated[str, AfterValidator(_void_or_class)]
    unknown: Literal["refuse", "void"]
    faults: Literal["refuse", "skip"]

    @property
    def background(self) -> int:
        """The mask value of pixels without an object."""
        return VOID if self.unlabelled == VOID_NAME else self.classes.index(self.unlabelled)


def dataset(name: str, rules: Rules) -> Dataset:
    """The data set without its pairs. Unlabelled pixels are black, the other classes have VOC's colours."""
    others = [each for each in rules.classes if each != rules.unlabelled]
    colours = {each: colour(place) for place, each in enumerate(others, start=1)} | {rules.unlabelled: colour(0)}
    classes = tuple(Label(each, colours[each]) for each in rules.classes)
    return Dataset(name, classes, tuple(range(len(classes))), Void(VOID, colour(VOID)), "index", splits={})


@dataclass
class _Seen:
    """A label that is no class: how many objects have it, and the first files in which they are."""

    objects: int = 0
    files: list[Path] = field(default_factory=list)


class Labels:
    """Looks labels up, and remembers those that are no class.

    Labels that differ in case or spaces alone are always an error: nobody can tell whether they are meant to be one.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._numbers = {name: number for number, name in enumerate(rules.classes)}
        self._objects: Counter[str] = Counter()
        self._unknown: dict[str, _Seen] = {}

    def value(self, label: str, file: Path) -> int:
        """The mask value of an object: its class, or void. Counts it; call it once an object."""
        self._objects[label] += 1
        number = self._numbers.get(label)
        if number is not None:
            return number
        seen = self._unknown.setdefault(label, _Seen())
        seen.objects += 1
        if file not in seen.files and len(seen.files) < _FILES_SHOWN:
            seen.files.append(file)
        return VOID

    def problems(self) -> list[PipelineError]:
        """An error for each label that cannot be used, with its count and its first files."""
        spellings: dict[str, list[str]] = {}
        for name in [*self._rules.classes, *sorted(self._unknown)]:
            spellings.setdefault(key(name), []).append(name)
        found: list[PipelineError] = []
        for label in sorted(self._unknown):
            seen = self._unknown[label]
            shown = f"{label!r}, {seen.objects} {'object' if seen.objects == 1 else 'objects'} in {_listed(seen.files)}"
            first = spellings[key(label)][0]
            if first != label:
                kind = "class" if first in self._numbers else "label"
                problem = f"label {shown}, differs from {kind} {first!r} in case or spaces alone"
                found.append(DataError(seen.files[0], problem, "Give both the same spelling in the labelling tool."))
            elif self._rules.unknown == "refuse":
                otherwise = "Add it to classes, or make it void with unknown: void."
                remedy = suggestion(label, self._rules.classes, otherwise)
                found.append(DataError(seen.files[0], f"label {shown}, is not among the classes", remedy))
        return found

    def notes(self) -> list[str]:
        """One line on the labels that became void, and one on the classes that no object has."""
        lines = []
        if self._unknown:
            counted = ", ".join(f"{label!r} ({self._unknown[label].objects})" for label in sorted(self._unknown))
            lines.append(f"objects with labels that are not among the classes are void: {counted}")
        without = [name for name in self._rules.classes if not self._objects[name] and name != self._rules.unlabelled]
        if without:
            lines.append(f"no object of class {', '.join(map(repr, without))}")
        return lines


def _listed(files: list[Path]) -> str:
    names = ", ".join(file.name for file in files)
    return f"{names} and perhaps more" if len(files) == _FILES_SHOWN else names
