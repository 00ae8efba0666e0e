"""Shapes of CVAT's XML -> regions, drawn and ordered as CVAT's own export of masks does.

Polygons, boxes and masks by COCO's rule, ellipses by OpenCV's, coordinates rounded to two decimals. Higher z-orders are
above lower ones. At one height, shapes without a group come first, then groups by number; among these, the order of the
file, but rotated boxes last. A group is one object, with the label and the z-order of its largest shape.

Sources: RotatedBoxesToPolygons and EllipsesToMasks of CVAT 2, MergeInstanceSegments and CompiledMask of datumaro 0.3.1.
Tests compare with masks that datumaro 0.3.1 made of shapes that were converted by these published rules of CVAT.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, radians

import cv2
import numpy as np

from segline.sources.collecting import coco_runs, cvat_xml
from segline.sources.collecting.coco_runs import Runs
from segline.sources.collecting.cvat_xml import Attributes
from segline.sources.collecting.shapes import Points, Region, cosine_and_sine

_DECIMALS = 2
_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)


@dataclass(frozen=True)
class Shape:
    """A shape that can be drawn; `place` is its order among those of one z-order and one group."""

    kind: str
    label: str
    value: int
    z_order: int
    group: int
    place: tuple[bool, int]
    points: Points
    runs: Runs | None = None  # of a mask
    ellipse: tuple[float, ...] = ()  # middle, radii, degrees

    def region(self, height: int, width: int) -> Region:
        """Its pixels in an image of that size."""
        if self.runs is not None:
            left, top = map(int, self.points[0])
            turned = coco_runs.region(self.runs, int(self.points[2][0]) - left)  # its runs go along the rows
            return Region(top + turned.left, left + turned.top, turned.inside.T)
        if self.ellipse:
            return _ellipse(self.ellipse, height, width)
        return coco_runs.region(coco_runs.of_polygons([self.points.ravel().tolist()], height, width), height)


@dataclass(frozen=True)
class Object:
    """A shape, or those of a group: its mask value, its parts, and whether they have several labels."""

    value: int
    parts: Sequence[Shape]
    is_mixed: bool = False

    def region(self, height: int, width: int) -> Region:
        """All its pixels in an image of that size."""
        return _union([part.region(height, width) for part in self.parts])


def objects(found: Sequence[Shape], height: int, width: int) -> list[Object]:
    """The objects of an image, the lowest first."""
    groups: dict[int, list[Shape]] = {}
    ordered: list[tuple[tuple[int, int, tuple[bool, int]], Object]] = []
    for shape in sorted(found, key=lambda shape: shape.place):
        if shape.group:
            groups.setdefault(shape.group, []).append(shape)
        else:
            ordered.append(((shape.z_order, 0, shape.place), Object(shape.value, [shape])))
    for group, parts in groups.items():
        areas = [int(np.count_nonzero(part.region(height, width).inside)) for part in parts]
        leader = parts[areas.index(max(areas))]
        whole = Object(leader.value, parts, is_mixed=len({part.label for part in parts}) > 1)
        ordered.append(((leader.z_order, group, leader.place), whole))
    return [each for _, each in sorted(ordered, key=lambda pair: pair[0])]


@np.errstate(over="ignore", invalid="ignore")  # points may be infinite then
def parsed(kind: str, attributes: Attributes, number: int, value_of: Callable[[str], int]) -> Shape:
    """The shape that is that number of its image; `value_of` gives the mask value of a label.

    Raises ValueError for numbers that are missing, or none. Whether it can be drawn, `Faults.passes` says.
    """
    label = attributes.get("label", "")
    if not label:
        raise ValueError("no label")
    value = value_of(label)
    rotation = float(_decimals(attributes, ("rotation",), "0")[0])
    if not isfinite(rotation):
        raise ValueError("a rotation that is not finite")
    runs: Runs | None = None
    ellipse: tuple[float, ...] = ()
    if kind == "polygon":
        points = _points(attributes.get("points", ""))
    elif kind == "box":
        left, top, right, bottom = _decimals(attributes, ("xtl", "ytl", "xbr", "ybr"))
        corner, size = np.array([left, top]), np.array([right - left, bottom - top])
        points = _rotated(corner, size, rotation) if rotation else corner + size * _CORNERS  # datumaro keeps the size
    elif kind == "ellipse":
        x, y, across, down = _decimals(attributes, ("cx", "cy", "rx", "ry")).tolist()
        if not (across > 0 and down > 0):
            raise ValueError(f"radii of {across} and {down}, expected positive numbers")
        points = np.array([x, y]) + max(across, down) * (2 * _CORNERS - 1)  # however it is turned
        ellipse = x, y, across, down, rotation
    else:
        left, top, width, height = (cvat_xml.number(attributes, key) for key in ("left", "top", "width", "height"))
        if min(width, height) < 1:
            raise ValueError(f"{width}x{height} pixels")
        points = np.array([left, top]) + np.array([width, height]) * _CORNERS
        runs = coco_runs.of_lengths(_lengths(attributes.get("rle", "")), width, height)
    z_order, group = cvat_xml.number(attributes, "z_order"), cvat_xml.number(attributes, "group_id")
    place = kind == "box" and rotation != 0, number
    return Shape(kind, label, value, z_order, group, place, points, runs, ellipse)


def _points(text: str) -> Points:
    """ "x,y;x,y" as an array, rounded."""
    try:
        values = [float(each) for each in text.replace(";", ",").split(",")]
    except ValueError:
        raise ValueError("points that are no numbers") from None
    if len(values) % 2:
        raise ValueError("an odd number of coordinates")
    return _rounded(values).reshape(-1, 2)


def _lengths(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise ValueError("run lengths that are no whole numbers") from None


def _decimals(attributes: Attributes, keys: Sequence[str], otherwise: str = "") -> Points:
    """Those attributes, rounded."""
    values = []
    for key in keys:
        text = attributes.get(key, otherwise)
        try:
            values.append(float(text))
        except ValueError:
            raise ValueError(f"{key} is {text[:40]!a}, expected a number") from None
    return _rounded(values)


def _rounded(values: Sequence[float] | Points) -> Points:
    return np.asarray(np.round(np.array(values, np.float64), _DECIMALS), np.float64)


def _rotated(corner: Points, size: Points, degrees: float) -> Points:
    """Corners of a box, turned clockwise about its middle, rounded."""
    middle = corner + size / 2
    cosine, sine = cosine_and_sine(radians(degrees % 360))
    x, y = (corner + size * _CORNERS - middle).T
    return _rounded(np.stack([middle[0] + cosine * x - sine * y, middle[1] + sine * x + cosine * y], axis=1))


def _ellipse(numbers: tuple[float, ...], height: int, width: int) -> Region:
    """Middle and radii are rounded to whole pixels."""
    x, y, across, down, degrees = numbers
    inside = np.zeros((height, width), np.uint8)
    cv2.ellipse(inside, (round(x), round(y)), (round(across), round(down)), degrees, 0, 360, 1, thickness=-1)
    left, top, wide, high = cv2.boundingRect(inside)
    return Region(top, left, inside[top : top + high, left : left + wide] != 0)


def _union(regions: list[Region]) -> Region:
    if len(regions) == 1:
        return regions[0]
    top, left = min(each.top for each in regions), min(each.left for each in regions)
    bottom = max(each.top + each.inside.shape[0] for each in regions)
    right = max(each.left + each.inside.shape[1] for each in regions)
    inside = np.zeros((bottom - top, right - left), np.bool_)
    for each in regions:
        height, width = each.inside.shape
        inside[each.top - top :, each.left - left :][:height, :width] |= each.inside
    return Region(top, left, inside)
