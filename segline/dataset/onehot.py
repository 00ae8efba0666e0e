"""Mask values -> classes <-> one-hot vectors packed into bits.

Layout of a packed pixel: ceil(K / 8) bytes, bit k (little bit order) set = class k. At most one bit is set;
no bit set = void. K <= 255.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

VOID = 255

Uint8 = npt.NDArray[np.uint8]


def packed_size(num_classes: int) -> int:
    """Bytes per pixel for K classes."""
    return (num_classes + 7) // 8


@dataclass(frozen=True)
class Lookup:
    """The class of each of S possible mask values, or `VOID`: uint8 (S,), and whether the value is known: bool (S,)."""

    table: Uint8
    known: npt.NDArray[np.bool_]

    @cached_property
    def _known_bytes(self) -> bytes:
        return np.flatnonzero(self.known[:256]).astype(np.uint8).tobytes()

    def knows(self, mask: npt.NDArray[Any]) -> bool:
        """True if every value of the mask is known."""
        if mask.dtype == np.uint8:  # the usual case; deleting the known bytes is the fastest test
            return not mask.tobytes().translate(None, self._known_bytes)
        return bool(np.take(self.known, mask).all())

    def classes(self, mask: npt.NDArray[Any]) -> Uint8:
        """The classes of an unsigned integer mask (H, W), `VOID` for values without one: uint8 (H, W)."""
        return np.take(self.table, mask)


def lookup(values: Iterable[tuple[int, int | None]], size: int) -> Lookup:
    """The lookup of (mask value, class or None for void) pairs, for masks with values in 0..size-1.

    The table covers all possible values, so that one step per pixel finds the class, however sparse the values are.
    """
    table, known = np.full(size, VOID, np.uint8), np.zeros(size, np.bool_)
    for value, number in values:
        table[value] = VOID if number is None else number
        known[value] = True
    return Lookup(table, known)


def pack(classes: Uint8, num_classes: int) -> Uint8:
    """One-hot bits of classes, none for `VOID`: uint8 (H, W) -> uint8 (H, W, ceil(K / 8))."""
    return np.take(_packed(num_classes), classes, axis=0)


@cache
def _packed(num_classes: int) -> Uint8:
    """The packed bits of each class and of `VOID`: uint8 (256, ceil(K / 8))."""
    onehot = np.arange(256)[:, None] == np.arange(num_classes)
    return np.packbits(onehot, axis=-1, bitorder="little")


def present(packed: Uint8, num_classes: int) -> npt.NDArray[np.bool_]:
    """Which classes have a pixel: uint8 (H, W, ceil(K / 8)) -> bool (K,)."""
    rows = np.bitwise_or.reduce(packed, axis=0)  # over one axis at a time: 100 times as fast as over both
    bits = np.bitwise_or.reduce(rows, axis=0)
    return np.unpackbits(bits, count=num_classes, bitorder="little").astype(np.bool_)


def unpack(packed: Uint8, num_classes: int) -> Uint8:
    """Classes of packed pixels: uint8 (..., ceil(K / 8)) -> uint8 (...), `VOID` where no bit is set."""
    found = (np.take(table, packed[..., place]) for place, table in enumerate(_lowest(num_classes)))
    return reduce(np.minimum, found)  # the lowest class, as void is above all


@cache
def _lowest(num_classes: int) -> Uint8:
    """The class of the lowest bit set in each of the bytes of a pixel, or `VOID`: uint8 (ceil(K / 8), 256)."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.bool_)
    classes = 8 * np.arange(packed_size(num_classes))[:, None, None] + np.arange(8)
    lowest: npt.NDArray[Any] = np.where(bits & (classes < num_classes), classes, VOID).min(axis=-1)
    return lowest.astype(np.uint8)
