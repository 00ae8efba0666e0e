"""Objects in a mask, numbered: those that a model has learnt, otherwise connected pixels of one class. H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.model.watershed import MAX_NUMBER, Found, Section

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]
Int32 = npt.NDArray[np.int32]
Measures = tuple[int, int, int, int, int, float, float]  # those of an `Instance` from its area on


@dataclass(frozen=True)
class Learnt:
    """The classes whose objects a model has learnt, and how they are found."""

    classes: Sequence[int]
    rule: Section


@dataclass(frozen=True)
class Instance:
    """Object `number` of class `class_index`: its area, bounding box and centroid, in pixels."""

    number: int
    class_index: int
    area: int
    left: int
    top: int
    width: int
    height: int
    x: float
    y: float


def find(mask: Uint8, chosen: Sequence[int], where: Path, found: Found | None = None) -> tuple[Uint16, list[Instance]]:
    """Numbers uint16 (H, W), 0 = no object, and the objects, numbered from 1 across the chosen classes.

    The objects of a class in `found` are those; of other classes, pixels that touch, even only at a corner, are one
    object. Raises DataError that names `where` above 65,535 objects.
    """
    numbers = np.zeros(mask.shape, np.uint16)
    objects: list[Instance] = []
    for k in chosen:
        measured, labels = _learnt(found, k) if found and k in found.searched else _connected(mask, k)
        if len(objects) + len(measured) > MAX_NUMBER:
            problem = f"more than {MAX_NUMBER} objects, the most that a 16-bit PNG can number"
            raise DataError(where, problem, "Choose fewer classes with --instances, or predict without it.")
        numbers += np.where(labels, labels + len(objects), 0).astype(np.uint16)
        objects += [Instance(len(objects) + place, k, *each) for place, each in enumerate(measured, start=1)]
    return numbers, objects


def _connected(mask: Uint8, k: int) -> tuple[list[Measures], Int32]:
    of_class = np.equal(mask, k).view(np.uint8)
    _, labels, boxes, centres = cv2.connectedComponentsWithStats(of_class, connectivity=8, ltype=cv2.CV_32S)
    measured = [
        (area, left, top, width, height, x, y)
        for (left, top, width, height, area), (x, y) in zip(boxes[1:].tolist(), centres[1:].tolist(), strict=True)
    ]
    return measured, np.asarray(labels, np.int32)


def _learnt(found: Found, k: int) -> tuple[list[Measures], Int32]:
    from scipy import ndimage  # noqa: PLC0415 - needed where there are objects

    own = np.flatnonzero(found.classes == k)
    count = len(own)
    labels = found.numbers.astype(np.int32) - (int(own[0]) if count else 0)
    labels[(labels < 0) | (labels > count)] = 0
    measured = []
    for number, box in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        y, x = np.nonzero(labels[box] == number)
        top, left = box[0].start, box[1].start
        size = int(np.ptp(x)) + 1, int(np.ptp(y)) + 1
        measured.append((len(x), left, top, *size, float(x.mean()) + left, float(y.mean()) + top))
    return measured, labels
