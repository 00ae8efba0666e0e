"""The class table of a data set, some of it merged -> the classes of the arrays, and the class of each mask value."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.core import params
from segline.core.errors import DataError, ParameterError, PipelineError, combined, suggestion
from segline.dataset import raw
from segline.dataset.raw import Dataset, Label

MAX_CLASSES = 255  # class 255 would be `encode.VOID`
KEY = f"{params.FILE}: preprocess"
REMEDY = "Mend the class table of the source, then run download."

Merge = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Table:
    """K classes, void the last of them if `void_is_class`, and (mask value, class or None for void) by mask value."""

    classes: tuple[Label, ...]
    void_is_class: bool
    values: tuple[tuple[int, int | None], ...]


def table(index: Path, data: Dataset, merge: Merge, void_is_class: bool) -> Table:
    """The table that `preprocess.merge` and `preprocess.void` make of that of the data set, which `index` describes.

    A merged class takes its colour, and its place among the others, from the first of its members: the order of the
    keys of `merge` changes nothing, because DVC does not see it.

    Raises DataError for a class table that cannot be, ParameterError for parameters that do not fit it.
    """
    if problems := list(_impossible(index, data)):
        raise combined(index, problems)
    if void_is_class and data.void is None:
        raise ParameterError(f"{KEY}.void", "'class', but this data set has no void", "Set: ignore")
    names = [label.name for label in data.classes]
    if merge and (problems := list(_unfit(names, merge))):
        raise combined(f"{KEY}.merge", problems)
    merged = merge or {name: [name] for name in names}
    groups = sorted((names.index(members[0]), name, members) for name, members in merged.items())
    classes = [Label(name, data.classes[first].rgb) for first, name, _ in groups]
    values: dict[int, int | None] = {
        data.values[names.index(member)]: number for number, (*_, members) in enumerate(groups) for member in members
    }
    if data.void is not None:
        values[data.void.value] = len(classes) if void_is_class else None
        classes += [Label("void", data.void.rgb)] * void_is_class
    _require_usable(index, classes, bool(merge))
    return Table(tuple(classes), void_is_class, tuple(sorted(values.items())))


def _impossible(index: Path, data: Dataset) -> Iterator[PipelineError]:
    """What is wrong with the class table of a data set by itself."""
    if repeated := _repeated(data.classes):
        yield DataError(index, f"class names repeat: {', '.join(repeated)}", REMEDY)
    if len(data.values) != len(data.classes):
        found = f"{len(data.values)} mask values for {len(data.classes)} classes, expected one each"
        yield DataError(index, found, REMEDY)
    values = [*data.values, *([data.void.value] if data.void else [])]
    shared = sorted(value for value, count in Counter(values).items() if count > 1)
    if shared:
        yield DataError(index, f"mask value {shared[0]} stands for two classes, or a class and void", REMEDY)
    size = raw.ENCODINGS[data.encoding]
    if outside := [value for value in values if not 0 <= value < size]:
        yield DataError(index, f"mask value {outside[0]}, expected 0..{size - 1} ({data.encoding})", REMEDY)


def _unfit(names: Sequence[str], merge: Merge) -> Iterator[PipelineError]:
    """What keeps `merge` from naming every class exactly once."""
    places = [(member, name) for name, members in merge.items() for member in members]
    for member, name in places:
        if member not in names:
            remedy = suggestion(member, names, f"The classes are: {', '.join(names)}.")
            yield ParameterError(f"{KEY}.merge.{name}", f"unknown class {member!r}", remedy)
    for member in names:
        homes = [name for other, name in places if other == member]
        if not homes:
            yield ParameterError(f"{KEY}.merge", f"class {member!r} is in no list", "Add it to one.")
        if len(homes) > 1:
            found = f"class {member!r} comes {len(homes)} times (in {', '.join(homes)}), expected once"
            yield ParameterError(f"{KEY}.merge", found, "Leave it in one list.")


def _require_usable(index: Path, classes: Sequence[Label], merged: bool) -> None:
    """Raises the error of the parameters if classes were `merged`, else of the data set."""
    found = ""
    if not 2 <= len(classes) <= MAX_CLASSES:
        found = f"{len(classes)} classes, expected 2 to {MAX_CLASSES}"
    elif repeated := _repeated(classes):
        found = f"class names repeat: {', '.join(repeated)}"
    if found and merged:
        raise ParameterError(f"{KEY}.merge", found, "Mend the names there.")
    if found:
        raise DataError(index, found, REMEDY)


def _repeated(classes: Sequence[Label]) -> list[str]:
    return [name for name, count in Counter(label.name for label in classes).items() if count > 1]
