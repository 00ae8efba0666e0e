"""The layout of a folder of images and masks, recognised by names alone: patterns and splits that fit it."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segline.core.errors import DataError, PipelineError
from segline.dataset.raw import SUFFIXES
from segline.sources.collecting import listing, splitting

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "photos")
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annot", "gt", "ground_truth", "groundtruth"),
    *("segmentationclass", "segmentationclasspng", "segmentation", "segmentations", "targets"),
)
CALLED = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SPLITS = tuple(spelt(name) for name in CALLED for spelt in (str, str.capitalize, str.upper))
FEW = 100  # images: below, val and test get more of them, and cross-validation is advised
DRAWN = {"val_from_train": 0.2, "seed": 1}
LISTS = ("", "lists/", "splits/", "ImageSets/Segmentation/", "ImageSets/")
ENDINGS = (
    "_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_annotation", "_L", "-mask", "-label",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """The layout in the terms of data.folder."""

    images: str
    masks: str
    form: splitting.Form
    objects: str | None = None


def recognise(root: Path) -> list[tuple[Layout, int]]:
    """The layouts that have pairs, with their number, best first: by pairs, then in the order of MASKS and IMAGES."""
    counted = [(layout, _count(root, layout)) for layout in _candidates(root)]
    return sorted(
        ((layout, count) for layout, count in counted if count),
        key=lambda each: (-each[1], _rank(each[0].masks, MASKS), _rank(each[0].images, IMAGES)),
    )


def _rank(pattern: str, names: Sequence[str]) -> int:
    """The place of a pattern's folder in `names`."""
    folders = [part.replace(splitting.SPLIT, "").lower().strip("_- ") for part in PurePosixPath(pattern).parts[:-1]]
    return min((names.index(folder) for folder in folders if folder in names), default=len(names))


def rivals(layouts: Sequence[tuple[Layout, int]]) -> Iterator[str]:
    """Says which other folders than those of the first layout have images or masks that fit."""
    (chosen, most), *others = layouts
    order = f"its name comes first in {', '.join(MASKS[:8])}, ..."
    counts = {(layout.images, layout.masks): count for layout, count in others}
    counts.pop((chosen.images, chosen.masks), None)
    for (images, masks), count in counts.items():
        what = masks if images == chosen.images else f"{images} with {masks}"
        taken = chosen.masks if images == chosen.images else f"{chosen.images} with {chosen.masks}"
        why = "it has more pairs" if count < most else order
        yield f"two folders fit: {taken} ({most} pairs) is taken because {why}; {what} ({count} pairs) is not"


def links_out(root: Path) -> Iterator[PipelineError]:
    """The links below `root` that lead out of it: DVC does not see changes of what they lead to."""
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(parent, name) for name in [*folders, *sorted(names)]):
            if path.is_symlink() and (outside := listing.leads_out(root, path)):
                yield DataError(path, outside, "Put the files themselves below data.input.")


def _count(root: Path, layout: Layout) -> int:
    problems: list[PipelineError] = []
    pairs = splitting.usable(root, layout.images, layout.masks, layout.form, "", problems=problems)
    return sum(map(len, pairs.values()))


def _candidates(root: Path) -> Iterator[Layout]:
    for image_folder, mask_folder, splits in _places(root):
        filled = splits or [""]
        images, masks = (
            {name for split in filled for name in _names(root / folder.replace(splitting.SPLIT, split))}
            for folder in (image_folder, mask_folder)
        )
        names = _in_one_folder(images) if image_folder == mask_folder else _in_two_folders(images, masks)
        if names:
            image_pattern = str(PurePosixPath(image_folder, names[0]))
            mask_pattern = str(PurePosixPath(mask_folder, names[1]))
            yield Layout(image_pattern, mask_pattern, _form(root, image_pattern, mask_pattern, splits))


def _places(root: Path) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Folder of images, folder of masks (both with {split} if there are splits), and the splits."""
    folders = _folders(root)
    for images, masks in _both(folders):
        splits = _splits(set(_folders(root / images)) & set(_folders(root / masks)))
        if splits:
            yield f"{images}/{{split}}", f"{masks}/{{split}}", splits
        yield images, masks, []
    splits = _splits(folders)
    for images, masks in sorted({both for split in splits for both in _both(_folders(root / split))}):
        holding = [split for split in splits if {images, masks} <= set(_folders(root / split))]
        yield f"{{split}}/{images}", f"{{split}}/{masks}", holding
    ends = sorted(
        {name.removeprefix(split) for split in splits or SPLITS for name in folders if name.startswith(split)}
    )
    for images, masks in _both(ends, plain=""):
        holding = [split for split in SPLITS if {split + images, split + masks} <= set(folders)]
        if holding:
            yield f"{{split}}{images}", f"{{split}}{masks}", holding
    if splits:
        yield "{split}", "{split}", splits
    yield "", "", []


def _both(names: Iterable[str], plain: str | None = None) -> list[tuple[str, str]]:
    """Each name for images with each name for masks. `plain` counts as a name for images."""
    meanings = {name: name.lower().strip("_- ") for name in names}
    images = [name for name, meaning in meanings.items() if meaning in IMAGES or name == plain]
    return [(image, name) for image in images for name, meaning in meanings.items() if meaning in MASKS]


def _splits(folders: Collection[str]) -> list[str]:
    return [split for split in SPLITS if split in folders]


def _folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))


def _names(place: Path) -> list[str]:
    """The names of visible image files."""
    if not place.is_dir():
        return []
    paths = [path for path in place.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(path.name for path in paths if not path.name.startswith("."))


def _in_two_folders(images: Collection[str], masks: Collection[str]) -> tuple[str, str] | None:
    """Mask names may have an ending of their own: the most frequent one after the longest matching image stem."""
    stems = {Path(name).stem for name in images}
    endings: Counter[str] = Counter()
    for stem in (Path(name).stem for name in masks):
        known = next((stem[:end] for end in range(len(stem), 0, -1) if stem[:end] in stems), None)
        if known is not None:
            endings[stem.removeprefix(known)] += 1
    if not endings:
        return None
    ((ending, _),) = endings.most_common(1)
    return f"*{_extension(images)}", f"*{ending}{_extension(masks)}"


def _in_one_folder(names: Collection[str]) -> tuple[str, str] | None:
    stems = Counter(Path(name).stem for name in names)
    for ending in ENDINGS:
        masks = {
            name for name in names if Path(name).stem.endswith(ending) and Path(name).stem[: -len(ending)] in stems
        }
        if masks:
            return f"*{_extension(set(names) - masks)}", f"*{ending}{_extension(masks)}"
    if any(count > 1 for count in stems.values()):  # photographs are JPEG, masks PNG
        photographs = {name for name in names if not name.lower().endswith(".png")}
        return f"*{_extension(photographs)}", "*.png"
    return None


def _extension(names: Iterable[str]) -> str:
    known = {Path(name).suffix.lower() for name in names}
    return known.pop() if len(known) == 1 else ".*"


def _form(root: Path, images: str, masks: str, splits: Sequence[str]) -> splitting.Form:
    if splits:
        return _named(splits, by="folder")
    there = _stems(root, images, masks)
    for folder in LISTS:
        named = [split for split in _lists(root / folder) if _most(*_listed(root, f"{folder}{split}.txt", there))]
        if len(named) > 1:
            return _named(named, by="lists", file=f"{folder}{splitting.SPLIT}.txt")
    return splitting.ByRatio(by="ratio", shares=shares(len(there)), seed=1)


def _named(there: Sequence[str], **form: str) -> splitting.Form:
    """The form with the usual names for the splits that are there; val is drawn from train if it has no place."""
    names: dict[str, str] = {}
    for text in there:
        usual = CALLED[text.lower()]
        names[text if usual in names else usual] = text
    drawn = DRAWN if "train" in names and "val" not in names else {}
    as_they_are = all(name == text for name, text in names.items())
    return splitting.FORM.validate_python({**form, "names": list(names) if as_they_are else names, **drawn})


def _stems(root: Path, images: str, masks: str) -> set[str]:
    """The stems with an image and a mask."""
    files = listing.Matches(root, images, masks, []).files
    return files["image"].keys() & files["mask"].keys()


def _lists(folder: Path) -> list[str]:
    """The splits that have a list in the folder, in the spelling of its name."""
    names = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    return [split for split in SPLITS if f"{split}.txt" in names]


def _listed(root: Path, name: str, there: Collection[str]) -> tuple[int, int]:
    """How many stems of a list have an image and a mask, and how many it has."""
    stems = listing.stems(root, name, {}, [])
    return sum(stem in there for stem in stems), len(stems)


def _most(known: int, count: int) -> bool:
    return 2 * known > count


def places(root: Path, layout: Layout) -> list[Path]:
    """`root`, and the folders of the images and masks."""
    texts = [""] if layout.form.by != "folder" else splitting.folders(layout.form).values()
    parents = [PurePosixPath(pattern).parent for pattern in (layout.images, layout.masks)]
    inside = [root / str(parent).replace(splitting.SPLIT, text) for parent in parents for text in texts]
    above = [root / text for text in texts]
    return list(dict.fromkeys([root, *inside, *above]))


def unused(root: Path, layout: Layout) -> Iterator[PipelineError]:
    """The lists of splits in `root` that the layout does not use, each with the reason."""
    form = layout.form
    used = (
        {form.file.replace(splitting.SPLIT, split) for split in splitting.folders(form).values()}
        if form.by == "lists"
        else set()
    )
    there = set() if form.by == "folder" else _stems(root, layout.images, layout.masks)
    for name in (f"{folder}{split}.txt" for folder in LISTS for split in _lists(root / folder)):
        if name in used:
            continue
        known, count = _listed(root, name, there)
        if form.by == "folder":
            yield DataError(root / name, "unused list: the splits are folders", "Remove it, or the folders.")
        elif _most(known, count):
            other = "other lists are" if used else "lists of two splits are needed, such as train and val"
            yield DataError(root / name, f"unused list: {other}", "Keep one list per split, in one folder.")
        else:
            problem = f"unused list: {known} of its {count} lines are the stem of an image with a mask"
            remedy = "Write one stem per line, without folder and extension, as UTF-8 text, and inspect again."
            yield DataError(root / name, problem, remedy)


def one_sided(root: Path, layout: Layout) -> Iterator[PipelineError]:
    """The folders of splits that have only images or only masks."""
    if layout.form.by != "folder":
        return
    sides = [PurePosixPath(pattern).parent for pattern in (layout.images, layout.masks)]
    seen: set[int] = set()  # some file systems find a folder in any case
    for split in SPLITS:
        there, other = sorted((root / str(side).replace(splitting.SPLIT, split) for side in sides), key=Path.is_dir)[
            ::-1
        ]
        if there.is_dir() and not other.is_dir() and (number := there.stat().st_ino) not in seen:
            seen.add(number)
            yield DataError(there, f"left out: there is no folder {other} for it", "Add that one, or remove this one.")


def not_splits(root: Path, layout: Layout) -> Iterator[PipelineError]:
    """The folders with pairs in the place of a split, whose names are not those of splits."""
    if layout.form.by != "folder":
        return
    used = set(splitting.folders(layout.form).values())
    before, after = str(PurePosixPath(layout.images).parent).split(splitting.SPLIT)
    for place in sorted(root.glob(f"{before}*{after}")):
        name = place.relative_to(root).as_posix().removeprefix(before).removesuffix(after)
        if name in used or name in SPLITS or name.startswith(".") or not place.is_dir():
            continue
        form = splitting.ByFolder.model_construct(by="folder", names={"other": name})
        if pairs := _count(root, Layout(layout.images, layout.masks, form)):
            problem = f"{pairs} pairs left out: {name!r} is not a name of a split"
            yield DataError(place, problem, f"Rename it, or map a split to it, such as names: {{val: {name}}}.")


def shares(count: int) -> dict[str, float]:
    """Shares that leave no split empty if there are at least three pairs.

    With few images those of `segline crossvalidate --folds 5`: a tenth would be under ten images, which decide nothing.
    """
    train, other = (0.8, 0.1) if count >= FEW else (0.6, 0.2) if count >= 5 else (0.34, 0.33)
    return {"train": train, "val": other, "test": other}
