"""The bootstrap over images: sums of what was counted in as many images as there are, drawn with replacement."""

from typing import Any

import numpy as np
import numpy.typing as npt


def totals(counts: npt.NDArray[np.integer[Any]], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """The sums float64 (resamples, ...) of the counts (N, ...) of the images drawn; exact below 2^53.

    Source: Efron and Tibshirani 1993, ch. 6. Equals scipy's `bootstrap`, whose import takes longer than the draws.
    """
    random = np.random.default_rng(seed)
    drawn = (random.integers(0, len(counts), len(counts)) for _ in range(resamples))  # all at once take 8 KB an image
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # for BLAS
    sums = np.stack([np.bincount(rows, minlength=len(counts)) @ flat for rows in drawn])
    return sums.reshape(resamples, *counts.shape[1:])
