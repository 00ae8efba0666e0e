"""Whether the object numbers of an image agree with its classes, from all of its pixels, piece by piece.

A number stands for one object of one class. An object in pieces is possible (something is in front of it), but if they
are far from each other, two objects may have the same number.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.dataset.objects import Objects
from segline.dataset.raw import Label
from segline.preprocessing import object_borders
from segline.preprocessing.object_borders import Borders, Numbers, Uint8

_COUNT = 1 << 16  # numbers that an object can have, and 0
# Variance of the places of an object's pixels over their number: that of a disc is 0.16, of a bar 48 times as long as
# wide 4, of two equal discs whose centres are five diameters apart 4.
_FAR = 4


@dataclass(frozen=True)
class Findings:
    """Of one image: its objects, those in places far from each other, and those without inside at the working size.

    `without` if pixels of a class with objects have no number. `outside` are numbers on the one class without objects
    alone; 0 if there are more such classes, which may have numbers too.
    """

    objects: int
    scattered: int
    lost: int
    without: bool
    outside: int


def seen(labels: tuple[Label, ...], objects: Objects | None) -> "Seen | None":
    """For an image of these K' classes: nothing yet."""
    return None if objects is None else Seen(labels, object_borders.borders(labels, objects))


@dataclass
class Seen:
    """What the pixels of an image show; `labels` are its classes, with or without borders."""

    labels: tuple[Label, ...]
    borders: Borders
    without: bool = False  # whether a pixel whose class has objects has no number
    _places: npt.NDArray[np.bool_] = field(init=False)  # (K + 1, 65536): whether a class, or void, has a number
    _sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, _COUNT)))  # of 1, x, y, x^2 + y^2
    _inside: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(_COUNT, np.bool_))
    _top: int = 0

    def __post_init__(self) -> None:
        self._places = np.zeros((len(self.labels) + 1, _COUNT), np.bool_)

    def add(self, labels: Uint8, numbers: Numbers) -> None:
        """The next lines from the top: classes and object numbers as stored, both (h, W)."""
        rows = np.minimum(labels, len(self.labels)).astype(np.intp)  # void is the last
        self._places[rows, numbers] = True
        belongs = self.borders.has_objects[labels]
        self.without |= bool((belongs & (numbers == 0)).any())
        down, across = np.nonzero(belongs & (numbers > 0))
        x, y = across.astype(np.float64), down + float(self._top)
        for place, values in enumerate((None, x, y, x * x + y * y)):
            self._sums[place] += np.bincount(numbers[down, across], values, _COUNT)
        self._top += len(labels)

    def split(self, strips: Iterable[tuple[Uint8, Numbers]]) -> Iterator[Uint8]:
        """Strips of working lines, from the top, of classes and numbers as stored -> those with borders, (h, W)."""
        own = ((labels, self.borders.numbered(labels, numbers)) for labels, numbers in strips)
        for labels, numbers in self.borders.split(own):
            self._inside[numbers[self.borders.has_objects[labels]]] = True
            yield labels

    def findings(self) -> Findings:
        """Once all pixels were seen."""
        objects = self._sums[0] > 0
        lost = int((objects & ~self._inside).sum())
        return Findings(int(objects.sum()), self._scattered(), lost, self.without, self._outside())

    def _outside(self) -> int:
        have = self.borders.has_objects[: len(self.labels)]
        borders = {*self.borders.border_of[: len(self.labels)][have].tolist()}
        others = [k for k in np.flatnonzero(~have).tolist() if k not in borders]
        if len(others) != 1:
            return 0
        numbers = self._places[: len(self.labels), 1:]
        return int((numbers[others[0]] & ~numbers[have].any(axis=0)).sum())

    def _scattered(self) -> int:
        count, x, y, squares = (each[self._sums[0] > 0] for each in self._sums)
        variance = squares / count - (x / count) ** 2 - (y / count) ** 2
        return int((variance > _FAR * count).sum())

    def problems(self, where: Path) -> Iterator[DataError]:
        """Objects that lie in two classes, of which one has objects; `where` is the file of numbers."""
        classes = self._places[: len(self.labels), 1:]
        have = self.borders.has_objects[: len(self.labels)]
        shared = (classes.sum(axis=0) > 1) & classes[have].any(axis=0)
        if count := int(shared.sum()):
            first = int(np.flatnonzero(shared)[0])
            names = " and ".join(self.labels[k].name for k in np.flatnonzero(classes[:, first])[:2])
            several = f"{count} objects lie in two classes, such as" if count > 1 else "one object lies in two classes,"
            problem = f"{several} number {first + 1} in {names}: it does not agree with the mask"
            yield DataError(where, problem, "Export masks and object numbers from the same labels.")


def warnings(found: Sequence[tuple[Path, Findings]]) -> Iterator[str]:
    """What is worth a look in the images of a data set: each once, with counts and an example."""
    if scattered := [(path, each.scattered) for path, each in found if each.scattered]:
        count = sum(number for _, number in scattered)
        yield (
            f"{_images(len(scattered))}: {count} object number{'s' * (count != 1)} in places far from each other, "
            f"such as {scattered[0][0]}: has each only one object?"
        )
    if outside := [(path, each.outside) for path, each in found if each.outside]:
        count = sum(number for _, number in outside)
        yield (
            f"{_images(len(outside))}: {count} object number{'s' * (count != 1)} on no pixel of a class with objects, "
            f"such as {outside[0][0]}: are masks and numbers of the same labels?"
        )
    if lost := [(path, each.lost) for path, each in found if each.lost]:
        count, total = sum(number for _, number in lost), sum(each.objects for _, each in found)
        yield (
            f"{count} of {total} objects are without inside at the working size, in {_images(len(lost))} such as "
            f"{lost[0][0]}: a smaller preprocess.objects.border or a larger working size keeps them"
        )
    if without := [path for path, each in found if each.without]:
        yield (
            f"{_images(len(without))}: pixels of classes with objects have no object number and are void, such as "
            f"{without[0]}"
        )


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"
