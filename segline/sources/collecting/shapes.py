"""Objects -> mask and object numbers, and the one rule about shapes that cannot be drawn.

A source turns each shape into a `Region` as its own labelling tool would, and draws the regions onto a `Canvas` in the
tool's order: `fault_of` and `Faults` first, `Canvas.draw` then.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError, PipelineError
from segline.sources.collecting.labels import VOID

Points = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MAX_OBJECTS = 65_535  # of an image: their numbers are 16 bits
MAX_POINTS = 2_000_000  # of a shape
MAX_OUTLINE = 4_000_000  # pixels along a shape: rasterising takes memory and time by its length
MAX_PIXELS = 1 << 29  # of an image: its mask and object numbers take three bytes each
_MOST_PAIRS = 1 << 29  # of edges, compared for crossings in the polygons of a file: some seconds
_MOST_SEARCHED = 2048  # points: the search for crossings takes time and memory by their square
_ROUNDING = 1e-9  # of an area, as a share of the square around it: more than rounding makes of MAX_POINTS terms
_LISTED = 1000  # faults; those beyond are counted


@dataclass(frozen=True)
class Region:
    """The pixels of an object: True in `inside` (h, w), whose first pixel is at (top, left) of the image."""

    top: int
    left: int
    inside: Bools


class Canvas:
    """`mask`, uint8 (height, width), and `objects`, uint16 of that shape: 0, or the number of the object on top.

    Objects are numbered from 1 as they are drawn. One that others cover wholly leaves a gap, so a number says which
    object of the annotation file it is.
    """

    def __init__(self, height: int, width: int, background: int) -> None:
        self._background = background
        self.mask = np.full((height, width), background, np.uint8)
        self.objects = np.zeros((height, width), np.uint16)
        self.drawn = 0
        self.covered = 0  # pixels of objects that later ones took
        self.empty = 0  # objects that have no pixel

    def draw(self, value: int, region: Region, *, part_of: int | None = None) -> int:
        """Gives the region's pixels a mask value and an object number, and returns that number.

        It is the next one, or that of the object which the region is `part_of`; 0 unless the value `is_object`.
        The region must lie within the image. An image holds `MAX_OBJECTS` objects at most: see `too_many`.
        """
        height, width = region.inside.shape
        place = np.s_[region.top : region.top + height, region.left : region.left + width]
        objects = self.objects[place]
        numbered = is_object(value, self._background)
        if numbered and part_of is None:
            self.drawn += 1
        number = (part_of or self.drawn) if numbered else 0
        below = objects[region.inside]
        self.covered += int(np.count_nonzero((below > 0) & (below != number)))
        self.empty += not below.size
        self.mask[place][region.inside] = value
        objects[region.inside] = number
        return number


def is_object(value: int, background: int) -> bool:
    """Whether what has this mask value gets an object number: void and what unlabelled pixels are do not."""
    return value not in (VOID, background)


def count_objects(values: bytearray, background: int) -> int:
    """How many of these mask values are those of objects."""
    return len(values) - sum(values.count(each) for each in {VOID, background})


def too_large(height: int, width: int) -> str | None:
    """What is wrong with the size of an image on which objects are to be drawn."""
    if min(height, width) >= 1 and height * width <= MAX_PIXELS:
        return None
    return f"{width}x{height} pixels, expected 1 to {MAX_PIXELS}"


def too_many(objects: int) -> str | None:
    """What is wrong with the number of objects of an image."""
    return None if objects <= MAX_OBJECTS else f"{objects} objects, expected at most {MAX_OBJECTS}"


def fault_of(points: Points, height: int, width: int) -> str | None:
    """Why a polygon, float64 (N, 2) of x and y in pixels, cannot be drawn on an image; None if it can.

    A polygon that reaches out of the image is cut off at its edge; one wholly outside is a fault.
    """
    if not MAX_POINTS >= len(points) >= 3:
        return f"{len(points)} points, expected 3 to {MAX_POINTS}"
    left, top, right, bottom = extent = [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]
    if not all(map(math.isfinite, extent)):  # NaN is the extreme of whatever it is among
        return "a point that is not finite"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return f"outside of its image of {width}x{height} pixels"
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.abs(_following(points) - points).max(axis=1).sum()
    if not length <= MAX_OUTLINE:
        return f"an outline of {length:.10g} pixels, expected at most {MAX_OUTLINE}"
    return "a polygon of zero area" if _encloses_nothing(points) else None


def _encloses_nothing(points: Points) -> bool:
    """Whether all points are on one line, or the outline comes back along itself everywhere: spikes.

    The two halves of a figure of eight have opposite areas; it is drawn.
    """
    x, y = (points - points[0]).T
    far = np.argmax(np.maximum(np.abs(x), np.abs(y)))
    if (x[far] * y == y[far] * x).all():
        return True
    (next_x, next_y), extent = _following(np.stack([x, y], axis=1)).T, max(abs(x[far]), abs(y[far]))
    return bool(abs((x * next_y - y * next_x).sum()) <= _ROUNDING * extent * extent) and len(_corners(points)) < 3


def _corners(points: Points) -> "deque[list[float]]":
    """The corners of the outline: points on one line with both neighbours are taken away, until none is left."""
    corners: deque[list[float]] = deque()
    for point in points.tolist():
        while len(corners) > 1 and _on_one_line(corners[-2], corners[-1], point):
            corners.pop()
        if not corners or corners[-1] != point:
            corners.append(point)
    while len(corners) > 2:
        if _on_one_line(corners[-2], corners[-1], corners[0]):
            corners.pop()
        elif _on_one_line(corners[-1], corners[0], corners[1]):
            corners.popleft()
        else:
            break
    return corners


def _on_one_line(a: list[float], b: list[float], c: list[float]) -> bool:
    return (b[0] - a[0]) * (c[1] - b[1]) == (b[1] - a[1]) * (c[0] - b[0])


def _following(points: Points) -> Points:
    """The point after each; after the last one the first."""
    return np.concatenate([points[1:], points[:1]])


def reaches_out(points: Points, height: int, width: int) -> bool:
    """Whether any part of a polygon lies more than a pixel outside of its image."""
    right, bottom = points.max(axis=0)
    return bool(points.min() < -1 or right > width + 1 or bottom > height + 1)


def crosses_itself(points: Points) -> bool:
    """Whether two edges of a polygon cross; to touch is not to cross. Outlines of over 2048 points are not searched."""
    if not 4 <= len(points) <= _MOST_SEARCHED:
        return False
    (x, y), (along_x, along_y) = points.T, (_following(points) - points).T
    side = along_x[:, None] * (y - y[:, None]) - along_y[:, None] * (x - x[:, None])  # of edge i, on which point j lies
    parts = side * np.roll(side, -1, axis=1) < 0  # the line of edge i parts the ends of edge j
    return bool((parts & parts.T).any())


class Faults:
    """Shapes that cannot be drawn: errors with `faults: refuse`, left out and counted with `skip`.

    And the counts of what was drawn, but not as people may think.
    """

    def __init__(self, rule: Literal["refuse", "skip"]) -> None:
        self._rule = rule
        self._found: list[DataError] = []
        self._count = 0
        self._pairs: Counter[Path] = Counter()
        self.reaching_out = 0
        self.crossing = 0
        self.covered = 0
        self.empty = 0

    def add(self, file: Path, which: str, problem: str) -> None:
        """A shape that is not drawn; `which` names it within its file: "annotation 17 (car)"."""
        self._count += 1
        if len(self._found) < _LISTED:
            remedy = "Correct it in the labelling tool, or leave such shapes out with faults: skip."
            self._found.append(DataError(file, f"{which}: {problem}", remedy))

    def passes(self, points: Points, height: int, width: int, file: Path, which: str) -> bool:
        """Whether a polygon can be drawn on an image of that size. If not, its fault is added."""
        problem = fault_of(points, height, width)
        if problem:
            self.add(file, which, problem)
            return False
        self.reaching_out += reaches_out(points, height, width)
        return True

    def look_for_crossings(self, parts: Iterable[Points], file: Path) -> None:
        """Counts an object if one of its polygons crosses itself.

        To compare edges takes time by their square: after 2^29 pairs, crossings are no longer looked for in a file.
        """
        for points in parts:
            self._pairs[file] += len(points) ** 2 if len(points) <= _MOST_SEARCHED else 0
            if self._pairs[file] <= _MOST_PAIRS and crosses_itself(points):
                self.crossing += 1
                return

    def drawn(self, canvas: Canvas) -> None:
        """Adds what a finished canvas counted."""
        self.covered += canvas.covered
        self.empty += canvas.empty

    def problems(self) -> list[PipelineError]:
        """One error a fault with `refuse`, none with `skip`."""
        if self._rule == "skip":
            return []
        found: list[PipelineError] = list(self._found)
        if more := self._count - len(found):
            found.append(
                DataError(self._found[-1].where, f"and {more} more of such shapes", "Correct the others first.")
            )
        return found

    def notes(self) -> list[str]:
        """One line for each of: shapes left out, cut off, crossing themselves, without a pixel; pixels that lost."""
        first = f", the first: {self._found[0].where}: {self._found[0].problem}" if self._found else ""
        counted = (
            (self._count, "shapes that cannot be drawn are left out", first),
            (self.reaching_out, "shapes that reach out of their image are cut off at its edge", ""),
            (self.crossing, "polygons that cross themselves are drawn by the rule of the labelling tool", ""),
            (self.empty, "shapes so thin that they have no pixel", ""),
            (self.covered, "pixels of objects that later ones cover", ""),
        )
        return [f"{what}: {count}{more}" for count, what, more in counted if count]


def cosine_and_sine(angle: float) -> tuple[float, float]:
    """Of an angle from -2 pi to 2 pi, in radians, rounded correctly.

    Those of the C library differ between CPUs in their last bit.
    """
    with localcontext() as context:
        context.prec = 50
        sums = [Decimal(0), Decimal(0)]
        term, power = Decimal(1), Decimal(angle)
        for place in range(60):
            sums[place % 2] += -term if place % 4 > 1 else term
            term = term * power / (place + 1)
        return float(sums[0]), float(sums[1])
