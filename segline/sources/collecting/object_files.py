"""Images with one mask file for each object, as in the Data Science Bowl of 2018 -> masks and object numbers.

    <image>/images/<image>.png    images: "*/images/*.png"
    <image>/masks/<object>.png    masks: "*/masks/*.png"

The last `*` of the masks says which object it is; what the others stand for is that of the image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.dataset.raw import Pair
from segline.monitoring import console
from segline.preprocessing.image_files import masks as mask_files
from segline.preprocessing.image_files import reading
from segline.sources.collecting import drawn, listing
from segline.sources.collecting.listing import Entry

EACH = "one_file_each"
MOST = (1 << 16) - 1  # objects of an image

Numbers = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class _Objects:
    """`mask` is 1 where an object is, else 0; `objects` the number of the one on top: both (H, W)."""

    objects: Numbers

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        return (self.objects > 0).astype(np.uint8)


def pattern(masks: str, images: str) -> str:
    """`masks`, if its `*` can be those of an image and of an object. Raises ValueError."""
    stars, own = listing.stars(images), listing.stars(masks)
    if own < 2 or own not in (stars, stars + 1):
        counts = " or ".join(str(count) for count in (stars, stars + 1) if count > 1)
        raise ValueError(f"expected {counts} * before the extension, the last for the object, with {EACH}")
    if "{" in masks.rpartition("/")[2]:
        raise ValueError(f"expected {{split}} in the name of a folder, with {EACH}")
    return masks


def draw(root: Path, listed: Mapping[str, Sequence[Entry]], threshold: int, folder: Path) -> dict[str, list[Pair]]:
    """The pairs below `root`, written as `drawn.write` does; values above the `threshold` are an object's pixels.

    The objects of an entry are numbered in their order. Where two overlap, the later one is on top. Raises DataError
    for files that differ in size.
    """
    shared, empty = dict[Path, int](), list[Path]()

    def numbered(entry: Entry) -> _Objects:
        files = entry.objects
        if len(files) > MOST:
            problem = f"{len(files)} object files for one image, expected at most {MOST}"
            raise DataError(entry.mask.parent, problem, "Cut the image into parts.")
        numbers = np.zeros((0, 0), np.uint16)
        for number, path in enumerate(files, start=1):
            if unusable := listing.unusable(root, path):
                raise DataError(path, unusable, "Replace it with a plain file with a plain name.")
            inside = mask_files.decode(reading.read(path), path, "index", threshold) > 0
            if number == 1:
                numbers = np.zeros(inside.shape, np.uint16)
            if inside.shape != numbers.shape:
                sizes = [f"{width}x{height}" for height, width in (inside.shape, numbers.shape)]
                problem = f"{sizes[0]} pixels, expected {sizes[1]} as {files[0].name}"
                raise DataError(path, problem, "Export all objects of an image at its size.")
            if overlap := int(np.count_nonzero(numbers[inside])):
                shared[entry.image] = shared.get(entry.image, 0) + overlap
            if not inside.any():
                empty.append(path)
            numbers[inside] = number
        return _Objects(numbers)

    pairs = drawn.write(listed, numbered, folder)
    if shared:
        images = f"{len(shared)} image{'s' * (len(shared) != 1)}"
        total, first = sum(shared.values()), next(iter(shared))
        console.warn(f"{images}: pixels in several object files go to the last ({total} in all), such as in {first}")
    if empty:
        console.warn(f"{len(empty)} object file{'s' * (len(empty) != 1)} without a pixel, such as {empty[0]}")
    return pairs
