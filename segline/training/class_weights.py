"""How much each class should count in a loss, from how rare it is. N images, K classes."""

import numpy as np
import numpy.typing as npt


def counts(packed: npt.NDArray[np.uint8], num_classes: int) -> npt.NDArray[np.int64]:
    """Pixels of each class in each image: packed one-hot (N, H, W, ceil(K / 8)) -> (N, K).

    Reads one image after another, so a memory map may be larger than memory.
    """
    single = 1 << np.arange(8)  # a pixel has at most one bit, so a byte that holds its class is that bit and no other
    rows = [
        [np.bincount(row[..., byte].ravel(), minlength=256)[single] for byte in range(packed.shape[-1])]
        for row in packed
    ]
    return np.array(rows, np.int64).reshape(len(packed), -1)[:, :num_classes]


def median_frequency(packed: npt.NDArray[np.uint8], num_classes: int) -> tuple[float, ...]:
    """One weight a class: median(freq) / freq_c, and 0 for a class without a pixel; the median is over the others.

    freq_c is the pixels of class c over the labelled pixels of all images in which c occurs. Source: Eigen and
    Fergus 2015; void is no pixel here.
    """
    pixels = counts(packed, num_classes)
    around = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    there = around > 0
    weights = np.zeros(num_classes)
    if there.any():
        frequency = pixels.sum(axis=0)[there] / around[there]
        weights[there] = np.median(frequency) / frequency
    return tuple(weights.tolist())
