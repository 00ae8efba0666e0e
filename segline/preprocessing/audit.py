"""Problems of a data set beyond single pairs: names, duplicates, leaks between splits, files without a partner."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError, IntegrityError, PipelineError
from segline.dataset.preparation import Preparation
from segline.dataset.raw import DATASET_FILE, Dataset, Pair, name_key
from segline.preprocessing import intensity, pair_files, working_image
from segline.preprocessing.pair_files import Page


def problems(raw: Path, data: Dataset) -> list[PipelineError]:
    """Empty splits, images in two splits, files that are not listed, missing object numbers: one error each."""
    index = raw / DATASET_FILE
    if not data.splits:
        return [DataError(index, "no split, expected at least train", "Correct the lists of the source.")]
    for split in data.splits:
        if split in ("", ".", "..") or set(split) & set("/\\\0"):
            raise IntegrityError(index, f"split {split!r} is not a folder name", "Rename it in the source.")
    in_splits = [problem for split, listed in data.splits.items() for problem in _in_split(raw / split, listed)]
    return [*in_splits, *leaks(_by_checksum(raw, data), "the same image")]


def unusable_stems(folder: Path, pages: Sequence[Page]) -> Iterator[PipelineError]:
    """One error for each stem that occurs twice in the split in `folder`, or cannot be printed."""
    stems = Counter(name_key(page.stem) for page in pages)
    for page in pages:
        where = folder / page.pair.image
        if stems[name_key(page.stem)] > 1:
            problem = f"duplicate stem {page.stem!r} (ignoring case and Unicode form)"
            yield DataError(where, problem, "Rename one of them, image and mask alike.")
        if not page.stem.isprintable():
            problem = f"stem {page.stem!r} contains a line break or another character that cannot be printed"
            yield DataError(where, problem, "Rename image and mask.")


def _in_split(folder: Path, pairs: Sequence[Pair]) -> Iterator[PipelineError]:
    if not pairs:
        yield DataError(folder, "empty split, expected at least one pair", "Add pairs, or leave the split out.")
    objects = {str(folder / pair.objects) for pair in pairs if pair.objects is not None}
    known = objects | {str(folder / name) for pair in pairs for name in (pair.image, pair.mask)}
    present = {f"{parent}/{name}" for parent, _, names in os.walk(folder) for name in names}
    for path in sorted(objects - present):  # nothing here opens them
        yield DataError(path, "missing", "Put it back, or run the download stage again.")
    unknown = sorted(present - known)
    alike = {name_key(path): path for path in known} if unknown else {}
    for path in unknown:
        near = alike.get(name_key(path))
        case = f"; {near} is, a name that differs only in case or Unicode form" if near else ""
        yield DataError(path, f"not listed in {DATASET_FILE}{case}", "Add its partner and run download, or remove it.")


def _by_checksum(raw: Path, data: Dataset) -> Iterable[Sequence[tuple[str, Path]]]:
    places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for split, listed in data.splits.items():
        for pair in listed:
            places[pair.sha256_image].append((split, raw / split / pair.image))
    return places.values()


def leaks(equal: Iterable[Sequence[tuple[str, Path]]], what: str) -> Iterator[PipelineError]:
    """One error for each group of equal images, given as (split, path), that is spread over several splits."""
    for same in equal:
        if len({split for split, _ in same}) > 1:
            others = ", ".join(str(path) for _, path in same[1:])
            yield DataError(same[0][1], f"{what} is in another split: {others}", "Keep one of them only.")


def equal_pictures(
    raw: Path, preparation: Preparation, candidates: Iterable[Sequence[tuple[str, Page]]]
) -> Iterator[PipelineError]:
    """One error for each picture that several splits contain in files that differ: saved again, or in another format.

    `candidates` are groups of (split, page) whose rows share a checksum, so the images may be equal. Decoding them
    again decides.
    """
    for places in candidates:
        files = {page.pair.sha256_image for _, page in places}
        if len({split for split, _ in places}) > 1 and len(files) > 1:
            yield from leaks(_equal(raw, preparation, places), "an image of the same pixels")


def _equal(
    raw: Path, preparation: Preparation, places: Sequence[tuple[str, Page]]
) -> Iterable[Sequence[tuple[str, Path]]]:
    same: dict[tuple[int, int, bytes], list[tuple[str, Path]]] = defaultdict(list)
    for split, page in places:
        with pair_files.opened_image(raw / split, page, preparation, verify=False) as image:
            digest = hashlib.sha256()
            for samples in working_image.image_pieces(image, preparation):
                digest.update(np.ascontiguousarray(intensity.to_bytes(samples, preparation)).data)
            same[image.height, image.width, digest.digest()].append((split, raw / split / page.pair.image))
    return same.values()


def shared_groups(data: Dataset) -> Iterator[str]:
    """One sentence for each split with images from groups (videos, scenes) that are also in train."""
    train = {pair.group for pair in data.splits.get("train", ()) if pair.group is not None}
    for split, listed in data.splits.items():
        shared = sum(pair.group in train for pair in listed)
        if split != "train" and shared:
            yield f"{split}: {shared} of {len(listed)} images share a group with train: its scores reward memorising"


def absent_classes(names: Sequence[str], present: Mapping[str, npt.NDArray[np.bool_]]) -> Iterator[str]:
    """One sentence for each split in which classes have no pixel; `present` is bool (K,) by split."""
    for split, in_split in present.items():
        if absent := [name for name, there in zip(names, in_split, strict=True) if not there]:
            effect = "not learned" if split == "train" else "not part of the scores"
            yield f"{split}: no pixel of {', '.join(absent)} at the working size: {effect}"
