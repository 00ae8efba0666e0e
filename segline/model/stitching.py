"""The logits of overlapping tiles -> bands of rows of one image, and those at the image's own size.

K classes. Where tiles overlap, their logits are averaged with weights that fall off towards a tile's edge as a Gaussian
does whose standard deviation is an eighth of its side (as in MONAI, Cardoso et al. 2022, and nnU-Net, Isensee et al.
2021). They are zero within the network's `margin` of an edge beyond which the image goes on, where tiles overlap enough
to leave others a weight: then the logits are those of the whole image, see `segline.model.receptive_field`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from segline.dataset import tiling
from segline.model import forward, objects

Uint8 = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_UNSEEN = 255  # no class: K <= 255
_LINES = 64  # of the image, resized at once


def bands(grid: tiling.Grid, logits: Iterable[Tensor], margin: int | None) -> Iterator[Tensor]:
    """The logits of the working image, top to bottom: float32 (K, rows, width). A band is valid until the next one.

    `logits` are those of the windows, float32 (K, H, W), in their order; only as many are taken as there are windows.
    Takes memory for one line of windows. Those of a single window are passed on as they are, without its padding.
    """
    windows = iter(logits)
    rows, columns = grid.working
    if grid.count == 1:
        yield next(windows)[:, :rows, :columns]
        return
    down, across = weights(grid.tops, grid.row[0], margin), weights(grid.lefts, grid.row[1], margin)
    line = torch.empty(0)
    for top, end, weight in zip(grid.tops, [*grid.tops[1:], rows], down, strict=True):
        for left, falloff in zip(grid.lefts, across, strict=True):
            window = next(windows)[:, : rows - top, : columns - left]
            if not len(line):
                line = window.new_zeros(len(window), min(grid.row[0], rows), columns)
            height, width = window.shape[1:]
            weighted = torch.outer(weight[:height], falloff[:width]).to(window.device)
            line[:, :height, left : left + width].addcmul_(window, weighted)
        yield line[:, : end - top]
        for plane in line:  # one at a time: the last step may leave almost a whole line below it
            below = plane[end - top :].clone()
            plane[: len(below)] = below
            plane[len(below) :] = 0


def weights(starts: Sequence[int], side: int, margin: int | None) -> list[Tensor]:
    """The weights of each window along one side, float32 (side,); at every pixel they are 1 in all.

    Before they are made so, the smallest is exp(-8) or zero: nothing underflows.
    """
    distances = (np.arange(side) - (side - 1) / 2) / (side / 8)
    each = [np.exp(-(distances**2) / 2) for _ in starts]
    for (start, before), (after, behind) in pairwise(zip(starts, each, strict=True)):
        if margin is not None and 2 * margin <= start + side - after:
            before[side - margin :] = 0
            behind[:margin] = 0
    total = np.zeros(starts[-1] + side)
    for start, own in zip(starts, each, strict=True):
        total[start : start + side] += own
    shares = (own / total[start : start + side] for start, own in zip(starts, each, strict=True))
    return [torch.from_numpy(share).float() for share in shares]


def at_own_size(grid: tiling.Grid, working: Iterable[Tensor]) -> Iterator[Tensor]:
    """Bands of logits at the image's own size from those at its working size: bilinear, as in `forward.classes_at`.

    The band of an image that is not cut into tiles gives one, as `F.interpolate` resizes it. Those of tiles give
    the same but for rounding, at most 64 rows at once: a few of theirs may be a whole image at its own size. Like
    theirs, a band is valid until the next one.
    """
    if all(step == 1 for step in grid.step):
        yield from working
        return
    if not grid.is_cut:
        for band in working:
            yield F.interpolate(band[None], size=grid.own, mode="bilinear", align_corners=False)[0]
        return
    held, first, done = torch.empty(0), 0, 0  # rows from `first` on; so many rows of the image are done
    for band in working:
        held = torch.cat([held, band], dim=1) if len(held) else band
        while done < grid.own[0]:
            above, below, share = _between(grid, done, min(done + _LINES, grid.own[0]))
            if below[-1] >= first + held.shape[1]:
                break
            wide = _widened(grid, held[:, above[0] - first : below[-1] - first + 1])
            upper, lower = (wide[:, torch.from_numpy(rows - above[0]).to(wide.device)] for rows in (above, below))
            yield upper.lerp_(lower, torch.from_numpy(share)[:, None].to(wide))
            done += len(share)
        kept = int(_between(grid, done, done + 1)[0][0]) - first
        held, first = held[:, kept:].clone(), first + kept


def _between(grid: tiling.Grid, top: int, bottom: int) -> tuple[Places, Places, npt.NDArray[np.float64]]:
    """For the image's own rows from `top` on: the working rows above and below each, and how far it is from the first.

    Row i lies at (i + 0.5) / step - 0.5, no farther out than the first and the last.
    """
    last = grid.working[0] - 1
    places = np.clip((np.arange(top, bottom) + 0.5) / float(grid.step[0]) - 0.5, 0, last)
    above = places.astype(np.int64)
    return above, np.minimum(above + 1, last), places - above


def _widened(grid: tiling.Grid, band: Tensor) -> Tensor:
    """A band (K, rows, width) at the image's own width, its edge repeated where the last pixels are not whole."""
    rows, columns = band.shape[1:]
    right = -columns % grid.step[1].denominator
    if right:
        band = F.pad(band, (0, right), mode="replicate")
    size = rows, int((columns + right) * grid.step[1])
    return F.interpolate(band[None], size=size, mode="bilinear", align_corners=False)[0, :, :, : grid.own[1]]


class Seams:
    """Counts the pixels that several windows show, `shared`, and those of them whose class they differ on, `differing`.

    Both are pixels of working images, over all images that were watched. `parents` are those of `objects.folded`.
    """

    def __init__(self, parents: Sequence[int]) -> None:
        self._parents = parents
        self.shared = 0
        self.differing = 0

    def watch(self, grid: tiling.Grid, logits: Iterable[Tensor]) -> Iterator[Tensor]:
        """Passes on the logits (K, H, W) of the windows of one image, and counts."""
        windows = iter(logits)
        if grid.count == 1:
            yield next(windows)
            return
        rows, columns = grid.working
        shape = min(grid.row[0], rows), columns
        classes = np.full(shape, _UNSEEN, np.uint8)
        shared, differing = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        for top, end in pairwise([*grid.tops, rows]):
            for left in grid.lefts:
                window = next(windows).contiguous()  # class by class, which is faster from here on
                own = forward.classes(objects.folded(window[:, : rows - top, : columns - left], self._parents)[None])[0]
                place = slice(own.shape[0]), slice(left, left + own.shape[1])
                seen = classes[place] != _UNSEEN
                shared[place] |= seen
                differing[place] |= seen & (classes[place] != own)
                classes[place] = own
                yield window
            self.shared += int(np.count_nonzero(shared[: end - top]))
            self.differing += int(np.count_nonzero(differing[: end - top]))
            below = shape[0] - (end - top)
            for line, nothing in ((classes, _UNSEEN), (shared, False), (differing, False)):
                line[:below] = line[end - top :].copy()
                line[below:] = nothing


class Rows:
    """Cuts the classes of a working image into those of its windows, as the rows of the processed arrays are cut."""

    def __init__(self, grid: tiling.Grid) -> None:
        self._grid = grid
        self._tops = list(grid.tops)
        self._first = 0
        self._held = np.empty((0, grid.working[1]), np.uint8)

    def add(self, band: Uint8) -> Iterator[Uint8]:
        """Takes the next rows, uint8 (rows, width); yields the windows they complete, uint8 (H, W), padded with 0."""
        self._held = np.concatenate([self._held, band])
        height, width = self._grid.row
        while self._tops and self._first + len(self._held) >= min(self._tops[0] + height, self._grid.working[0]):
            top = self._tops.pop(0) - self._first
            for left in self._grid.lefts:
                window = np.zeros((height, width), np.uint8)
                part = self._held[top : top + height, left : left + width]
                window[: part.shape[0], : part.shape[1]] = part
                yield window
            if self._tops:
                self._held = self._held[self._tops[0] - self._first :]
                self._first = self._tops[0]
