"""Class weights for a loss, from the frequencies of the classes. N images, K classes."""

import numpy as np
import numpy.typing as npt


def counts(packed: npt.NDArray[np.uint8], num_classes: int) -> npt.NDArray[np.int64]:
    """Pixels of each class in each image: packed one-hot (N, H, W, ceil(K / 8)) -> (N, K).

    Images are read one at a time, so a memory map may be larger than memory.
    """
    single = 1 << np.arange(8)  # a pixel has at most one bit set, so the byte of its class equals that bit
    rows = [
        [np.bincount(row[..., byte].ravel(), minlength=256)[single] for byte in range(packed.shape[-1])]
        for row in packed
    ]
    return np.array(rows, np.int64).reshape(len(packed), -1)[:, :num_classes]


def median_frequency(packed: npt.NDArray[np.uint8], num_classes: int) -> tuple[float, ...]:
    """One weight per class: median(freq) / freq_c, and 0 for a class without a pixel; the median is over the others.

    freq_c is the number of pixels of class c over that of the labelled pixels in all images that contain c. Source:
    Eigen and Fergus 2015.
    """
    pixels = counts(packed, num_classes)
    labelled = np.where(pixels > 0, pixels.sum(axis=1, keepdims=True), 0).sum(axis=0)
    occurs = labelled > 0
    weights = np.zeros(num_classes)
    if occurs.any():
        frequency = pixels.sum(axis=0)[occurs] / labelled[occurs]
        weights[occurs] = np.median(frequency) / frequency
    return tuple(weights.tolist())
