"""How the pairs of a folder are divided into splits: by subfolders, by lists, or by ratio.

A split is a set of pairs: the order of names in the file system or in params.yaml does not matter.
"""

import hashlib
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

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


SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
SplitNames = Annotated[list[SplitName], Field(min_length=1), AfterValidator(unique)]


class ByFolder(params.Section):
    """{split} in both patterns stands for the name of the split."""

    by: Literal["folder"]
    names: SplitNames


class ByLists(params.Section):
    """One text file per split, one stem per line."""

    by: Literal["lists"]
    file: Annotated[str, AfterValidator(_with_split)]
    names: SplitNames


class ByRatio(params.Section):
    """Shares of the pairs, drawn by the seed; the pairs of a group stay together."""

    by: Literal["ratio"]
    shares: Annotated[dict[SplitName, Annotated[float, Field(gt=0, le=1)]], Field(min_length=1), AfterValidator(_whole)]
    seed: int = Field(ge=0, lt=2**32)


def _one_form(value: Any) -> Any:
    forms: dict[Any, type[params.Section]] = {"folder": ByFolder, "lists": ByLists, "ratio": ByRatio}
    by = value.get("by") if isinstance(value, dict) else None
    if not isinstance(by, str) or by not in forms:
        raise ValueError(f"expected a section with by: {' | '.join(forms)}")
    return forms[by].model_validate(value)


def _one_group(expression: str) -> str:
    try:
        count = re.compile(expression).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"not a regular expression ({error})") from None
    if expression and count != 1:
        raise ValueError(f'expected one group in parentheses, such as "(.+)_[0-9]+", or "" for none; it has {count}')
    return expression


Form = Annotated[ByFolder | ByLists | ByRatio, BeforeValidator(_one_form)]
Group = Annotated[str, AfterValidator(_one_group)]


def names(form: Form) -> list[str]:
    """The names of the splits."""
    return list(form.shares if form.by == "ratio" else form.names)


def entries(root: Path, images: str, masks: str, form: Form, group: str) -> dict[str, list[Entry]]:
    """The pairs of each split, sorted by stem; the group of a pair is what `group` captures in its stem.

    Raises all problems of the folder at once.
    """
    problems: list[PipelineError] = []
    pairs = usable(root, images, masks, form, group, problems=problems)
    if problems:
        raise combined(root, problems)
    return pairs


def usable(
    root: Path, images: str, masks: str, form: Form, group: str, *, problems: list[PipelineError]
) -> dict[str, list[Entry]]:
    """The pairs of `entries` that can be used; the problems of the others are added to `problems`."""
    if form.by == "ratio":
        everything = _grouped(Matches(root, images, masks, problems).everything(), group, problems)
        return _shared_out(root, everything, form, problems)
    listed = _listed(root, images, masks, form, problems)
    return {name: _grouped(each, group, problems) for name, each in listed.items()}


def _listed(
    root: Path, images: str, masks: str, form: ByFolder | ByLists, problems: list[PipelineError]
) -> dict[str, list[Entry]]:
    if form.by == "folder":
        return {
            name: Matches(root, images.replace(SPLIT, name), masks.replace(SPLIT, name), problems).everything()
            for name in form.names
        }
    matches, taken = Matches(root, images, masks, problems), dict[str, str]()
    wanted = {name: listing.stems(root, form.file.replace(SPLIT, name), taken, problems) for name in form.names}
    return {name: matches.entries(stems) for name, stems in wanted.items()}


def _grouped(listed: Sequence[Entry], group: str, problems: list[PipelineError]) -> list[Entry]:
    if not group:
        return list(listed)
    matches = [re.fullmatch(group, entry.stem) for entry in listed]
    for entry, match in zip(listed, matches, strict=True):
        if not match or not match[1]:
            problem = f"stem {entry.stem!r} has no group, expected the whole stem to match {group!r}"
            problems.append(DataError(entry.image, problem, "Fix data.folder.group, or rename the file and its mask."))
    return [replace(entry, group=match[1]) for entry, match in zip(listed, matches, strict=True) if match and match[1]]


def _shared_out(
    root: Path, listed: Sequence[Entry], form: ByRatio, problems: list[PipelineError]
) -> dict[str, list[Entry]]:
    """Groups in the order of a hash, each as a whole in the split whose share contains the middle of the group."""
    sizes = Counter(entry.group or entry.stem for entry in listed)
    order = sorted(sizes, key=lambda name: hashlib.sha256(f"{form.seed}:{name}".encode()).digest())
    splits = sorted(form.shares)  # DVC does not track the order of keys, so nothing may depend on it
    ends = list(accumulate(_exact(form.shares[split]) for split in splits))
    home: dict[str, str] = {}
    placed = 0
    for name in order:
        middle = (placed + Fraction(sizes[name], 2)) / len(listed)
        home[name] = splits[bisect_right(ends, middle)]
        placed += sizes[name]
    divided = {split: [entry for entry in listed if home[entry.group or entry.stem] == split] for split in form.shares}
    if listed and (empty := [split for split, entries in divided.items() if not entries]):
        shown = f"split {' and '.join(empty)} would be empty: {len(listed)} pairs in {len(sizes)} groups"
        problems.append(DataError(root, shown, "Change data.folder.split.shares, or add images."))
    return divided
