"""Masks whose values were smoothed, resampled or compressed: recognised by the histogram, never by single pixels.

A few values then hold nearly all pixels, and a cloud of rare ones lies between and around them. None of these is a
class. Masks of many classes, of which most are rare, must not be taken for smeared ones: hence several conditions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

Counts = Mapping[int, int]  # mask value -> pixels

_SPAN = 32  # from black to white, at least: class indices are dense
_OTHERS = 4  # values besides the two, at least
_SHARE = 0.8  # of the pixels that the two hold together, at least
_RARE = 0.25  # of the pixels of black or white, at most, for each other value
_ENDS = 0.9  # of the pixels in the darkest and the brightest quarter, at least, for JPEG
_COMMON, _COMMON_SHARE = 0.01, 0.9  # of the pixels: on each common value, and on all of them, at least
_APART = 16  # from one common value to the next, at least: class indices are dense
_NEAR = 4.0  # from the line between two colours, in levels: a mixture of both
_MOST = 24  # common colours that are compared in pairs


@dataclass(frozen=True)
class Binary:
    """Black `low` and white `high` hold `share` of the pixels, `others` values the rest; `threshold` divides them."""

    low: int
    high: int
    share: float
    others: int

    @property
    def threshold(self) -> int:
        """Halfway: values above it belong to `high`."""
        return (self.low + self.high) // 2


def binary(counts: Counts, jpeg: bool = False) -> Binary | None:
    """Two values and a cloud around both, or None.

    JPEG always smears, so for it two values far apart are enough: nearly all pixels close to one or the other.
    """
    if len(counts) < 2 or max(counts) - min(counts) < _SPAN:
        return None
    middle = (min(counts) + max(counts)) // 2
    halves = [[value for value in counts if (value > middle) is upper] for upper in (False, True)]
    low, high = (max(half, key=lambda value: (counts[value], value)) for half in halves)
    total = sum(counts.values())
    share = (counts[low] + counts[high]) / total
    smeared = Binary(low, high, share, len(counts) - 2)
    if jpeg:
        quarter = (max(counts) - min(counts)) / 4
        between = [n for value, n in counts.items() if quarter < value - min(counts) < 3 * quarter]
        at_ends = sum(between) <= (1 - _ENDS) * total
        return smeared if at_ends and max(between, default=0) <= _RARE * min(counts[low], counts[high]) else None
    rare = all(
        counts[value] <= _RARE * counts[anchor]
        for half, anchor in zip(halves, (low, high), strict=True)
        for value in half
        if value != anchor
    )
    around_both = all(len(half) > 1 for half in halves)  # 255 alone above the classes is void
    return smeared if rare and around_both and share >= _SHARE and smeared.others >= _OTHERS else None


def common_values(counts: Counts) -> list[int]:
    """The few values, far apart, of masks in which many others lie around them, ascending; empty for other masks."""
    common = _common(counts)
    apart = all(second - first >= _APART for first, second in pairwise(common))
    around = all(  # 255 alone above the classes is void
        any((first + second) // 2 < value < second for value in counts) for first, second in pairwise(common)
    )
    return common if len(common) > 1 and apart and around else []


def common_colours(counts: Counts) -> list[int]:
    """The few colours r << 16 | g << 8 | b of masks in which the others are mixtures of two of them, ascending."""
    common = _common(counts)
    if not 1 < len(common) <= _MOST:
        return []
    others = [code for code in counts if code not in common]
    points, nearest = _points(others), np.full(len(others), np.inf)
    for first, second in combinations(_points(common), 2):
        along = second - first
        place = np.clip((points - first) @ along / (along @ along), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(points - first - place[:, None] * along, axis=1))
    pixels = np.array([counts[code] for code in others])
    return common if pixels[nearest <= _NEAR].sum() >= _COMMON_SHARE * pixels.sum() else []


def _common(counts: Counts) -> list[int]:
    """The values on a hundredth of all pixels or more, if they hold nearly all and are far fewer than the others."""
    total = sum(counts.values())
    common = sorted(value for value, count in counts.items() if count >= _COMMON * total)
    held = sum(counts[value] for value in common)
    return common if held >= _COMMON_SHARE * total and len(counts) >= 5 * len(common) + _OTHERS else []


def _points(codes: Sequence[int]) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    return np.array([(code >> 16, code >> 8 & 255, code & 255) for code in codes], np.float64)
