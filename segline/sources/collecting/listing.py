"""Images and masks in a user's folder: found by pattern, paired by stem. Reads names, never contents.

A pattern is a path below the folder with a `*` in the file name, the stem that an image shares with its mask:
`masks/*_gt.png`. Folders may have a `*` too, the same in both patterns: `masks/*/*.png`; the stem is then what they
stand for, joined by `/`. The extension `.*` stands for every format that is read. `{split}` is filled in before a
pattern gets here.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segline.core.errors import DataError, PipelineError
from segline.dataset.raw import SUFFIXES, name_key

_EXTENSION = "|".join(suffix[1:] for suffix in SUFFIXES)
_NAME = re.compile(rf"(?P<before>[^*]*)\*(?P<after>[^*]*)\.(?P<extension>\*|{_EXTENSION})", re.IGNORECASE)

_PATH, _NAME_BYTES = 2048, 255  # what file systems take, the folder above included

Files = dict[str, list[Path]]  # stem -> the files that match


@dataclass(frozen=True)
class Entry:
    """An image and its mask in the user's folder; if each mask file is one object, `objects` are all of them."""

    stem: str
    group: str | None
    image: Path
    mask: Path
    objects: tuple[Path, ...] = ()


def relative(text: str) -> str:
    """`text`, if it is a path that stays below its folder. Raises ValueError."""
    parts = text.split("/")
    if not text.isprintable() or "\\" in text or {"", ".", ".."} & set(parts):
        raise ValueError("expected a path below data.input, such as masks/*.png, without .. and without a leading /")
    if len(text.encode()) > _PATH or max(len(part.encode()) for part in parts) > _NAME_BYTES:
        raise ValueError(f"expected a path of at most {_PATH} bytes, of names of at most {_NAME_BYTES}")
    return text


def pattern(text: str) -> str:
    """`text`, if it is a pattern. Raises ValueError."""
    folder, _, name = relative(text).rpartition("/")
    if not _NAME.fullmatch(name):
        known = ", ".join(SUFFIXES)
        raise ValueError(f"expected one * (the stem) in the file name and {known} or .* (any of them) after it")
    if any(part.count("*") > 1 for part in folder.split("/")):
        raise ValueError("expected at most one * in the name of a folder")
    return text


def stars(text: str) -> int:
    """How many `*` of a pattern are in the stem: all but that of the extension `.*`."""
    return text.count("*") - text.endswith(".*")


class Matches:
    """The files below `root` that match two patterns, by stem. A file that matches both goes to the more specific one.

    With `one_file_each`, the last `*` of the masks says which object of an image it is, and all others stand for the
    image: its stem, or the folders of its stem if the patterns have as many `*`. The mask is then the first of them, by
    name.

    Nothing here raises: problems are added to `problems`.
    """

    def __init__(
        self, root: Path, images: str, masks: str, problems: list[PipelineError], *, one_file_each: bool = False
    ) -> None:
        self.root, self.problems = root, problems
        self.patterns = {"image": images, "mask": masks}
        self.files: dict[str, Files] = {"image": {}, "mask": {}}
        missing = [problem for text in (images, masks) for problem in _no_folder(root, text)]
        self.readable = not missing
        problems += [problem for problem in missing if str(problem) not in map(str, problems)]
        if self.readable:
            loser, winner = ("mask", "image") if _specific(images) > _specific(masks) else ("image", "mask")
            self.files = {kind: self._found(text) for kind, text in self.patterns.items()}
            self.files[loser] = _without(self.files[loser], self.files[winner])
        self._objects: dict[Path, tuple[Path, ...]] = {}
        if one_file_each:
            self.files["mask"] = self._first_of_each()
        self._spelling = {kind: {name_key(stem): stem for stem in files} for kind, files in self.files.items()}

    def _found(self, text: str) -> Files:
        """Stem -> the files that match, sorted. Hidden files and folders (`.DS_Store`, `._a.png`) are ignored."""
        *folders, name = text.split("/")
        places = [("", self.root)]
        for part in folders:
            places = [(f"{stem}{star}", place) for stem, above in places for star, place in self._below(above, part)]
        expression = _expression(name)
        files: Files = defaultdict(list)
        for stem, place in places:
            for path in sorted(place.iterdir()):
                match = expression.fullmatch(path.name)
                if match and not path.name.startswith("."):
                    files[f"{stem}{match[1]}"].append(path)
        return dict(files)

    def _first_of_each(self) -> Files:
        """The first object file of each image, by its stem."""
        images, masks = self.files.values()
        objects: dict[str, list[Path]] = defaultdict(list)
        for stem, paths in masks.items():
            objects[stem.rpartition("/")[0]] += paths
        self._objects = {min(paths): tuple(sorted(paths)) for paths in objects.values()}
        firsts = {above: min(objects[above]) for above in sorted(objects)}
        if stars(self.patterns["mask"]) > stars(self.patterns["image"]):
            return {stem: [path] for stem, path in firsts.items()}
        folders: dict[str, list[str]] = defaultdict(list)
        for stem in sorted(images):
            folders[stem.rpartition("/")[0]].append(stem)
        for above, stems in folders.items():
            if len(stems) > 1 and above in firsts:
                problem = f"{len(stems)} images beside one folder of objects: {', '.join(stems)}"
                self.problems.append(DataError(firsts[above].parent, problem, "Keep one image in each folder."))
        return {stem: [path] for above, path in firsts.items() for stem in folders.get(above, [above])}

    def _below(self, place: Path, part: str) -> Iterator[tuple[str, Path]]:
        """The folders in `place` that match a part of a pattern, each after what its `*` stands for and a slash."""
        if "*" not in part:
            yield from [("", place / part)] if (place / part).is_dir() else []
            return
        before, after = map(re.escape, part.split("*"))
        for path in sorted(place.iterdir()):
            match = re.fullmatch(f"{before}(.+){after}", path.name, re.DOTALL)
            if not match or path.name.startswith(".") or not path.is_dir():
                continue
            if outside := leads_out(self.root, path):
                problem = DataError(path, outside, "Put the files themselves below data.input.")
                self.problems += [problem] if str(problem) not in map(str, self.problems) else []
            else:
                yield f"{match[1]}/", path

    def everything(self) -> list[Entry]:
        """The pairs of all stems, sorted."""
        images, masks = self.files["image"], self.files["mask"]
        if images.keys() & masks.keys():
            return self.entries({stem: str(paths[0]) for stem, paths in (masks | images).items()})
        if self.readable:
            shown = " and ".join(f"{len(self.files[kind])} {kind}s match {self.patterns[kind]}" for kind in self.files)
            firsts = ", ".join(min(files) for files in (images, masks) if files)
            problem = f"{shown}, none with the same stem{f' ({firsts})' if firsts else ''}"
            remedy = "Fix the patterns: * is the part that an image and its mask have in common."
            self.problems.append(DataError(self.root, problem, remedy))
        return []

    def entries(self, wanted: Mapping[str, str]) -> list[Entry]:
        """The pairs of the wanted stems, sorted; `wanted` gives the place that asks for each."""
        if not self.readable:
            return []
        same: dict[str, list[str]] = defaultdict(list)
        for stem in sorted(wanted):
            same[name_key(stem)].append(stem)
        for twins in (stems for stems in same.values() if len(stems) > 1):
            problem = f"stems that differ only in case or Unicode form: {', '.join(map(ascii, twins))}"
            self.problems.append(DataError(wanted[twins[0]], problem, "Rename all but one, image and mask alike."))
        pairs = []
        for stem in sorted(wanted):
            image, mask = (self._only(kind, stem, wanted[stem]) for kind in ("image", "mask"))
            if image and mask:
                pairs.append(Entry(stem, None, image, mask, self._objects.get(mask, ())))
        return pairs

    def _only(self, kind: str, stem: str, where: str) -> Path | None:
        """The one file of this kind with this stem, if it can be used."""
        paths = self.files[kind].get(stem, [])
        if not paths:
            self.problems.append(DataError(where, *self._absent(kind, stem)))
        elif len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            self.problems.append(DataError(paths[0].parent, f"{len(paths)} {kind}s for one stem: {names}", "Keep one."))
        elif problem := unusable(self.root, paths[0]):
            self.problems.append(DataError(paths[0], problem, "Replace it with a plain file with a plain name."))
        else:
            return paths[0]
        return None

    def _absent(self, kind: str, stem: str) -> tuple[str, str]:
        pattern = self.patterns[kind]
        folders = stars(pattern) - 1
        if stem.count("/") < folders:
            problem = f"no {kind} with the stem {stem!r} matches {pattern}"
            return problem, f"Write what each of the {folders + 1} * stands for, joined by a slash."
        around = pattern.split("*", folders + 1)
        filled = "".join(f"{text}{star}" for text, star in zip(around, stem.split("/", folders), strict=False))
        problem = f"no {kind} {filled}{around[-1]}"
        if near := self._spelling[kind].get(name_key(stem)):
            return f"{problem}, but one with {near!a}", "Give both the same case and Unicode form."
        if _is_path(stem) and not folders:
            return problem, "Write the stem alone, without folder and extension."
        return problem, f"Add it, or take {stem!r} out."


def _no_folder(root: Path, text: str) -> Iterator[PipelineError]:
    place = root / PurePosixPath(f"{text.partition('*')[0]}*").parent
    if not place.is_dir():
        yield DataError(place, "no such folder", f"Put the files of {text} there, or fix the pattern.")
    elif outside := leads_out(root, place):
        yield DataError(place, outside, "Put the files themselves below data.input.")


def _expression(name: str) -> re.Pattern[str]:
    """What file names match a pattern's last part."""
    parts = _parts(name)
    extension = _EXTENSION if parts["extension"] == "*" else re.escape(parts["extension"])
    return re.compile(rf"{re.escape(parts['before'])}(.+){re.escape(parts['after'])}\.(?i:{extension})", re.DOTALL)


def _without(files: Files, claimed: Files) -> Files:
    taken = {path for paths in claimed.values() for path in paths}
    rest = {stem: [path for path in paths if path not in taken] for stem, paths in files.items()}
    return {stem: paths for stem, paths in rest.items() if paths}


def _parts(name: str) -> dict[str, str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"not a pattern: {name!r}")
    return match.groupdict()


def _specific(text: str) -> tuple[int, bool]:
    parts = _parts(PurePosixPath(text).name)
    return len(parts["before"]) + len(parts["after"]), parts["extension"] != "*"


def _is_path(stem: str) -> bool:
    return "/" in stem or stem.lower().endswith(SUFFIXES)


def leads_out(root: Path, path: Path) -> str | None:
    """What is wrong with a path that a link takes out of `root`; None if it stays inside."""
    return None if path.resolve().is_relative_to(root.resolve()) else f"a link that leads out of {root}"


def unusable(root: Path, path: Path) -> str | None:
    """What is wrong with a file below `root`, such as a link that leads out; None if it can be used."""
    if not path.name.isprintable():
        return f"a name with unprintable characters: {path.name!a}"
    if outside := leads_out(root, path):
        return outside
    return None if path.is_file() else "a folder, pipe, device or broken link, expected a file"


def stems(root: Path, name: str, taken: dict[str, str], problems: list[PipelineError]) -> dict[str, str]:
    """The stems of a list, one per line, each with its place. Adds them to `taken`, and problems to `problems`."""
    places: dict[str, str] = {}
    for number, line in enumerate(_lines(root, name, problems), start=1):
        stem, place = line.strip(), f"{root / name}: line {number}"
        if stem in taken:
            problems.append(
                DataError(place, f"duplicate stem {stem!r}, already in {taken[stem]}", "Remove one of the lines.")
            )
        elif stem:
            taken[stem] = places[stem] = place
    return places


def _lines(root: Path, name: str, problems: list[PipelineError]) -> list[str]:
    path = root / name
    try:
        if outside := leads_out(root, path):
            problems.append(DataError(path, outside, "Put the list itself below data.input."))
            return []
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        problems.append(DataError(path, "no such list", "Write one, with one stem per line, or leave the split out."))
    except UnicodeDecodeError as error:
        problems.append(DataError(path, f"not UTF-8 at byte {error.start}", "Save it as UTF-8 text."))
    else:
        if not any(map(str.strip, lines)):
            problems.append(DataError(path, "an empty list", "Write one stem per line, or leave the split out."))
        return lines
    return []
