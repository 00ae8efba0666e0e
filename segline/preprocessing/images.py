"""Images and masks at another size.

Images are uint8 (H, W, C), RGB, never BGR; masks are (H, W) of unsigned integers.
"""

from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

_MOST_CHANNELS = 4  # that OpenCV averages at once

Uint8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Value = TypeVar("Value", bound=np.unsignedinteger[Any])


def resize_image(image_hwc: Uint8, height: int, width: int, valid: Bool | None = None) -> Uint8:
    """The image at (height, width): by area averaging if neither side grows, otherwise bilinear.

    A pixel that those not `valid`, bool (H, W), would change is the average of the valid ones under it, or 0.
    """
    if image_hwc.shape[:2] == (height, width):
        return image_hwc
    resized = _resized(image_hwc, height, width)
    if valid is not None and not valid.all():
        _average_valid(resized, image_hwc, valid)
    return resized


def _resized(image_hwc: Uint8, height: int, width: int) -> Uint8:
    old_height, old_width, channels = image_hwc.shape
    shrinks = height <= old_height and width <= old_width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR_EXACT
    if channels > _MOST_CHANNELS:
        parts = np.split(image_hwc, range(_MOST_CHANNELS, channels, _MOST_CHANNELS), axis=2)
        return np.concatenate([_resized(part, height, width) for part in parts], axis=2)
    resized = cv2.resize(np.ascontiguousarray(image_hwc), (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def _average_valid(resized: Uint8, image_hwc: Uint8, valid: Bool) -> None:
    """Puts the average of the valid pixels, in integers, halves up, wherever others have a share in `resized`."""
    (height, width), lines = resized.shape[:2], len(valid)
    touched = _resized(np.where(valid, np.uint8(0), np.uint8(255))[:, :, None], height, width)[:, :, 0] > 0
    for row in np.flatnonzero(touched.any(axis=1)).tolist():
        under = slice(row * lines // height, -(-(row + 1) * lines // height))
        edges = np.arange(under.start, under.stop + 1) * height
        shares = np.diff(edges.clip(row * lines, (row + 1) * lines))[:, None] * valid[under]
        sums = np.einsum("nw,nwc->wc", shares, image_hwc[under])
        parts = _sums_of_spans(np.column_stack([sums, shares.sum(axis=0)]), width)
        totals, counts = parts[:, :-1], parts[:, -1:]
        average = (2 * totals + counts) // np.maximum(2 * counts, 1)
        resized[row, touched[row]] = average[touched[row]]


def _sums_of_spans(values: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """`count` times the sums of (W, C) over `count` spans of equal length: int64 (count, C)."""
    places, rest = np.divmod(np.arange(count + 1) * len(values), count)
    values = np.pad(values, ((0, 1), (0, 0)))
    before = values.cumsum(axis=0) - values
    return np.diff(before[places] * count + values[places] * rest[:, None], axis=0)


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
