"""PNG files of our own."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segline.core import atomic


def encoded(pixels: npt.NDArray[np.unsignedinteger[Any]]) -> bytes:
    """The PNG file of uint8 or uint16 (H, W), or uint8 (H, W, 1) or (H, W, 3) RGB; equal pixels give equal bytes."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    _, content = cv2.imencode(".png", ordered)
    return content.tobytes()


def write_png(path: Path, pixels: npt.NDArray[np.unsignedinteger[Any]]) -> None:
    """Writes what `encoded` makes of the pixels."""
    with atomic.file(path) as temporary:
        temporary.write_bytes(encoded(pixels))
