"""Index masks <-> one-hot vectors packed into bits.

Layout of a packed pixel: ceil(K / 8) bytes, bit k (little bit order) set = class k. At most one bit is set;
no bit set = void. K <= 255.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

VOID = 255
UNKNOWN = 256

Uint8 = npt.NDArray[np.uint8]


def packed_size(num_classes: int) -> int:
    """Bytes a pixel for K classes."""
    return (num_classes + 7) // 8


def class_table(num_labels: int, void: int | None, void_is_class: bool) -> npt.NDArray[np.uint16]:
    """Maps a mask value 0..255 to a class, `VOID` or `UNKNOWN`: uint16 (256,).

    Values 0..num_labels-1 are classes; `void` is no class, or class `num_labels` when `void_is_class`.
    """
    table = np.full(256, UNKNOWN, np.uint16)
    table[:num_labels] = np.arange(num_labels)
    if void is not None:
        table[void] = num_labels if void_is_class else VOID
    return table


def packed_table(classes: npt.NDArray[np.uint16], num_classes: int) -> Uint8:
    """Maps a mask value to its packed one-hot vector: uint8 (256, ceil(K / 8)), void and unknown to no bit at all."""
    onehot = classes[:, None] == np.arange(num_classes)
    return np.packbits(onehot, axis=-1, bitorder="little")


def pack(mask: Uint8, table: Uint8) -> Uint8:
    """One-hot bits of an index mask: uint8 (H, W) by `packed_table` -> uint8 (H, W, ceil(K / 8))."""
    return np.take(table, mask, axis=0)


def unpack(packed: Uint8, num_classes: int) -> Uint8:
    """Classes of packed pixels: uint8 (..., ceil(K / 8)) -> uint8 (...), `VOID` where no bit is set."""
    bits: npt.NDArray[Any] = np.unpackbits(packed, axis=-1, count=num_classes, bitorder="little")
    return np.where(bits.any(axis=-1), bits.argmax(axis=-1), VOID).astype(np.uint8)
