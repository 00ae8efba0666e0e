"""How far confidence is from accuracy. N images, B bins.

A pixel's confidence is the probability of its class, a whole number of units of 1 / ONE. Counts are int64 (..., B, 3):
the labelled pixels in a bin, those of them that are right, and the sum of their confidences. They add up exactly, so
batches and tiles do not matter. Of B equal bins, bin i has the confidences above i / B up to (i + 1) / B. Void is in
none.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.scoring import resampling

BINS = 15
ONE = 1 << 16

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_BIN = (np.maximum(np.arange(ONE + 1) * BINS - 1, 0) // ONE).astype(np.uint8)


@dataclass(frozen=True)
class Calibrated:
    """The counts int64 (N, B, 3) of the confidences of a split at `temperature`, that of the model file."""

    counts: Counts
    temperature: float

    @property
    def gaps(self) -> Counts:
        """Those of each image, (N, B)."""
        return gaps(self.counts)


def count(confidence: npt.NDArray[np.int32], right: Bools, labelled: Bools) -> Counts:
    """The counts (B, 3) of pixels: their confidences 0..`ONE`, and whether each is right, and labelled, all (H, W)."""
    sure = confidence[labelled]
    place = _BIN[sure]
    sums = np.bincount(place, sure, minlength=BINS).astype(np.int64)  # exact: float64 holds sums below 2^53
    hits = np.bincount(place[right[labelled]], minlength=BINS)
    return np.stack([np.bincount(place, minlength=BINS), hits, sums], axis=-1)


def gaps(counts: Counts) -> Counts:
    """By how much more pixels of a bin are right than their confidences say, in units of 1 / `ONE` pixels: (..., B)."""
    return counts[..., 1] * ONE - counts[..., 2]


def ece(total_gaps: Any, pixels: Any) -> Floats:
    """The expected calibration error of gaps (..., B) that are summed over images with `pixels` (...) in all: (...).

    The mean over the pixels of |accuracy - mean confidence| of their bin; NaN without pixels. Sources: Naeini et al.
    2015; Guo et al. 2017, eq. 3.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(total_gaps).sum(axis=-1) / (np.asarray(pixels, np.float64) * ONE))


def summary(calibrated: Calibrated) -> dict[str, Any]:
    """The error, `ece`, and `calibration`: the temperature, and of each bin its pixels, accuracy and mean confidence.

    The error is left out without a labelled pixel, and so are the rates of a bin without one.
    """
    total = calibrated.counts.sum(axis=0)
    pixels = int(total[:, 0].sum())
    error = {"ece": float(ece(gaps(total), pixels))} if pixels else {}
    bins = [_bin(*row) for row in total.tolist()]
    return error | {"calibration": {"temperature": calibrated.temperature, "bins": bins}}


def _bin(pixels: int, right: int, confidence: int) -> dict[str, float]:
    rates = {"accuracy": right / pixels, "confidence": confidence / pixels / ONE} if pixels else {}
    return {"pixels": pixels, **rates}


def interval(counts: Counts, resamples: int, seed: int) -> dict[str, float] | None:
    """The 95 % interval of the error under resampling of images, from counts (N, B, 3); None for fewer than two.

    Half the width of the bootstrap's percentile interval to either side of the estimate, not below 0. Resampling adds
    to each bin's gap a deviation, whose sign the error drops, so that resamples lie above the estimate: the percentiles
    themselves contain the truth too rarely, see docs/confidence.md.
    """
    labelled = counts[counts[..., 0].any(axis=-1)]
    if len(labelled) < 2:
        return None
    pixels = labelled[..., 0].sum(axis=-1, keepdims=True)
    totals = resampling.totals(np.concatenate([gaps(labelled), pixels], axis=-1), resamples, seed)
    estimate = float(ece(gaps(labelled).sum(axis=0), pixels.sum()))
    low, high = np.percentile(ece(totals[:, :-1], totals[:, -1]), [2.5, 97.5])
    half = float(high - low) / 2
    return {"low": max(0.0, estimate - half), "high": min(1.0, estimate + half)}
