"""The images of a data set, divided into folds: groups stay whole, classes are spread as far as groups allow.

N images, K classes, F folds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from segline.core import atomic
from segline.core.errors import DataError
from segline.dataset import onehot, processed, raw


@dataclass(frozen=True)
class Member:
    """An image: the split that it is in now, and its labelled pixels of each class, int64 (K,)."""

    split: str
    pair: raw.Pair
    pixels: npt.NDArray[np.int64]

    @property
    def group(self) -> str:
        """What must not be divided: its group, or the image itself."""
        return f"group {self.pair.group}" if self.pair.group is not None else f"image {self.split}/{self.pair.stem}"


def members(dataset: raw.Dataset, folder: Path) -> list[Member]:
    """All images of all splits, with the pixels of their rows in the processed splits below `folder`.

    Raises DataError if these are missing, or of other images.
    """
    found = []
    for name, pairs in sorted(dataset.splits.items()):
        split = processed.read(folder / name)
        pixels = np.zeros((len(split.index.origins), len(split.index.classes)), np.int64)
        for row, packed in zip(split.index.rows, split.onehot, strict=True):
            labels = onehot.unpack(packed, pixels.shape[1])
            pixels[row.origin] += np.bincount(labels[labels != onehot.VOID], minlength=pixels.shape[1])
        by_hash: dict[str, npt.NDArray[np.int64]] = {}
        for origin, own in zip(split.index.origins, pixels, strict=True):  # pages of a file count together
            by_hash[origin.sha256_image] = by_hash.get(origin.sha256_image, 0) + own
        for pair in pairs:
            if pair.sha256_image not in by_hash:
                raise DataError(folder / name, f"has no row of {pair.stem}", "Run `make repro`.")
            found.append(Member(name, pair, by_hash[pair.sha256_image]))
    return found


def divide(images: Sequence[Member], count: int) -> list[int]:
    """The fold of each image, 0..F - 1; none is empty. Raises DataError if there are fewer groups than folds.

    The groups that have most of a class or of the images come first. Each goes to the fold that has least of what it
    has: that keeps the sum of the squares of all shares lowest at each step, as scikit-learn's StratifiedGroupKFold
    does for one label an image.
    """
    whole = _whole(images)
    groups = sorted(set(whole))
    if len(groups) < count:
        problem = f"{len(groups)} groups of images, expected at least one for each of {count} folds"
        raise DataError("--folds", problem, "Ask for fewer folds.")
    number = {group: place for place, group in enumerate(groups)}
    owners = [number[group] for group in whole]
    shares = np.zeros((len(groups), 1 + len(images[0].pixels)))
    np.add.at(shares, owners, np.stack([np.concatenate([[1], image.pixels]) for image in images]))
    shares /= np.maximum(shares.sum(axis=0), 1)
    totals = np.zeros((count, shares.shape[1]))
    fold_of = np.zeros(len(groups), np.int64)
    for group in np.argsort(-shares.max(axis=1), kind="stable"):
        alike = totals @ shares[group]
        fold_of[group] = fold = int(np.lexsort([totals[:, 0], alike])[0])
        totals[fold] += shares[group]
    return [int(fold_of[owner]) for owner in owners]


def _whole(images: Sequence[Member]) -> list[str]:
    """The name of what each image must stay with: its group, and all images whose files are equal to one of it.

    In two folds these would be a leak, which `preprocess` refuses.
    """
    number: dict[str, int] = {}
    ends = [[number.setdefault(key, len(number)) for key in (each.group, each.pair.sha256_image)] for each in images]
    links = sparse.coo_array((np.ones(len(ends)), tuple(np.transpose(ends))), shape=(len(number), len(number)))
    _, part = sparse.csgraph.connected_components(links, directed=False)
    name: dict[int, str] = {}
    for each, (group, _) in zip(images, ends, strict=True):
        name[part[group]] = min(each.group, name.get(part[group], each.group))
    return [name[part[group]] for group, _ in ends]


def stems_are_unique(stems: Iterable[str]) -> bool:
    """Whether images of all splits can be told apart by their stems. If not, they are named <split>/<stem>."""
    keys = [raw.name_key(stem) for stem in stems]
    return len(set(keys)) == len(keys)


def arrange(folder: Path, dataset: raw.Dataset, images: Sequence[Member], splits: Sequence[str]) -> raw.Dataset:
    """Moves the files of the raw data set in `folder` to new splits, `splits[i]` for image i; returns the new set."""
    are_unique = stems_are_unique(image.pair.stem for image in images)
    old = folder / ".old"
    old.mkdir()
    for name in dataset.splits:
        (folder / name).rename(old / name)
    pairs: dict[str, list[raw.Pair]] = {name: [] for name in sorted(set(splits))}
    for image, split in zip(images, splits, strict=True):
        pair = image.pair
        for path in filter(None, (pair.image, pair.mask, pair.objects)):
            target = folder / split / image.split / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                (old / image.split / path).rename(target)
        pairs[split].append(
            replace(
                pair,
                stem=pair.stem if are_unique else f"{image.split}/{pair.stem}",
                image=f"{image.split}/{pair.image}",
                mask=f"{image.split}/{pair.mask}",
                objects=None if pair.objects is None else f"{image.split}/{pair.objects}",
            )
        )
    atomic.remove(old)
    sorted_pairs = {name: sorted(each, key=lambda pair: pair.stem) for name, each in pairs.items()}
    arranged = replace(dataset, splits=sorted_pairs)
    raw.write(folder, arranged)
    return arranged
