"""Classes with numbered objects: each is learnt as two, the inside of its objects and their border.

Class k of the data set keeps its number k < K. If it has objects, k now means "inside of one", and "on the border of
one" is a class of its own, after the others: K' = K + the number of classes with objects. For semantic scores a border
counts as its class.

What the classes of the pixels of an object are stands in `segline.preprocessing.object_borders`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline.dataset import raw
from segline.dataset.raw import Label, Rgb

MAX_BORDER = 64  # pixels
BORDER = " border"  # what the name of a class becomes

Uint8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Objects:
    """The names of the classes with objects, in the order of the class table, and the width of a border in pixels of
    the working image."""

    __pydantic_config__ = raw.CLOSED

    classes: Annotated[tuple[raw.Name, ...], Field(min_length=1, max_length=127)]
    border: Annotated[int, Field(ge=1, le=MAX_BORDER)]

    def inside(self, labels: Sequence[Label]) -> tuple[int, ...]:
        """The number of each class with objects: the class of the inside of its objects."""
        names = [label.name for label in labels]
        return tuple(names.index(name) for name in self.classes)

    def borders(self, labels: Sequence[Label]) -> tuple[int, ...]:
        """The number of the border of each class with objects; `labels` has K' entries."""
        return tuple(range(len(labels) - len(self.classes), len(labels)))


def table(labels: Sequence[Label], objects: Objects) -> tuple[Label, ...]:
    """The K' classes of K: the same, then the border of each class with objects, in a colour that no other class has.

    Raises ValueError if a class has the name of a border.
    """
    known = {label.name: label.rgb for label in labels}
    found = list(labels)
    for name in objects.classes:
        if f"{name}{BORDER}" in known:
            raise ValueError(f"a class has the name {name + BORDER!r}")
        found.append(Label(f"{name}{BORDER}", _unlike(known[name], {label.rgb for label in found})))
    return tuple(found)


def require_classes(labels: Sequence[Label], objects: Objects | None) -> None:
    """Raises ValueError unless the K' classes end with the borders of these objects, and have their classes."""
    if objects is None:
        return
    names = [label.name for label in labels]
    known, borders = names[: -len(objects.classes)], names[-len(objects.classes) :]
    if borders != [f"{name}{BORDER}" for name in objects.classes] or not {*objects.classes} <= {*known}:
        raise ValueError(f"classes {names}, expected those of {list(objects.classes)}, then their borders")


def semantic(labels: Sequence[Label], objects: Objects | None) -> tuple[Label, ...]:
    """The K classes of which `labels` are the K': without the borders."""
    return tuple(labels if objects is None else labels[: len(labels) - len(objects.classes)])


def parents(labels: Sequence[Label], objects: Objects | None) -> Uint8:
    """The class as which each of the K' classes counts: its own number, or that of its class for a border: (K',)."""
    found = np.arange(len(labels), dtype=np.uint8)
    if objects is not None:
        found[list(objects.borders(labels))] = objects.inside(labels)
    return found


def _unlike(rgb: Rgb, others: set[Rgb]) -> Rgb:
    """A darker shade of a colour, or else the next one that is free."""
    code = sum(shade // 2 << 8 * place for place, shade in enumerate(rgb))
    while (found := (code & 255, code >> 8 & 255, code >> 16)) in others:
        code = (code + 1) % (1 << 24)
    return found
