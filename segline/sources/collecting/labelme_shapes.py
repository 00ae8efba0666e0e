"""Shapes of labelme -> regions, drawn as `labelme.utils.shapes_to_label` does, with Pillow.

Polygons with their outline, lines 10 pixels wide, points as discs of radius 5.
"""

import base64
import binascii
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import PIL.Image
import PIL.ImageDraw
from pydantic import Field

from segline.core.errors import DataError
from segline.preprocessing.image_files import png_jpeg
from segline.preprocessing.image_files.stored_samples import MAX_TILED_PIXELS, Stored
from segline.sources.collecting import shapes
from segline.sources.collecting.shapes import Faults, Points, Region

LINE_WIDTH, POINT_RADIUS = 10, 5
_MARGIN = 2  # pixels by which Pillow may go beyond the outline of a shape: it rounds
# Shapes with a fixed number of points.
_COUNTS = {"rectangle": 2, "circle": 2, "line": 2, "point": 1, "oriented_rectangle": 4, "mask": 2}
_POLYGONS, _LINES = ("polygon", "oriented_rectangle"), ("line", "linestrip")


@dataclass(frozen=True)
class Shape:
    """A shape as in the file: `points` are x and y in pixels of the image; `mask` is a PNG in base64."""

    label: Annotated[str, Field(max_length=200)]
    points: list[tuple[float, float]]
    shape_type: str | None = None
    group_id: int | None = None
    mask: str | None = None

    @property
    def kind(self) -> str:
        """Its type; files of old versions have none, for polygons."""
        return self.shape_type or "polygon"


def drawable(shape: Shape, size: tuple[int, int], file: Path, which: str, faults: Faults) -> Points | Region | None:
    """What a shape is drawn within on an image of that size (height, width), or the pixels of a mask.

    None for one that cannot be drawn: its fault is added.
    """
    kind, points = shape.kind, _points(shape)
    wanted = _COUNTS.get(kind)
    if wanted is None and kind not in ("polygon", "linestrip"):
        faults.add(file, which, "labelme itself draws no such shape")
    elif wanted is not None and len(points) != wanted:
        faults.add(file, which, f"{len(points)} points, expected {wanted}")
    elif kind in _LINES and not len(points) > 0:
        faults.add(file, which, "0 points, expected at least 1")
    elif kind in _LINES and not _length(points) <= shapes.MAX_OUTLINE:
        faults.add(file, which, f"a line of more than {shapes.MAX_OUTLINE} pixels, or not finite")
    elif faults.passes(outline := _around(kind, points), *size, file, which):
        if kind == "mask":
            found = _mask(shape, outline, size, file)
            if isinstance(found, str):
                faults.add(file, which, found)
                return None
            return found
        if kind in _POLYGONS:
            faults.look_for_crossings([points], file)
        return outline
    return None


def _mask(shape: Shape, outline: Points, size: tuple[int, int], file: Path) -> Region | str:
    """The pixels of an embedded mask, or what is wrong with it."""
    left, top, right, bottom = (int(value) for value in (*outline[0], *outline[2]))
    height, width = bottom - top, right - left
    if left < 0 or top < 0 or bottom > size[0] or right > size[1]:
        return f"reaches out of its image of {size[1]}x{size[0]} pixels"
    try:
        stored = opened(decoded(shape.mask or "", file, "mask"), file, Path("mask.png"), "mask")
        if (stored.height, stored.width) == (height, width) and stored.bands == 1 and not stored.alpha:
            return Region(top, left, stored.read(0, 0, height, width).values[:, :, 0] != 0)
    except DataError as error:
        return error.problem
    return f"mask: {stored.width}x{stored.height} pixels, expected {width}x{height} of one gray channel"


def decoded(text: str, file: Path, key: str) -> bytes:
    """What is embedded in a file. Raises DataError if it is not base64."""
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise DataError(file, f"{key}: not base64 ({error})", "Save it again with labelme.") from None


def opened(content: bytes, file: Path, path: Path, key: str) -> Stored:
    """An embedded PNG or JPEG: its container is checked, its pixels are not decoded. Raises DataError."""
    try:
        return png_jpeg.stored(content, path, MAX_TILED_PIXELS)
    except DataError as error:
        raise DataError(file, f"{key}: {error.problem}", "Save it again with labelme.") from None


def _points(shape: Shape) -> Points:
    return np.array(shape.points, np.float64).reshape(-1, 2)


def _length(points: Points) -> float:
    """Of a line, in pixels; not finite if a point is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.abs(np.diff(points, axis=0)).max(axis=1).sum())


def _around(kind: str, points: Points) -> Points:
    """The polygon itself, or the corners of the box that the shape fills; they may be infinite."""
    if kind in _POLYGONS:
        return points
    with np.errstate(over="ignore", invalid="ignore"):
        return _box(kind, points)


def _box(kind: str, points: Points) -> Points:
    if kind == "circle":
        x, y = points[0].tolist()
        across, down = (points[1] - points[0]).tolist()
        radius = math.sqrt(across * across + down * down)
        low, high = (x - radius, y - radius), (x + radius, y + radius)
    else:
        margin = {"line": LINE_WIDTH / 2, "linestrip": LINE_WIDTH / 2, "point": POINT_RADIUS}.get(kind, 0)
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        if kind == "mask":  # from its first to its last pixel
            low, high = np.trunc(points[0]), np.trunc(points[1]) + 1
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])], np.float64)


class Pencil:
    """Draws shapes on one picture: the part that a shape may fill is cut out and wiped each time."""

    def __init__(self, height: int, width: int) -> None:
        self._image = PIL.Image.new("L", (width, height))
        self._draw = PIL.ImageDraw.Draw(self._image)

    def region(self, shape: Shape, outline: Points) -> Region:
        """The pixels of a shape within an outline, both as `drawable` has passed them."""
        kind, points = shape.kind, _points(shape)
        corners = [tuple(corner) for corner in outline[[0, 2]].tolist()]
        if kind in ("circle", "point"):
            self._draw.ellipse(corners, outline=1, fill=1)
        elif kind == "rectangle":
            self._draw.rectangle(corners, outline=1, fill=1)
        elif kind in _LINES:
            self._draw.line([tuple(point) for point in points.tolist()], fill=1, width=LINE_WIDTH)
        else:
            self._draw.polygon([tuple(point) for point in points.tolist()], outline=1, fill=1)
        low = np.clip(outline.min(axis=0) - _MARGIN, 0, self._image.size).astype(int)
        high = np.clip(outline.max(axis=0) + _MARGIN + 1, 0, self._image.size).astype(int)
        box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        inside = np.asarray(self._image.crop(box)) != 0
        self._image.paste(0, box)
        return Region(box[1], box[0], inside)
