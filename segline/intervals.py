"""How sure a score is: 95 % bootstrap intervals over images."""

from collections.abc import Callable

import numpy as np

from segline import confusion

Interval = dict[str, float]
Statistic = Callable[[confusion.Scores], float]


def over_images(counts: confusion.Counts, statistic: Statistic, resamples: int, seed: int) -> Interval | None:
    """The 2.5 % and 97.5 % percentiles of `statistic` under resampling of images: {"low", "high"}.

    `counts` is int64 (N, K, K), one matrix an image; images without a labelled pixel are left out, and fewer than two
    have no interval (None). Each resample sums as many matrices as there are and scores the sum. The set of classes is
    that of all images; one that a resample holds neither in truth nor in prediction has no IoU there and leaves its
    mean. As scipy's `bootstrap`, whose import takes longer than the draws. Source: Efron and Tibshirani 1993, ch. 13.
    """
    counts = counts[counts.any(axis=(1, 2))]
    if len(counts) < 2:
        return None
    classes = confusion.present(counts.sum(axis=0))

    drawn = np.random.default_rng(seed).integers(0, len(counts), (resamples, len(counts)))
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # exact: sums stay below 2^53; and BLAS knows no integers
    values = []
    for rows in drawn:
        total = (np.bincount(rows, minlength=len(counts)) @ flat).astype(np.int64).reshape(counts.shape[1:])
        values.append(statistic(confusion.scores(total, classes)))
    low, high = np.percentile(values, [2.5, 97.5])
    return {"low": float(low), "high": float(high)}
