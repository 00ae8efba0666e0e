"""The percentiles of the samples of a split, band by band: exact, in memory that does not grow with the images.

The percentile p is the smallest sample v such that at least p % of the samples are at most v. A sample's key is an
integer of 16 or 32 bits in the same order. Keys of 16 bits are counted one by one. With 32 bits a first pass counts
their upper halves, and a second pass the lower halves of those keys whose upper half is that of a percentile.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.dataset.preparation import Bands, Intensity
from segline.preprocessing import intensity
from segline.preprocessing.image_files.stored_samples import Array, Samples

Int64 = npt.NDArray[np.int64]

HALF = 1 << 16


def measured(where: Path, form: intensity.Percentile, bands: Bands, visit: Callable[["Counts"], None]) -> Intensity:
    """The bounds that two percentiles of all samples give each channel; `where` names the split in errors.

    `visit(counts)` adds every window of every image of train, in any order and from any threads; each pixel once. It is
    called a second time if samples have 32 bits. Samples that are not valid or not finite do not count, nor do those of
    another type than the first file's: `AllPairs` names such files. Raises DataError if a band has no samples, or both
    of its percentiles are the same.
    """
    first = Counts(Counted(bands))
    visit(first)
    totals = first.counts.sum(axis=(1, 2)).tolist()
    if first.dtype is None or not all(totals):
        empty = ", ".join(_name(bands, place) for place, total in enumerate(totals) if not total) or "all images"
        raise DataError(where, f"no valid sample in {empty}", "Check the no-data values, or leave that band out.")
    shares = [Fraction(str(percent)) / 100 for percent in (form.low, form.high)]
    ranks = np.array([[max(1, math.ceil(share * total)) for share in shares] for total in totals])
    keys, left = _place(first.counts, ranks)
    if first.dtype.itemsize == 4:
        second = Counts(Counted(bands, first.dtype, keys))
        visit(second)
        lower, _ = _place(second.counts, left)
        keys = keys * HALF + lower
    low, high = _samples(keys, first.dtype).T
    if same := [f"{_name(bands, place)} ({low[place]:g})" for place in np.flatnonzero(low == high).tolist()]:
        problem = f"percentiles {form.low:g} and {form.high:g} of all samples are equal in {', '.join(same)}"
        remedy = "Set others in preprocess.intensity, or leave that band out of preprocess.bands."
        raise DataError(where, problem, remedy)
    return Intensity("percentile", tuple(map(float, low)), tuple(map(float, high)))


@dataclass(frozen=True)
class Counted:
    """What is counted: samples of type `dtype`, None for that of the first window. Of their keys all bits if they have
    up to 16; otherwise the upper half (n = 1), or with `upper` (C, n) the lower half of keys with these upper halves.
    """

    bands: Bands
    dtype: np.dtype[Any] | None = None
    upper: Int64 | None = None


class Counts:
    """Counts of 16 bits of the keys of each channel's samples, int64 (C, n, 65536). Safe to add to from threads."""

    def __init__(self, counted: Counted) -> None:
        self.counts: Int64 = np.zeros((0, 1, HALF), np.int64)
        self.counted, self.dtype = counted, counted.dtype
        self._lock = Lock()

    def join(self, dtype: np.dtype[Any], counts: Int64) -> None:
        """Adds the counts that another one has, of samples of this type, as `add` adds a window."""
        if self._is_of_type(dtype, len(counts)):
            self.counts += counts

    def add(self, samples: Samples) -> None:
        """Adds a window, unless its samples have another type than `dtype`."""
        values = intensity.chosen(samples.values, self.counted.bands)
        if not self._is_of_type(values.dtype, values.shape[2]):
            return
        for channel in range(values.shape[2]):
            keys = _keys(values[:, :, channel], samples.counted)
            for place, part in enumerate(self._parts(keys, channel)):
                found = np.bincount(part, minlength=HALF)
                with self._lock:
                    self.counts[channel, place] += found

    def _is_of_type(self, dtype: np.dtype[Any], channels: int) -> bool:
        with self._lock:
            self.dtype = self.dtype or dtype
            if dtype == self.dtype and not len(self.counts):
                number = 1 if self.counted.upper is None else self.counted.upper.shape[1]
                self.counts = np.zeros((channels, number, HALF), np.int64)
        return dtype == self.dtype

    def _parts(self, keys: Array, channel: int) -> Iterator[Array]:
        if keys.dtype.itemsize <= 2:
            yield keys
        elif self.counted.upper is None:
            yield keys >> 16
        else:
            halves = keys >> 16
            for upper in self.counted.upper[channel]:
                yield keys[halves == upper] & (HALF - 1)


def _place(counts: Int64, ranks: Int64) -> tuple[Int64, Int64]:
    """The bin that holds the sample of each rank, counted from 1, and its rank within the bin: int64 (C, 2) both."""
    until = np.broadcast_to(counts.cumsum(axis=2), (*ranks.shape, HALF))
    bins = (until < ranks[:, :, None]).sum(axis=2)
    before = np.take_along_axis(until - counts, bins[:, :, None], axis=2)[:, :, 0]
    return bins, ranks - before


def _keys(values: Array, valid: npt.NDArray[np.bool_] | None) -> Array:
    """The samples that count, as unsigned integers of the same size and order."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        valid = finite if valid is None else valid & finite
    counted = values.ravel() if valid is None else values[valid]
    if counted.dtype.kind == "f":
        bits = (counted + np.float32(0)).view(np.uint32)  # -0 becomes 0
        return np.asarray(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)))
    unsigned = np.dtype(f"u{counted.dtype.itemsize}")
    flip = unsigned.type(0 if counted.dtype.kind == "u" else 1 << 8 * unsigned.itemsize - 1)
    return np.asarray(counted.view(unsigned) ^ flip)


def _samples(keys: Int64, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The samples with these keys: the inverse of `_keys`."""
    bits = keys.astype(f"u{dtype.itemsize}")
    top = bits.dtype.type(1 << 8 * dtype.itemsize - 1)
    if dtype.kind == "f":
        bits = np.where(bits & top, bits ^ top, ~bits)
    elif dtype.kind == "i":
        bits = bits ^ top
    return bits.view(dtype)


def _name(bands: Bands, channel: int) -> str:
    if isinstance(bands, tuple):
        return f"band {bands[channel]}"
    return ("R", "G", "B")[channel] if bands == "rgb" else "gray"
