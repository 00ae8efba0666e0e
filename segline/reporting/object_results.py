"""What became of the objects of a split, as evaluate wrote it: by size, and outlined on the image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from segline.dataset import processed
from segline.dataset.history import Rate
from segline.dataset.objects import semantic
from segline.reporting import drawing, results
from segline.reporting.drawing import Uint8

Kind = Literal["matched", "split", "merged", "missed", "invented"]
# In the order in which outlines are numbered; told apart also by the colour-blind (Okabe and Ito 2008).
COLOURS: dict[Kind, tuple[int, int, int]] = {
    "matched": (0, 158, 115),
    "split": (86, 180, 233),
    "merged": (240, 228, 66),
    "missed": (213, 94, 0),
    "invented": (204, 121, 167),
}
EDGES = (0, 8, 16, 32, 64)  # pixels: the side of a square as large as the smallest objects of a row


class Row(BaseModel):
    """An object, true or predicted; its pixels are those where the truth is known."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    image: str
    name: str = Field(alias="class")
    side: Literal["true", "predicted"]
    pixels: int = Field(ge=1)
    kind: Kind
    score: Annotated[Rate | None, BeforeValidator(lambda field: None if field == "" else field)]


@dataclass(frozen=True)
class Objects:
    """All objects of the split, and outlines uint8 (N, H, W), as rows of the processed arrays: 1 + place in COLOURS."""

    rows: Sequence[Row]
    outlines: Uint8


@dataclass(frozen=True)
class Size:
    """How many objects of a size there are, and how many of them are of each kind: `true` and `predicted` ones."""

    label: str
    true: dict[Kind, int]
    predicted: dict[Kind, int]


def scored(index: processed.Index) -> processed.Index:
    """The index as scores see it: without the borders of objects, which count as their classes."""
    return replace(index, classes=semantic(index.classes, index.objects), objects=None)


def read(folder: Path, split: processed.Split) -> Objects | None:
    """The objects in the folder of predictions; None if evaluate found none. Raises DataError."""
    name = split.index.split
    if not (folder / f"{name}-objects.csv").exists():
        return None
    outlines = results.read_rows(folder / f"{name}-outlines.npy", split, len(COLOURS) + 1)
    return Objects(results.read_table(folder / f"{name}-objects.csv", Row, empty=True), outlines)


def by_size(rows: Sequence[Row]) -> list[Size]:
    """The objects by their own size, the smallest first; sizes without one are left out."""
    sizes = []
    for low, high in pairwise((*EDGES, math.inf)):
        there = [row for row in rows if low**2 <= row.pixels < high**2]
        if there:
            label = f"{low**2:,} and more" if high == math.inf else f"{low**2:,} to {int(high) ** 2 - 1:,}"
            sizes.append(Size(label, *(_counts(there, side) for side in ("true", "predicted"))))
    return sizes


def _counts(rows: Sequence[Row], side: str) -> dict[Kind, int]:
    return {kind: sum(row.kind == kind and row.side == side for row in rows) for kind in COLOURS}


def outlined(image: Uint8, outlines: Uint8) -> Uint8:
    """The picture (H, W, 3) with the outlines (H, W) on it, each pixel enlarged as `drawing.panels` does."""
    colours = np.array([(0, 0, 0), *COLOURS.values()], np.uint8)
    drawn = np.where(outlines[..., None] > 0, colours[outlines], image)
    factor = max(1, drawing.PANEL_SIDE // max(outlines.shape))
    size = outlines.shape[1] * factor, outlines.shape[0] * factor
    return np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_NEAREST), np.uint8)
