"""Objects in a mask: connected pixels of one class, numbered. H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError

MAX_NUMBER = 65_535  # the largest in a 16-bit PNG
MAX_PIXELS = 1 << 26  # of a mask, which is then in memory at once

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]


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


def require_size(where: Path, height: int, width: int, option: str) -> None:
    """Raises DataError that names `where` for an image too large to find objects in, as an option asks."""
    if height * width > MAX_PIXELS:
        problem = f"{width}x{height} pixels, expected at most {MAX_PIXELS} in all for {option}"
        raise DataError(where, problem, "Predict it without.")


def find(mask: Uint8, chosen: Sequence[int], where: Path) -> tuple[Uint16, list[Instance]]:
    """Numbers uint16 (H, W), 0 = no object, and the objects, numbered from 1 across the chosen classes.

    Pixels that touch, even only at a corner, are one object. Raises DataError that names `where` above 65,535 objects.
    """
    numbers = np.zeros(mask.shape, np.uint16)
    objects: list[Instance] = []
    for k in chosen:
        of_class = np.equal(mask, k).view(np.uint8)
        count, labels, boxes, centres = cv2.connectedComponentsWithStats(of_class, connectivity=8, ltype=cv2.CV_32S)
        if len(objects) + count - 1 > MAX_NUMBER:
            problem = f"more than {MAX_NUMBER} objects, the most that a 16-bit PNG can number"
            raise DataError(where, problem, "Choose fewer classes with --instances, or predict without it.")
        numbers += np.where(labels, labels + len(objects), 0).astype(np.uint16)
        for (left, top, width, height, area), (x, y) in zip(boxes[1:].tolist(), centres[1:].tolist(), strict=True):
            objects.append(Instance(len(objects) + 1, k, area, left, top, width, height, x, y))
    return numbers, objects
