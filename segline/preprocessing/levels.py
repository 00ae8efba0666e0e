"""How many gray levels are left of images of more than 8 bits a sample, once they are bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.dataset.preparation import Intensity, Preparation
from segline.preprocessing import intensity
from segline.preprocessing.image_files.stored_samples import Array, Samples

FEW = 64
_NARROWER = "{by: percentile, low: 2, high: 98}"


@dataclass(frozen=True)
class Kept:
    """The channel of an image that keeps the fewest levels: `left` of the `had` that its samples have.

    `had` may be too low if samples have 32 bits. The samples lie from `low` to `high`; the values from `black` to
    `white` become 0 to 255. An image with `FEW` levels or more in all channels may have been counted in part.
    """

    left: int
    had: int
    low: float
    high: float
    black: float
    white: float

    @property
    def is_poor(self) -> bool:
        """True if few levels are left of more."""
        return self.left < min(FEW, self.had)


class Counter:
    """Counts the levels of one image, window by window."""

    def __init__(self, preparation: Preparation) -> None:
        self._bands, self._rule = preparation.bands, preparation.intensity
        self._channels = [_Channel() for _ in range(preparation.channels)]

    def add(self, samples: Samples, pixels: npt.NDArray[np.uint8]) -> None:
        """Adds a window: the samples of the file, and the bytes (h, w, C) that they become."""
        if samples.values.dtype.itemsize == 1 or all(channel.left >= FEW for channel in self._channels):
            return
        values = intensity.chosen(samples.values, self._bands)
        counted = slice(None) if samples.valid is None else samples.valid
        for number, channel in enumerate(self._channels):
            channel.add(values[:, :, number][counted].ravel(), pixels[:, :, number][counted].ravel())

    def kept(self) -> Kept | None:
        """What is left of the whole image; None if it has 8 bits a sample, or no valid one."""
        channels = [channel.kept(self._rule, number) for number, channel in enumerate(self._channels) if channel.left]
        return min(channels, key=lambda kept: (not kept.is_poor, kept.left), default=None)


class _Channel:
    def __init__(self) -> None:
        self._bytes, self._samples = np.zeros(1 << 8, np.bool_), np.zeros(1 << 16, np.bool_)
        self._range: Array = np.zeros(0)

    @property
    def left(self) -> int:
        return int(np.count_nonzero(self._bytes))

    def add(self, samples: Array, pixels: npt.NDArray[np.uint8]) -> None:
        if not samples.size:
            return
        bits = samples.view(np.dtype(f"u{samples.dtype.itemsize}"))
        self._samples[bits if bits.dtype.itemsize == 2 else (bits ^ bits >> 16) & 0xFFFF] = True
        self._bytes[pixels] = True
        extremes = np.array([samples.min(), samples.max()])
        self._range = np.array([*self._range, *extremes], samples.dtype)
        self._range = np.array([self._range.min(), self._range.max()])

    def kept(self, rule: Intensity, channel: int) -> Kept:
        low, high = self._range
        if rule.by == "full":
            limits = np.iinfo(self._range.dtype)
            black, white = float(limits.min), float(limits.max)
        else:
            black, white = rule.low[channel], rule.high[channel]
        return Kept(self.left, int(np.count_nonzero(self._samples)), float(low), float(high), black, white)


def better(rule: Intensity) -> str:
    """What `preprocess` had better do if this rule leaves few levels."""
    setting = _NARROWER if rule.by == "percentile" else intensity.USUAL
    return f"Better, in preprocess: intensity: {setting}"


def lost(kept: Sequence[tuple[Path, Kept]], remedy: str) -> Iterator[str]:
    """A sentence on images of more than 8 bits, if few levels are left of some, with a remedy."""
    poor = [each for each in kept if each[1].is_poor]
    if not poor:
        return
    path, worst = min(poor, key=lambda each: each[1].left)
    yield (
        f"{len(poor)} of {len(kept)} images of more than 8 bits keep fewer than {FEW} gray levels, such as {path}: "
        f"{worst.left} levels of {worst.had}, as its samples lie in {worst.low:g} to {worst.high:g} while "
        f"{worst.black:g} to {worst.white:g} become 0 to 255. {remedy}"
    )
