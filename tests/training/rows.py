"""Processed splits, whose rows are whole masks or tiles of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from segline.dataset import onehot, raw, tiling
from segline.dataset.onehot import VOID
from segline.dataset.origins import Origin
from segline.dataset.preparation import Preparation
from segline.dataset.processed import Index, Split
from tests import tiny

TILES = replace(tiny.stretched(64, 64), fit="tile")  # neighbours start 32 pixels apart and share 32


def split(masks: Sequence[np.ndarray], num_classes: int, preparation: Preparation | None = None) -> Split:
    """Masks of classes or `VOID` as rows; without a preparation they are of one size and stay whole.

    The images show the classes. What sticks out of a mask is void.
    """
    preparation = preparation or tiny.stretched(*masks[0].shape)
    origins = tuple(Origin(f"{n}", None, *mask.shape, "i", "m", "0" * 64, "0" * 64) for n, mask in enumerate(masks))
    cut = []
    for mask in masks:
        grid = tiling.grid(preparation, *mask.shape)
        height, width = grid.tops[-1] + preparation.height, grid.lefts[-1] + preparation.width
        padding = (0, max(0, height - mask.shape[0])), (0, max(0, width - mask.shape[1]))
        padded = np.pad(mask, padding, constant_values=VOID)
        for top, left in grid.windows:
            cut.append(padded[top : top + preparation.height, left : left + preparation.width])
    labels = tuple(raw.Label(f"class {k}", (k, k, k)) for k in range(num_classes))
    index = Index("rows", "train", labels, None, False, "index", (), preparation, origins=origins)
    classes = np.array(cut, np.uint8)
    images = classes[..., None].repeat(preparation.channels, axis=-1)
    return Split(index, images, np.array([onehot.pack(row, num_classes) for row in classes]))


def write(folder: Path, split: Split) -> None:
    """Writes a split, in place of another."""
    tiny.write_split(folder, split.index, split.images, split.onehot)
