"""COCO's shapes -> regions: polygons by pycocotools' own rule, compressed and plain run lengths.

Runs go down the columns, alternately outside and inside of the object, and their lengths sum to the image's pixels.
They are checked before anything is made of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask
from pydantic import Field

from segline.sources.collecting.shapes import Faults, Points, Region

Runs = npt.NDArray[np.int64]

MAX_RUNS = 4_000_000  # of an object
MAX_TEXT = 16 << 20  # bytes of compressed run lengths
_MOST_DIGITS = 7  # of a length in base 32: those of 32-bit numbers


@dataclass(frozen=True)
class RunLengths:
    """`size` is height and width; `counts` compressed as text, or plain."""

    size: Annotated[list[int], Field(min_length=2, max_length=2)]
    counts: str | list[int]


Segmentation = list[list[float]] | RunLengths


def drawable(
    segmentation: Segmentation | None, size: tuple[int, int], file: Path, which: str, faults: Faults
) -> list[list[float]] | Runs | None:
    """Of a shape the polygons that can be drawn on an image of that size (height, width), or its checked runs; None if
    nothing can be drawn. Faults are added."""
    if not segmentation:
        faults.add(file, which, "no segmentation; a box alone is no shape")
        return None
    if isinstance(segmentation, list):
        parts = []
        for number, part in enumerate(segmentation, start=1):
            place = which if len(segmentation) == 1 else f"{which}, part {number}"
            if len(part) % 2:
                faults.add(file, place, f"{len(part)} coordinates, expected x and y of each point")
            elif faults.passes(points(part), *size, file, place):
                parts.append(part)
        return parts or None
    try:
        runs = _of_object(segmentation, *size)
    except ValueError as error:
        faults.add(file, which, str(error))
        return None
    if not runs[1::2].any():
        faults.add(file, which, "run lengths of zero area")
        return None
    return runs


def points(part: Sequence[float]) -> Points:
    """x, y, x, y, ... as (N, 2)."""
    return np.array(part, np.float64).reshape(-1, 2)


def _of_object(segmentation: RunLengths, height: int, width: int) -> Runs:
    if segmentation.size != [height, width]:
        theirs = "x".join(map(str, reversed(segmentation.size)))
        raise ValueError(f"run lengths of {theirs} pixels, expected {width}x{height} as the image")
    counts = segmentation.counts
    return of_text(counts.encode(), height, width) if isinstance(counts, str) else of_lengths(counts, height, width)


def of_polygons(parts: Sequence[Sequence[float]], height: int, width: int) -> Runs:
    """The union of polygons, each x, y, x, y, ..., as `COCO.annToMask` draws them; `shapes.Faults.passes` first."""
    merged = coco_mask.merge(coco_mask.frPyObjects([list(part) for part in parts], height, width))
    return of_text(merged["counts"], height, width)


def of_lengths(lengths: Sequence[int], height: int, width: int) -> Runs:
    """Plain run lengths. Raises ValueError unless they are those of an image of this size."""
    if len(lengths) > MAX_RUNS:
        raise ValueError(f"{len(lengths)} run lengths, expected at most {MAX_RUNS}")
    if min(lengths, default=0) < 0 or max(lengths, default=0) > height * width:
        raise ValueError(f"run lengths outside of 0 to {height * width}")
    return _whole(np.array(lengths, np.int64), height, width)


def of_text(text: bytes, height: int, width: int) -> Runs:
    """Compressed run lengths: digits of 5 bits from "0" on, the sixth says that more follow; from the fourth length on
    the difference to the last but one. Raises ValueError unless they are those of an image of this size.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"run lengths of {len(text)} bytes, expected at most {MAX_TEXT}")
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("damaged run lengths")
    last = np.flatnonzero(digits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() >= _MOST_DIGITS:
        raise ValueError("damaged run lengths")
    place = np.arange(digits.size) - np.repeat(first, last - first + 1)
    lengths = np.add.reduceat((digits & 31) << 5 * place, first)
    lengths -= np.where(digits[last] & 16, 1 << 5 * (place[last] + 1), 0)  # negative
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    if lengths.min() < 0 or lengths.max() > height * width:
        raise ValueError(f"run lengths outside of 0 to {height * width}")
    return _whole(lengths, height, width)


def _whole(lengths: Runs, height: int, width: int) -> Runs:
    if (total := int(lengths.sum())) != height * width:
        raise ValueError(f"run lengths of {total} pixels, expected {height * width}")
    return lengths


def region(runs: Runs, height: int) -> Region:
    """The pixels of the object, in the columns from its first to its last."""
    ends = np.cumsum(runs)
    starts, stops = ends[: len(ends) // 2 * 2 : 2], ends[1::2]
    used = np.flatnonzero(stops > starts)
    if not used.size:
        return Region(0, 0, np.zeros((0, 0), np.bool_))
    left, right = starts[used[0]] // height, (stops[used[-1]] - 1) // height + 1
    bounds = np.clip(np.append(0, ends), left * height, right * height)
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, bounds[1:] - bounds[:-1])
    inside = columns.reshape(-1, height).T
    rows = np.flatnonzero(inside.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return Region(top, int(left), inside[top:bottom])
