"""Where the files of an export lie: its annotations, by split or not, and the images that they name."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from segline.commands.inspect_layouts import CALLED, DRAWN, shares
from segline.dataset.raw import SUFFIXES
from segline.sources.collecting import listing, splitting

IMAGES = ("images", "image", "JPEGImages", "imgs", "data", "upload", ".")  # folders that tools put images in
_DEEP = 3  # folders, the top one among them, in which annotations are looked for
_SPLIT = re.compile(rf"(?<![a-z])({'|'.join(CALLED)})\d*(?![a-z0-9])", re.IGNORECASE)
_SAMPLE = 1000  # images that are looked for in each folder, at most

Named = Sequence[tuple[str, str]]  # what {split} stands for, and the path of an image below the folder of images


@dataclass(frozen=True)
class Place:
    """A path below the top folder. With {split} in it, `tokens` says what that stands for: "train2017" -> "train"."""

    template: str
    tokens: Mapping[str, str] = field(default_factory=dict)

    def paths(self, root: Path) -> Iterator[tuple[str, Path]]:
        """What {split} stands for, or nothing, and the path."""
        for token in self.tokens or [""]:
            yield token, root / self.template.replace(splitting.SPLIT, token)

    def form(self, count: int) -> splitting.Form:
        """The form of `split` for this many images."""
        return named_splits(self.tokens, by="folder") or splitting.ByRatio(by="ratio", shares=shares(count), seed=1)


def named_splits(tokens: Mapping[str, str], **form: str) -> splitting.Form | None:
    """The form for what {split} stands for, with val from train if it is not there; None without train."""
    called = {CALLED[word.lower()]: text for text, word in tokens.items()}
    if "train" not in called:
        return None
    names = {name: called[name] for name in ("train", "val", "test") if name in called}
    drawn = DRAWN if "val" not in names else {}
    as_they_are = all(name == text for name, text in names.items())
    return splitting.FORM.validate_python({**form, "names": list(names) if as_they_are else names, **drawn})


def files(root: Path) -> list[Path]:
    """The visible files in the folder and in those below it, the highest first; none that leads out of it."""
    found = []
    for parent, folders, names in os.walk(root):
        level = len(Path(parent).relative_to(root).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if level + 1 < _DEEP else []
        found += [(level, Path(parent, name)) for name in sorted(names) if not name.startswith(".")]
    ordered = [path for _, path in sorted(found, key=lambda each: each[0])]
    return [path for path in ordered if path.is_file() and not (path.is_symlink() and listing.leads_out(root, path))]


def below(root: Path, path: Path) -> str:
    """The path below `root`, POSIX style; empty for `root` itself."""
    text = path.relative_to(root).as_posix()
    return "" if text == "." else text


def place(root: Path, paths: Sequence[Path]) -> Place:
    """Where annotations are: most of them by split, with a split train, or the first path as it is.

    So `annotations/instances_train2017.json` and `..._val2017.json` are `annotations/instances_{split}.json`.
    """
    texts = [below(root, path) for path in paths]
    templates: dict[str, dict[str, str]] = defaultdict(dict)
    for text in texts:
        if match := _SPLIT.search(text):
            rest = text[match.start() :].replace(match[0], splitting.SPLIT)
            templates[f"{text[: match.start()]}{rest}"][match[0]] = match[1]
    usable = [
        (len(tokens), template)
        for template, tokens in templates.items()
        if named_splits(tokens, by="folder") is not None
    ]
    if not usable:
        return Place(texts[0])
    _, template = max(usable)
    return Place(template, templates[template])


def folder_of(root: Path, annotations: Place, names: Named) -> str:
    """The folder, with {split} if it is there by split, below which most of the named images are."""
    parent = PurePosixPath(annotations.template).parent
    tops = dict.fromkeys((parent, parent.parent, PurePosixPath()))
    tails = [PurePosixPath(name) for name in IMAGES]
    if annotations.tokens:
        tails += [each for tail in tails for each in (tail / splitting.SPLIT, PurePosixPath(splitting.SPLIT) / tail)]
    candidates = dict.fromkeys(str(top / tail) for top in tops for tail in tails)
    counts = {each: len(there(root, each, names[:_SAMPLE])) for each in candidates}
    best = max(counts, key=lambda each: counts[each])  # the first of equals
    return best if counts[best] else IMAGES[0]


def there(root: Path, folder: str, names: Named) -> list[Path]:
    """The named images that are below a folder."""
    paths = (root / folder.replace(splitting.SPLIT, token) / name for token, name in names if _is_plain(name))
    return [path for path in paths if path.is_file()]


def _is_plain(name: str) -> bool:
    with suppress(ValueError):
        return listing.relative(name).lower().endswith(SUFFIXES)
    return False


def pictures(folders: Iterable[Path]) -> list[Path]:
    """The image files in these folders, at any depth."""
    return [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
