"""How the pairs of a folder are divided into splits: by subfolders, by lists, or by ratio.

A split is a set of pairs: the order of names in the file system or in params.yaml does not matter.
"""

import hashlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from segline.core import params
from segline.core.errors import DataError, PipelineError, combined
from segline.sources.collecting import listing
from segline.sources.collecting.listing import Entry, Matches

SPLIT = "{split}"


def unique(names: list[str]) -> list[str]:
    """`names`, if none is repeated. Raises ValueError."""
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"duplicate {repeated[0]!r}")
    return names


def _with_split(file: str) -> str:
    if SPLIT not in listing.relative(file):
        raise ValueError(f"expected {SPLIT} in it")
    return file


def _whole(shares: dict[str, float]) -> dict[str, float]:
    if total := sum(map(_exact, shares.values())) - 1:
        raise ValueError(f"the shares sum to {float(total + 1):g}, expected 1")
    return shares


def _exact(share: float) -> Fraction:
    """The decimal number as written in params.yaml: 0.8 + 0.1 + 0.1 is 1."""
    return Fraction(str(share))


def _in_a_path(text: str) -> str:
    if set(listing.relative(text)) & set("*{}"):
        raise ValueError("expected what {split} stands for, without * and braces")
    return text


def _different(names: dict[str, str]) -> dict[str, str]:
    unique(list(names.values()))
    return names


SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
_List = Annotated[list[SplitName], Field(min_length=1), AfterValidator(unique)]
_Mapping = Annotated[
    dict[SplitName, Annotated[str, AfterValidator(_in_a_path)]], Field(min_length=1), AfterValidator(_different)
]


def _list_or_mapping(value: Any) -> Any:
    return TypeAdapter(_Mapping if isinstance(value, dict) else _List).validate_python(value, strict=True)


SplitNames = Annotated[list[str] | dict[str, str], BeforeValidator(_list_or_mapping)]


class ByFolder(params.Section):
    """{split} in both patterns stands for the name of the split, or for what `names` maps it to."""

    by: Literal["folder"]
    names: SplitNames


class ByLists(params.Section):
    """One text file per split, one stem per line; {split} as in `ByFolder`."""

    by: Literal["lists"]
    file: Annotated[str, AfterValidator(_with_split)]
    names: SplitNames


class DrawsVal(params.Section):
    """A share of train, drawn by the seed, is val; the pairs of a group stay together."""

    val_from_train: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0, lt=2**32)

    @model_validator(mode="after")
    def _from_train_alone(self) -> Self:
        splits: Any = getattr(self, "names", ())
        if "train" not in splits or "val" in splits:
            raise ValueError("val_from_train makes val of a part of train: expected names with train and without val")
        return self


class ByFolderDrawingVal(ByFolder, DrawsVal):
    """By folder, without one for val."""


class ByListsDrawingVal(ByLists, DrawsVal):
    """By lists, without one for val."""


class ByRatio(params.Section):
    """Shares of the pairs, drawn by the seed; the pairs of a group stay together."""

    by: Literal["ratio"]
    shares: Annotated[dict[SplitName, Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_whole)]
    seed: int = Field(ge=0, lt=2**32)


def _one_form(value: Any) -> Any:
    forms: dict[str, type[params.Section]] = {"folder": ByFolder, "lists": ByLists, "ratio": ByRatio}
    if isinstance(value, dict) and "val_from_train" in value:
        forms |= {"folder": ByFolderDrawingVal, "lists": ByListsDrawingVal}
    return params.one_of(forms, value)


def _one_group(expression: str) -> str:
    try:
        count = re.compile(expression).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression ({error})") from None
    if expression and count != 1:
        raise ValueError(f'expected one group in parentheses, such as "(.+)_[0-9]+", or "" for none; it has {count}')
    return expression


Form = Annotated[ByFolder | ByLists | ByRatio, BeforeValidator(_one_form)]
FORM: TypeAdapter[Form] = TypeAdapter(Form)
Group = Annotated[str, AfterValidator(_one_group)]


def folders(form: ByFolder | ByLists) -> dict[str, str]:
    """What {split} stands for, for each split that has a folder or list of its own."""
    return form.names if isinstance(form.names, dict) else {name: name for name in form.names}


def names(form: Form) -> list[str]:
    """The names of the splits."""
    if form.by == "ratio":
        return list(form.shares)
    return [*folders(form), *(["val"] if isinstance(form, DrawsVal) else [])]


def entries(
    root: Path, images: str, masks: str, form: Form, group: str, *, one_file_each: bool = False
) -> dict[str, list[Entry]]:
    """The pairs of each split, sorted by stem; the group of a pair is what `group` captures in its stem.

    `one_file_each` as in `Matches`. Raises all problems of the folder at once.
    """
    problems: list[PipelineError] = []
    pairs = usable(root, images, masks, form, group, problems=problems, one_file_each=one_file_each)
    if problems:
        raise combined(root, problems)
    return pairs


def usable(
    root: Path,
    images: str,
    masks: str,
    form: Form,
    group: str,
    *,
    problems: list[PipelineError],
    one_file_each: bool = False,
) -> dict[str, list[Entry]]:
    """The pairs of `entries` that can be used; the problems of the others are added to `problems`."""

    def find(folder: str) -> Matches:
        of_images, of_masks = images.replace(SPLIT, folder), masks.replace(SPLIT, folder)
        return Matches(root, of_images, of_masks, problems, one_file_each=one_file_each)

    found = {"": find("").everything()} if form.by == "ratio" else _listed(root, form, problems, find)
    return divided(root, found, form, group, problems=problems)


def divided(
    root: Path, found: Mapping[str, Sequence[Entry]], form: Form, group: str, *, problems: list[PipelineError]
) -> dict[str, list[Entry]]:
    """The splits of what was found: by folder or list of each split, by ratio under "".

    Each pair gets what `group` captures in its stem; "" keeps the group that it has. Problems are added to `problems`.
    """
    grouped = {name: _grouped(each, group, problems) for name, each in found.items()}
    if form.by == "ratio":
        shares = {name: _exact(share) for name, share in form.shares.items()}
        return _shared_out(root, grouped[""], shares, form.seed, problems)
    if isinstance(form, DrawsVal):
        val = _exact(form.val_from_train)
        grouped |= _shared_out(root, grouped["train"], {"train": 1 - val, "val": val}, form.seed, problems)
    return grouped


def _listed(
    root: Path, form: ByFolder | ByLists, problems: list[PipelineError], find: Callable[[str], Matches]
) -> dict[str, list[Entry]]:
    """`find` returns the files of what {split} stands for."""
    if form.by == "folder":
        return {name: find(folder).everything() for name, folder in folders(form).items()}
    matches, taken = find(""), dict[str, str]()
    wanted = {
        name: listing.stems(root, form.file.replace(SPLIT, text), taken, problems)
        for name, text in folders(form).items()
    }
    return {name: matches.entries(stems) for name, stems in wanted.items()}


def _grouped(listed: Sequence[Entry], group: str, problems: list[PipelineError]) -> list[Entry]:
    if not group:
        return list(listed)
    matches = [re.fullmatch(group, entry.stem) for entry in listed]
    for entry, match in zip(listed, matches, strict=True):
        if not match or not match[1]:
            problem = f"stem {entry.stem!r} has no group, expected the whole stem to match {group!r}"
            problems.append(
                DataError(entry.image, problem, "Fix the expression in group, or rename the file and its mask.")
            )
    return [replace(entry, group=match[1]) for entry, match in zip(listed, matches, strict=True) if match and match[1]]


def _shared_out(
    root: Path, listed: Sequence[Entry], shares: Mapping[str, Fraction], seed: int, problems: list[PipelineError]
) -> dict[str, list[Entry]]:
    """Groups in the order of a hash, each as a whole in the split whose share contains the middle of the group."""
    sizes = Counter(entry.group or entry.stem for entry in listed)
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    splits = sorted(shares)  # DVC does not track the order of keys, so nothing may depend on it
    ends = list(accumulate(shares[split] for split in splits))
    home: dict[str, str] = {}
    placed = 0
    for name in order:
        middle = (placed + Fraction(sizes[name], 2)) / len(listed)
        home[name] = splits[bisect_right(ends, middle)]
        placed += sizes[name]
    divided = {split: [entry for entry in listed if home[entry.group or entry.stem] == split] for split in shares}
    if listed and (empty := [split for split, entries in divided.items() if not entries]):
        shown = f"split {' and '.join(empty)} would be empty: {len(listed)} pairs in {len(sizes)} groups"
        problems.append(DataError(root, shown, "Change the shares in split, or group, or add images."))
    return divided
