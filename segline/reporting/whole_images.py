"""An image of a split as people want to see it: whole, put together from its rows, and a close-up if it was cut.

At most one row is in memory, and what is shown.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segline.dataset import onehot, processed, tiling
from segline.dataset.objects import parents
from segline.reporting import drawing
from segline.reporting.drawing import Uint8

SIDE = 640  # of a whole image that was cut into tiles: what is longer is scaled down


@dataclass(frozen=True)
class View:
    """A picture uint8 (h, w, 3) and its classes uint8 (h, w), those of the truth with `onehot.VOID`.

    It begins at `top` and `left` of the working image, and each of its pixels stands for `step` x `step` of that.
    """

    image: Uint8
    truth: Uint8
    prediction: Uint8
    top: int
    left: int
    step: int

    @property
    def place(self) -> str:
        """Which working pixels it shows, in words."""
        bottom, right = (self.step * side - 1 for side in self.truth.shape)
        return f"x {self.left} to {self.left + right}, y {self.top} to {self.top + bottom}"


class Views(NamedTuple):
    """A whole image, and a close-up if it was cut into tiles."""

    whole: View
    closeup: View | None

    @property
    def outline(self) -> tuple[float, float, float, float] | None:
        """Where the close-up lies in the whole: its top, bottom, left and right as shares of the sides."""
        if self.closeup is None:
            return None
        (high, wide), (height, width) = self.closeup.truth.shape, self.whole.truth.shape
        down, across = height * self.whole.step, width * self.whole.step
        top, left = self.closeup.top, self.closeup.left
        return top / down, (top + high) / down, left / across, (left + wide) / across

    def panels(self, colours: Uint8) -> list[drawing.Panels]:
        """The four pictures of the whole, with an outline of the close-up; and the four of that."""
        four = [drawing.panels(view.image, view.truth, view.prediction, colours) for view in self if view]
        return four if self.outline is None else [drawing.outlined(four[0], self.outline), four[1]]


def views(split: processed.Split, predictions: Uint8, number: int) -> Views:
    """The image of this number, without padding. `predictions` are class indices uint8 (N, H, W).

    A whole that was cut into tiles and is longer than `SIDE` is scaled down, by a whole number. Its close-up is of the
    tile with the most wrong pixels: the part with the most of them, up to `drawing.PANEL_SIDE` long. An image that is
    no larger needs none.
    """
    grid, whole = split.index.grid(number), _whole(split, number)
    worst: tuple[int, View | None] = (-1, None)
    for row, (top, left) in enumerate(grid.windows, split.index.first_rows[number]):
        tile = _tile(split, predictions, row, grid, (top, left))
        whole.add(tile, grid.owned(top, left))
        wrong = int(_wrong(tile).sum())
        if wrong > worst[0]:
            worst = wrong, tile
    closer = split.index.preparation.fit == "tile" and max(grid.working) > drawing.PANEL_SIDE
    return Views(whole.view(), _closeup(worst[1]) if closer and worst[1] else None)


def lines(split: processed.Split, drawn: Uint8, number: int) -> Uint8:
    """The lines on the whole of this image, as `views` shows it. `drawn` is uint8 (N, H, W), 0 = none.

    Where it is scaled down a pixel has the highest value of those that it stands for, so that no line breaks.
    """
    grid, whole = split.index.grid(number), _whole(split, number)
    for row, (top, left) in enumerate(grid.windows, split.index.first_rows[number]):
        whole.draw(drawn[row], top, left, grid.owned(top, left))
    return whole.lines


def _whole(split: processed.Split, number: int) -> "_Whole":
    working = split.index.grid(number).working
    return _Whole(working, -(-max(working) // SIDE) if split.index.preparation.fit == "tile" else 1)


def _tile(split: processed.Split, predictions: Uint8, row: int, grid: tiling.Grid, place: tuple[int, int]) -> View:
    """A row without its padding."""
    inside = tuple(slice(length - start) for length, start in zip(grid.working, place, strict=True))
    learnt = onehot.unpack(split.onehot[row][inside], len(split.index.classes))
    counted = np.arange(onehot.VOID + 1, dtype=np.uint8)
    counted[: len(split.index.classes)] = parents(split.index.classes, split.index.objects)
    truth = counted[learnt]
    image = drawing.rgb(split.images[row][inside])
    return View(image, truth, predictions[row][inside], *place, step=1)


def _wrong(view: View) -> npt.NDArray[np.bool_]:
    wrong: npt.NDArray[np.bool_] = (view.truth != view.prediction) & (view.truth != onehot.VOID)
    return wrong


def _closeup(tile: View) -> View:
    height, width = (min(drawing.PANEL_SIDE, side) for side in tile.truth.shape)
    sums = cv2.integral(_wrong(tile).astype(np.uint8))
    counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    best = np.argwhere(counts == counts.max())  # of all these, the one in the middle
    top, left = best[np.abs(best - best.mean(axis=0)).sum(axis=1).argmin()].tolist()
    window = slice(top, top + height), slice(left, left + width)
    arrays = (tile.image[window], tile.truth[window], tile.prediction[window])
    return View(*arrays, top=tile.top + top, left=tile.left + left, step=1)


class _Whole:
    """The mean of each `step` x `step` pixels, the classes in the middle of them, and the lines through them."""

    def __init__(self, size: tiling.Size, step: int) -> None:
        self._step = step
        starts = [np.arange(0, side, step) for side in size]
        self._sides = [np.diff(start, append=side) for start, side in zip(starts, size, strict=True)]
        self._middles = [start + side // 2 for start, side in zip(starts, self._sides, strict=True)]
        shape = (len(starts[0]), len(starts[1]))
        self._sums = np.zeros((*shape, 3), np.int64)
        self._truth, self._prediction, self.lines = (np.zeros(shape, np.uint8) for _ in range(3))

    def add(self, tile: View, owned: tiling.Box) -> None:
        """Adds the part of a tile that it owns."""
        rows, columns = slice(*owned[:2]), slice(*owned[2:])
        vertical, horizontal = self._blocks(tile.top, rows), self._blocks(tile.left, columns)
        by_line = np.add.reduceat(tile.image[rows, columns], vertical[1], axis=0, dtype=np.int64)
        self._sums[vertical[0], horizontal[0]] += np.add.reduceat(by_line, horizontal[1], axis=1)
        lines, down = self._inside(0, tile.top, rows)
        places, across = self._inside(1, tile.left, columns)
        self._truth[lines, places] = tile.truth[np.ix_(down, across)]
        self._prediction[lines, places] = tile.prediction[np.ix_(down, across)]

    def draw(self, lines: Uint8, top: int, left: int, owned: tiling.Box) -> None:
        """Adds the part of a tile's lines that it owns."""
        rows, columns = slice(*owned[:2]), slice(*owned[2:])
        (down, lines_of), (across, columns_of) = self._blocks(top, rows), self._blocks(left, columns)
        highest = np.maximum.reduceat(np.maximum.reduceat(lines[rows, columns], lines_of, axis=0), columns_of, axis=1)
        self.lines[down, across] = np.maximum(self.lines[down, across], highest)

    def view(self) -> View:
        """What was added."""
        area = np.outer(*self._sides)[..., None]
        image = ((2 * self._sums + area) // (2 * area)).astype(np.uint8)
        return View(image, self._truth, self._prediction, top=0, left=0, step=self._step)

    def _blocks(self, offset: int, part: slice) -> tuple[slice, npt.NDArray[np.intp]]:
        """The blocks that pixels of a tile fall into, and where in the part each begins."""
        start, end = offset + part.start, offset + part.stop
        blocks = slice(start // self._step, -(-end // self._step))
        return blocks, np.maximum(np.arange(blocks.start, blocks.stop) * self._step - start, 0)

    def _inside(self, axis: int, offset: int, part: slice) -> tuple[slice, npt.NDArray[np.int64]]:
        """The blocks whose middle lies in a part of a tile, and these middles, counted from the tile's corner."""
        middles = self._middles[axis]
        first, last = np.searchsorted(middles, (offset + part.start, offset + part.stop))
        return slice(int(first), int(last)), middles[first:last] - offset
