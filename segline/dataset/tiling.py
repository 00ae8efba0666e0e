"""Where the rows of an image lie: one for the whole image, or tiles that overlap.

An image is first brought to its working size, then cut into windows of the size of a row. What sticks out of the
working image is padding: its edge repeated, void in the mask.

    stretch   the working size is that of a row, whatever the aspect ratio
    pad       the largest size of the same aspect ratio that fits into a row, at the top left of it
    tile      the image at `scale`, rounded so that 32 working pixels show a whole number of the image's own

Tiles start at multiples of 32, the largest stride of our networks, so each sees a pixel as the whole image would. The
last tile of a line is moved inward, but for the 31 pixels at most that this leaves over; those are padding.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from itertools import pairwise

from segline.dataset.preparation import Preparation

UNIT = 32

Size = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # top, bottom, left, right; the ends exclusive


@dataclass(frozen=True)
class Grid:
    """The windows of one image: those of every top with every left, line by line. All but `own` in working pixels.

    `step` is how many of the image's own pixels, down and across, one working pixel stands for. `is_cut` with `tile`.
    """

    own: Size
    working: Size
    row: Size
    step: tuple[Fraction, Fraction]
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    is_cut: bool

    @property
    def count(self) -> int:
        """The number of windows."""
        return len(self.tops) * len(self.lefts)

    @property
    def windows(self) -> Iterator[tuple[int, int]]:
        """Top and left of each window, in the order of the rows."""
        return ((top, left) for top in self.tops for left in self.lefts)

    def owned(self, top: int, left: int) -> Box:
        """The part of a window, counted from its own corner, to whose centre no other window's is nearer.

        The owned parts of all windows cover the working image, each pixel once.
        """
        first, last = self._down[top]
        start, end = self._across[left]
        return first - top, last - top, start - left, end - left

    @cached_property
    def _down(self) -> dict[int, tuple[int, int]]:
        return _owners(self.tops, self.row[0], self.working[0])

    @cached_property
    def _across(self) -> dict[int, tuple[int, int]]:
        return _owners(self.lefts, self.row[1], self.working[1])


@lru_cache(1024)  # the images of a data set have few sizes
def grid(preparation: Preparation, height: int, width: int) -> Grid:
    """The windows of an upright image of this size."""
    row, own = (preparation.height, preparation.width), (height, width)
    if preparation.fit == "tile":
        step = own_pixels(preparation)
        tops, lefts = ((*starts, last) for starts, last in _starts(preparation, own))
        return Grid(own, _cut_size(preparation, own), row, (step, step), tops, lefts, is_cut=True)
    working = row if preparation.fit == "stretch" else _inside(row, own)
    steps = Fraction(height, working[0]), Fraction(width, working[1])
    return Grid(own, working, row, steps, (0,), (0,), is_cut=False)


@lru_cache(1024)
def count(preparation: Preparation, height: int, width: int) -> int:
    """The number of windows of an upright image of this size, without the memory of a grid."""
    if preparation.fit != "tile":
        return 1
    return math.prod(len(starts) + 1 for starts, _ in _starts(preparation, (height, width)))


def _cut_size(preparation: Preparation, own: Size) -> Size:
    """The working size of an image that is cut into tiles."""
    step = own_pixels(preparation)
    return math.ceil(own[0] / step), math.ceil(own[1] / step)


def _inside(row: Size, own: Size) -> Size:
    """The largest size with the aspect ratio of `own` that fits into `row`, rounded to whole pixels."""
    factor = min(Fraction(row[0], own[0]), Fraction(row[1], own[1]))
    return max(1, round(own[0] * factor)), max(1, round(own[1] * factor))


def own_pixels(preparation: Preparation) -> Fraction:
    """How many own pixels of an image, down and across, a working pixel of a tile stands for: 1 / scale, rounded."""
    return Fraction(round(UNIT / preparation.scale), UNIT)


def shared(preparation: Preparation) -> Size:
    """How many lines and columns neighbouring tiles share, at least: `overlap` in whole units, all but one at most."""
    down, across = (
        min(UNIT * math.ceil(round(preparation.overlap * side / UNIT, 6)), side - UNIT)
        for side in (preparation.height, preparation.width)
    )
    return down, across


def _starts(preparation: Preparation, own: Size) -> Iterator[tuple[range, int]]:
    """Where tiles start, down and across: all but the last, and the last."""
    row = preparation.height, preparation.width
    for length, side, common in zip(_cut_size(preparation, own), row, shared(preparation), strict=True):
        last = UNIT * max(0, math.ceil((length - side) / UNIT))
        yield range(0, last, side - common), last


def _owners(starts: tuple[int, ...], side: int, length: int) -> dict[int, tuple[int, int]]:
    """The pixels of each window along one side that it owns: start -> (first, end), in working pixels."""
    between = [(start + after + side) // 2 for start, after in pairwise(starts)]
    return dict(zip(starts, zip([0, *between], [*between, length], strict=True), strict=True))
