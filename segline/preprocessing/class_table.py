"""The class table of a data set, with classes merged -> the classes of the arrays, and the class of each mask value."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segline.core import params
from segline.core.errors import DataError, ParameterError, PipelineError, combined, suggestion
from segline.dataset import objects, raw
from segline.dataset.objects import Objects
from segline.dataset.raw import Dataset, Label

MAX_CLASSES = 255  # class 255 would be `onehot.VOID`
KEY = f"{params.FILE}: preprocess"
REMEDY = "Correct the class table of the source, then run download."

Merge = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Table:
    """K classes, the last one void if `void_is_class`, and pairs (mask value, its class or None for void), sorted.

    With `objects` the borders of their classes follow, see `segline.dataset.objects`.
    """

    classes: tuple[Label, ...]
    void_is_class: bool
    values: tuple[tuple[int, int | None], ...]
    objects: Objects | None = None


def table(index: Path, data: Dataset, merge: Merge, void_is_class: bool) -> Table:
    """The class table of `data` after `preprocess.merge` and `preprocess.void`; `index` is the file that defines it.

    A merged class takes its colour, and its place among the others, from its first member. The order of the keys of
    `merge` changes nothing, because DVC does not see it.

    Raises DataError for an invalid class table, ParameterError for parameters that do not fit it.
    """
    if problems := list(_invalid(index, data)):
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


def with_objects(table: Table, chosen: Objects) -> Table:
    """The table with the borders of the chosen classes, which may be in any order. Raises ParameterError."""
    key, names = f"{KEY}.objects.classes", [label.name for label in table.classes]
    known = names[:-1] if table.void_is_class else names
    for name in chosen.classes:
        if name not in known:
            remedy = suggestion(name, known, f"The classes are: {', '.join(known)}.")
            raise ParameterError(key, f"unknown class {name!r}", remedy)
    if len({*chosen.classes}) < len(chosen.classes):
        raise ParameterError(key, "a class twice", "List each once.")
    if twins := [name for name in chosen.classes if f"{name}_objects" in names]:
        problem = (
            f"{twins[0]!r} beside a class {twins[0] + '_objects'!r}: per_image.csv could not tell their columns apart"
        )
        raise ParameterError(key, problem, "Rename one by preprocess.merge.")
    if (count := len(names) + len(chosen.classes)) > MAX_CLASSES:
        problem = f"{count} classes with the borders of objects, expected at most {MAX_CLASSES}"
        raise ParameterError(key, problem, "List fewer classes, or merge some.")
    ordered = replace(chosen, classes=tuple(sorted(chosen.classes, key=names.index)))
    try:
        return replace(table, classes=objects.table(table.classes, ordered), objects=ordered)
    except ValueError as error:
        raise ParameterError(key, f"{error}", "Rename that class by preprocess.merge.") from None


def _invalid(index: Path, data: Dataset) -> Iterator[PipelineError]:
    """The problems of the class table of a data set by itself."""
    if duplicates := _duplicates(data.classes):
        yield DataError(index, f"duplicate class names: {', '.join(duplicates)}", REMEDY)
    if len(data.values) != len(data.classes):
        problem = f"{len(data.values)} mask values for {len(data.classes)} classes, expected one each"
        yield DataError(index, problem, REMEDY)
    values = [*data.values, *([data.void.value] if data.void else [])]
    shared = sorted(value for value, count in Counter(values).items() if count > 1)
    if shared:
        yield DataError(index, f"mask value {shared[0]} is used for two classes, or for a class and void", REMEDY)
    size = raw.ENCODINGS[data.encoding]
    if outside := [value for value in values if not 0 <= value < size]:
        yield DataError(index, f"mask value {outside[0]}, expected 0..{size - 1} ({data.encoding})", REMEDY)


def _unfit(names: Sequence[str], merge: Merge) -> Iterator[PipelineError]:
    """The classes that `merge` does not list exactly once, and the unknown ones."""
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
            problem = f"class {member!r} is listed {len(homes)} times (in {', '.join(homes)}), expected once"
            yield ParameterError(f"{KEY}.merge", problem, "Keep it in one list.")


def _require_usable(index: Path, classes: Sequence[Label], merged: bool) -> None:
    """Raises ParameterError if the classes were `merged`, otherwise DataError."""
    problem = ""
    if not 2 <= len(classes) <= MAX_CLASSES:
        problem = f"{len(classes)} classes, expected 2 to {MAX_CLASSES}"
    elif duplicates := _duplicates(classes):
        problem = f"duplicate class names: {', '.join(duplicates)}"
    if problem and merged:
        raise ParameterError(f"{KEY}.merge", problem, "Correct the new classes there.")
    if problem:
        raise DataError(index, problem, REMEDY)


def _duplicates(classes: Sequence[Label]) -> list[str]:
    return [name for name, count in Counter(label.name for label in classes).items() if count > 1]
