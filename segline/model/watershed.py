"""Where an image is probably inside of objects -> its numbered objects, by a watershed. H x W pixels.

Where the probability of "inside" of a class reaches `seed`, pixels that share an edge are the seed of an object. From
the seeds the objects grow over the pixels of the class, the most probable inside first, edge by edge, until they meet.
Pixels of the class that no seed reaches are no object. The image is whole by then, so the edges of tiles part none.
Source: Meyer 1991, in the form of scikit-image; the seeds as in Ronneberger et al. 2015 and Caicedo et al. 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline.core import params
from segline.core.errors import DataError

MAX_NUMBER = 65_535  # the largest in a 16-bit PNG
MAX_PIXELS = 1 << 26  # of an image, which is then in memory at once
ONE = 65_535  # probability 1

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]
Int32 = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


class Section(params.Section):
    """The fewest pixels of an object, at the image's own size, and the probability from which on a pixel is a seed."""

    smallest: int = Field(ge=1, le=MAX_PIXELS)
    seed: float = Field(gt=0, lt=1)


@dataclass(frozen=True)
class Found:
    """The objects of the classes `searched`: numbers uint16 (H, W), 0 = no object, from 1 without gaps, those of one
    class after those of the one before.

    `classes` int64 (N,) and `scores` float64 (N,) are those of object 1, 2, ...; its score is the mean probability of
    "inside" over its pixels, 0..1.
    """

    searched: tuple[int, ...]
    numbers: Uint16
    classes: npt.NDArray[np.int64]
    scores: Floats


def require_size(where: Path, height: int, width: int, purpose: str, remedy: str) -> None:
    """Raises DataError that names `where` for an image too large to find objects in, as `purpose` asks."""
    if height * width > MAX_PIXELS:
        problem = f"{width}x{height} pixels, expected at most {MAX_PIXELS} in all for {purpose}"
        raise DataError(where, problem, remedy)


def find(labels: Uint8, inside: Uint16, classes: Sequence[int], rule: Section, where: Path) -> Found:
    """The objects of `classes` in an image whose classes are `labels`, (H, W), one of K each, or void.

    `inside` is (n, H, W), see `segline.model.objects.insides`. A seed whose object would have fewer pixels than
    `smallest` gives way: its pixels go to its neighbours, or are no object without one.
    Raises DataError that names `where` above 65,535 objects.
    """
    numbers = np.zeros(labels.shape, np.uint16)
    found: list[tuple[int, Floats]] = []
    count = 0
    for k, probability in zip(classes, inside, strict=True):
        of_class, number = _of_class(labels == k, probability, rule)
        if count + number > MAX_NUMBER:
            problem = f"more than {MAX_NUMBER} objects, the most that a 16-bit PNG can number"
            raise DataError(where, problem, "Raise the fewest pixels of an object.")
        there = of_class > 0
        numbers[there] = of_class[there] + count
        sums = np.bincount(of_class.ravel(), probability.ravel(), minlength=number + 1)[1:]
        areas = np.bincount(of_class.ravel(), minlength=number + 1)[1:]
        found.append((k, sums / np.maximum(areas, 1) / ONE))
        count += number
    owners = [np.full(len(scores), k, np.int64) for k, scores in found]
    return Found(
        tuple(classes),
        numbers,
        np.concatenate([np.empty(0, np.int64), *owners]),
        np.concatenate([np.empty(0), *(scores for _, scores in found)]),
    )


def _of_class(mask: npt.NDArray[np.bool_], inside: Uint16, rule: Section) -> tuple[Int32, int]:
    """The objects of one class within its pixels, numbered from 1 by their seeds from the top, and how many."""
    from scipy import ndimage  # noqa: PLC0415 - needed where there are objects

    seeds = ndimage.label(mask & (inside >= round(rule.seed * ONE)))[0].astype(np.int32)
    grown = _grown(seeds, inside, mask)
    areas = np.bincount(grown.ravel())
    kept = areas >= rule.smallest
    kept[0] = False
    if kept[1:].all():
        return grown, len(kept) - 1
    numbers = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    return _grown(numbers[grown], inside, mask), int(kept.sum())  # an object that is kept loses no pixel


def _grown(seeds: Int32, inside: Uint16, mask: npt.NDArray[np.bool_]) -> Int32:
    from skimage.segmentation import watershed  # noqa: PLC0415 - half a second

    heights = ONE - inside.astype(np.int32)
    grown: Int32 = watershed(heights, seeds, mask=mask)  # type: ignore[no-untyped-call]  # it has none
    return grown
