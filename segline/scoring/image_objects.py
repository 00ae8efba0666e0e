"""The objects of one image: its bands of logits and truth, collected, -> matches and outlines. H x W pixels.

Matches are made at the image's own size; outlines are drawn at its working size.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segline.dataset import onehot, processed, tiling
from segline.model import objects, watershed
from segline.model.watershed import Found, Section
from segline.scoring import objects as scores
from segline.scoring.objects import KINDS, MISSED, Matched

COLUMNS = ["image", "class", "side", "object", "pixels", "kind", "score"]

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]


def require_sizes(folder: Path, index: processed.Index) -> None:
    """Raises DataError that names the first image below `folder` with too many pixels."""
    for origin in index.origins:
        remedy = "Set it to null, or cut the image."
        watershed.require_size(folder / origin.image, origin.height, origin.width, "evaluate.objects", remedy)


class Collected:
    """What the bands of an image show, from the top: predicted and true classes, insides, and true numbers.

    `inside` are the classes with objects; the image has been through `require_sizes`.
    """

    def __init__(self, grid: tiling.Grid, inside: Sequence[int], where: Path) -> None:
        self._grid, self._inside, self._where, self._top = grid, inside, where, 0
        self._labels, self._truth = np.zeros(grid.own, np.uint8), np.zeros(grid.own, np.uint8)
        self._insides = np.zeros((len(inside), *grid.own), np.uint16)
        self._numbers = np.zeros(grid.own, np.uint16)

    def add(self, logits: Tensor, labels: Uint8, truth: Uint8, numbers: Uint16) -> None:
        """The next lines: logits (K', n, W), predicted classes and true ones, or void, (n, W), and true numbers."""
        lines = slice(self._top, self._top + len(labels))
        self._labels[lines], self._truth[lines], self._numbers[lines] = labels, truth, numbers
        self._insides[:, lines] = objects.insides(logits, self._inside)
        self._top += len(labels)

    def matched(self, rule: Section) -> tuple[list[Matched], Uint8]:
        """The matches of each class with objects, and the outlines of what became of them: uint8 at working size.

        A pixel of an outline is 1 + its place in `KINDS`: those of predicted objects, and of true ones that are missed.
        """
        found = watershed.find(self._labels, self._insides, self._inside, rule, self._where)
        true, predicted = (self._at_working_size(numbers) for numbers in (self._numbers, found.numbers))
        shown = np.zeros(true.shape, np.uint8)
        matches = [self._of_class(found, k) for k in self._inside]
        for match in matches:
            _draw(shown, predicted, match.overlaps.predicted, match.predicted_kinds)
        for k, match in zip(self._inside, matches, strict=True):
            missed = match.true_kinds == MISSED
            of_class = np.where(self._at_working_size(self._truth) == k, true, 0)
            _draw(shown, of_class, match.overlaps.true[missed], match.true_kinds[missed])
        return matches, shown

    def _of_class(self, found: Found, k: int) -> Matched:
        is_class = self._truth == k
        known = (self._truth != onehot.VOID) & ~(is_class & (self._numbers == 0))
        truth = np.where(is_class, self._numbers, np.uint16(0))
        owners = np.concatenate([[False], found.classes == k])
        predicted = np.where(owners[found.numbers], found.numbers, np.uint16(0))
        return scores.match(truth, predicted, known, found.scores)

    def _at_working_size(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The pixel under the centre of each working pixel."""
        places = []
        for own, working, step in zip(self._grid.own, self._grid.working, self._grid.step, strict=True):
            places.append(np.minimum(((np.arange(working) + 0.5) * float(step)).astype(np.int64), own - 1))
        sampled: npt.NDArray[Any] = pixels[np.ix_(*places)]
        return sampled


def _draw(shown: Uint8, numbers: Uint16, chosen: npt.NDArray[np.int64], kinds: npt.NDArray[np.int64]) -> None:
    """Draws the outlines of the objects `chosen` in the colour of their kinds."""
    values = np.zeros(int(numbers.max(initial=0)) + 1, np.uint8)
    inside = chosen < len(values)  # others have no pixel at working size
    values[chosen[inside]] = kinds[inside] + 1
    edge = outline(numbers) & (values[numbers] > 0)
    shown[edge] = values[numbers[edge]]


def outline(numbers: Uint16) -> Bools:
    """The pixels of objects, bool (H, W), with another number above, below, left or right; an image ends with none."""
    wide = np.pad(numbers, 1, mode="edge")
    middle = wide[1:-1, 1:-1]
    near = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
    edge: Bools = np.logical_or.reduce([other != middle for other in near]) & (middle > 0)
    return edge


def rows(stem: str, names: Sequence[str], matches: Sequence[Matched]) -> Iterator[tuple[Any, ...]]:
    """One row for each object of an image, as `COLUMNS` says: its number and pixels on its side, true or predicted."""
    for name, match in zip(names, matches, strict=True):
        found = match.overlaps
        true = zip(found.true, found.true_areas, match.true_kinds, strict=True)
        for number, area, kind in true:
            yield stem, name, "true", int(number), int(area), KINDS[kind], None
        predicted = zip(
            found.predicted, found.predicted_areas, match.predicted_kinds, match.predicted.scores, strict=True
        )
        for number, area, kind, score in predicted:
            yield stem, name, "predicted", int(number), int(area), KINDS[kind], float(score)
