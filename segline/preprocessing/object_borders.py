"""Classes and object numbers of a working image -> the classes of inside and border, from lines that follow each other.

A pixel of an object lies on its border if any pixel of the image that is not of this object is at most `border` pixels
away, counted along the longer of the two axes (Chebyshev): that of another object, or outside of all of them. The edge
of the image is no border. A pixel whose class has objects, but which has no number, is void: nobody said where its
object ends. Numbers on other classes mean nothing here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segline.dataset.objects import Objects
from segline.dataset.onehot import VOID
from segline.dataset.raw import Label

Uint8 = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Borders:
    """`has_objects`, bool (256,), and `border_of`, uint8 (256,), say whether a class has objects, and its border."""

    has_objects: npt.NDArray[np.bool_]
    border_of: Uint8
    width: int

    def numbered(self, labels: Uint8, numbers: npt.NDArray[Any]) -> Numbers:
        """The object at each pixel, 0 for none: uint16 (H, W)."""
        return np.where(self.has_objects[labels], numbers, 0).astype(np.uint16)

    def split(self, strips: Iterable[tuple[Uint8, Numbers]]) -> Iterator[tuple[Uint8, Numbers]]:
        """Strips of lines, from the top, of classes uint8 (h, W) and objects uint16 (h, W) -> those of inside, border
        and the other classes, and the same objects. What a line becomes does not depend on how the strips are cut."""
        empty = True
        labels, numbers, above = np.empty((0, 0), np.uint8), np.empty((0, 0), np.uint16), 0
        for strip in strips:
            if empty:
                (labels, numbers), empty = strip, False
            else:
                labels, numbers = np.concatenate([labels, strip[0]]), np.concatenate([numbers, strip[1]])
            ready = len(labels) - self.width  # what is below may still be the outside of a border
            if ready > above:
                yield self._split(labels, numbers, above, ready)
                kept = max(0, ready - self.width)
                labels, numbers, above = labels[kept:], numbers[kept:], ready - kept
        if len(labels) > above:
            yield self._split(labels, numbers, above, len(labels))

    def _split(self, labels: Uint8, numbers: Numbers, first: int, last: int) -> tuple[Uint8, Numbers]:
        """The lines from `first` up to `last`, by what is around them."""
        side = np.ones((2 * self.width + 1, 1), np.uint8)  # OpenCV leaves out what is beyond the edges
        lowest = cv2.erode(cv2.erode(numbers, side), side.T)[first:last]
        highest = cv2.dilate(cv2.dilate(numbers, side), side.T)[first:last]
        labels, numbers = labels[first:last], numbers[first:last]
        found = np.where((numbers > 0) & (lowest != highest), self.border_of[labels], labels)
        found[self.has_objects[labels] & (numbers == 0)] = VOID
        return found, numbers


def borders(labels: tuple[Label, ...], objects: Objects) -> Borders:
    """Those of a class table with K' entries."""
    has_objects, border_of = np.zeros(256, np.bool_), np.full(256, VOID, np.uint8)
    inside = list(objects.inside(labels))
    has_objects[inside] = True
    border_of[inside] = objects.borders(labels)
    return Borders(has_objects, border_of, objects.border)
