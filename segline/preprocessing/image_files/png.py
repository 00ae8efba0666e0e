"""PNG files of our own."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segline.core import atomic


def write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Writes uint8 (H, W), (H, W, 1) or (H, W, 3) RGB; equal pixels give equal bytes."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    _, content = cv2.imencode(".png", ordered)
    with atomic.file(path) as temporary:
        temporary.write_bytes(content.tobytes())
