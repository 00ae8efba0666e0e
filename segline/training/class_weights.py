"""Class weights for a loss, from the frequencies of the classes. K classes."""

import numpy as np
import numpy.typing as npt

from segline.dataset import processed


def counts(split: processed.Split) -> npt.NDArray[np.int64]:
    """Pixels of each class in each image, int64 (images, K); where rows overlap, a pixel counts once.

    Rows are read one at a time, so a memory map may be larger than memory.
    """
    single = 1 << np.arange(8)  # a pixel has at most one bit set, so the byte of its class equals that bit
    index, num_bytes = split.index, split.onehot.shape[-1]
    pixels = np.zeros((len(index.origins), num_bytes, 8), np.int64)
    for row, packed, (top, bottom, left, right) in zip(index.rows, split.onehot, index.owned, strict=True):
        owned = packed[top:bottom, left:right]
        for byte in range(num_bytes):
            pixels[row.origin, byte] += np.bincount(owned[..., byte].ravel(), minlength=256)[single]
    return pixels.reshape(len(pixels), -1)[:, : len(index.classes)]


def median_frequency(split: processed.Split) -> tuple[float, ...]:
    """One weight per class: median(freq) / freq_c, and 0 for a class without a pixel; the median is over the others.

    freq_c is the number of pixels of class c over that of the labelled pixels in all images that contain c. Source:
    Eigen and Fergus 2015.
    """
    pixels = counts(split)
    labelled = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    occurs = labelled > 0
    weights = np.zeros(len(occurs))
    if occurs.any():
        frequency = pixels.sum(axis=0)[occurs] / labelled[occurs]
        weights[occurs] = np.median(frequency) / frequency
    return tuple(weights.tolist())
