"""Shapes of Label Studio, in percent of the image -> regions.

Polygons and rectangles are drawn as pycocotools draws those of Label Studio's COCO export, brush strokes as its PNG
export has them, and of an ellipse the pixels whose centres are in it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline.sources.collecting import brush_runs, coco_runs, shapes
from segline.sources.collecting.shapes import Faults, Points, Region


@dataclass(frozen=True)
class Value:
    """A shape, in percent of the image, and its labels under the name of the result's type."""

    points: list[tuple[float, float]] | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float = 0.0
    radiusX: float | None = None  # noqa: N815 - Label Studio's names, here and below
    radiusY: float | None = None  # noqa: N815
    rle: list[int] | None = None
    polygonlabels: tuple[str, ...] = ()
    rectanglelabels: tuple[str, ...] = ()
    ellipselabels: tuple[str, ...] = ()
    brushlabels: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def passes(shape: Value, size: tuple[int, int], file: Path, which: str, faults: Faults) -> bool:
    """Whether a shape can be drawn on an image of this size (height, width). If not, its fault is added."""
    try:
        if shape.rle is None:
            return faults.passes(corners(shape, *size), *size, file, which)
        if brush_runs.painted(shape.rle, *size).any():
            return True
        faults.add(file, which, "brush strokes of zero area")
    except ValueError as error:
        faults.add(file, which, str(error))
    return False


def region(shape: Value, height: int, width: int) -> Region:
    """The pixels of a shape that `passes`."""
    if shape.rle is not None:
        return Region(0, 0, brush_runs.painted(shape.rle, height, width))
    outline = corners(shape, height, width)
    if shape.points is None and shape.radiusX is not None:
        return _ellipse(outline, height, width)
    return coco_runs.region(coco_runs.of_polygons([outline.ravel().tolist()], height, width), height)


@np.errstate(over="ignore", invalid="ignore")
def corners(shape: Value, height: int, width: int) -> Points:
    """Polygon or rectangle, or the rectangle around an ellipse, in pixels, float64 (N, 2) of x and y; maybe infinite.

    Raises ValueError if the shape is none of these.
    """
    scale = np.array([width, height], np.float64)
    if shape.points is not None:
        return np.array(shape.points, np.float64).reshape(-1, 2) / 100 * scale
    is_ellipse = shape.radiusX is not None
    sides = (shape.radiusX, shape.radiusY) if is_ellipse else (shape.width, shape.height)
    if None in {shape.x, shape.y, *sides}:
        raise ValueError("a place or a size is missing in its value")
    (left, top), (right, bottom) = (np.array(each, np.float64) / 100 * scale for each in ((shape.x, shape.y), sides))
    ends = [(0, 0), (right, 0), (right, bottom), (0, bottom)]
    if is_ellipse:
        ends = [(-right, -bottom), (right, -bottom), (right, bottom), (-right, bottom)]
    cosine, sine = _cosine_and_sine(shape.rotation)
    return np.array([(left + x * cosine - y * sine, top + x * sine + y * cosine) for x, y in ends])


def _ellipse(corners: Points, height: int, width: int) -> Region:
    """The pixels with their centres in the ellipse that touches the sides of a rectangle, at least partly inside."""
    left, top = np.clip(np.floor(corners.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)), 0, (width, height)).astype(int)
    along, across = corners[1] - corners[0], corners[3] - corners[0]
    middle = corners[0] + along / 2 + across / 2
    x, y = np.arange(left, right) + 0.5 - middle[0], (np.arange(top, bottom) + 0.5 - middle[1])[:, None]
    a = (x * along[0] + y * along[1]) / (along @ along)
    b = (x * across[0] + y * across[1]) / (across @ across)
    return Region(int(top), int(left), a * a + b * b <= 0.25)


def _cosine_and_sine(degrees: float) -> tuple[float, float]:
    """Quarter turns are exact."""
    if not math.isfinite(degrees):
        return math.nan, math.nan
    rest = math.fmod(degrees, 360)  # exact
    quarters = round(rest / 90)
    cosine, sine = shapes.cosine_and_sine(math.radians(rest - 90 * quarters))
    turned = ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))
    return turned[quarters % 4]
