"""Images and masks at another size.

Images are uint8 (H, W, C), RGB, never BGR; masks are (H, W) of unsigned integers.
"""

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

_MOST_CHANNELS = 4  # that OpenCV averages at once

Uint8 = npt.NDArray[np.uint8]
Value = TypeVar("Value", bound=np.unsignedinteger[Any])


def resize_image(image_hwc: Uint8, height: int, width: int) -> Uint8:
    """The image at (height, width): by area averaging if neither side grows, otherwise bilinear."""
    old_height, old_width, channels = image_hwc.shape
    if (old_height, old_width) == (height, width):
        return image_hwc
    shrinks = height <= old_height and width <= old_width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR_EXACT
    if channels > _MOST_CHANNELS:
        parts = np.split(image_hwc, range(_MOST_CHANNELS, channels, _MOST_CHANNELS), axis=2)
        return np.concatenate([resize_image(part, height, width) for part in parts], axis=2)
    resized = cv2.resize(np.ascontiguousarray(image_hwc), (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def resize_mask(mask: npt.NDArray[Value], height: int, width: int) -> npt.NDArray[Value]:
    """The mask at (height, width), by nearest neighbour: no value is new."""
    if mask.shape == (height, width):
        return mask
    values: Any = mask.view(np.int32) if mask.dtype == np.uint32 else mask  # OpenCV 4 has no uint32
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized).view(mask.dtype)


def single_threaded() -> None:
    """From now on OpenCV uses only the calling thread: callers run one image per thread instead."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
