"""An image blended with the colours of its classes, with a legend below. Pictures are uint8 (H, W, 3), RGB."""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt

from segline.dataset import raw
from segline.reporting import drawing

Uint8 = npt.NDArray[np.uint8]

ALPHA = 0.5
NAME_LENGTH = 24
LINE = 22  # pixels of a line of the legend; at least 1/40 of the longer side, as large pictures are viewed shrunk
INK, FRAME = (31, 36, 48), (107, 114, 128)
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5 / LINE
_DRAWING = Lock()  # OpenCV reads its font once per drawing thread (25 ms): one draws, the others wait for it


def blend(image: Uint8, mask: Uint8, colours: Uint8) -> Uint8:
    """(1 - ALPHA) times the image (H, W, C) plus ALPHA times each pixel's class colour; `colours` is uint8 (256, 3)."""
    colour = cv2.applyColorMap(mask, colours.reshape(256, 1, 3))
    return np.asarray(cv2.addWeighted(drawing.rgb(image), 1 - ALPHA, colour, ALPHA, 0), np.uint8)


def picture(image: Uint8, mask: Uint8, classes: Sequence[raw.Label]) -> Uint8:
    """`blend` at the image's own size in the upper left corner, and below it a legend of the classes in the mask."""
    height, width = mask.shape
    line = max(LINE, max(height, width) // 40)
    present = np.bincount(mask.ravel(), minlength=len(classes)) > 0
    with _DRAWING:
        entries = [entry for entry, there in zip(_entries(tuple(classes), line), present, strict=True) if there]
    wide = max(entry.shape[1] for entry in entries)
    columns = max(1, width // wide)
    rows = -(-len(entries) // columns)
    canvas = np.full((height + rows * line, max(width, wide), 3), 255, np.uint8)
    canvas[:height, :width] = blend(image, mask, drawing.palette(classes, None))
    for place, entry in enumerate(entries):
        top, left = height + place // columns * line, place % columns * wide
        canvas[top : top + line, left : left + entry.shape[1]] = entry
    return canvas


@lru_cache(maxsize=4)
def _entries(classes: tuple[raw.Label, ...], line: int) -> list[Uint8]:
    return [_entry(label, line) for label in classes]


def _entry(label: raw.Label, line: int) -> Uint8:
    """A swatch and the name, on white, `line` pixels high."""
    name = " ".join(label.name.split())
    name = name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 3]}..."
    scale, thickness, margin = _SCALE * line, max(1, line // LINE), line // 5
    (length, height), _ = cv2.getTextSize(name, _FONT, scale, thickness)
    entry = np.full((line, line + length + 3 * margin, 3), 255, np.uint8)
    corners = (margin, margin), (line - margin, line - margin)
    cv2.rectangle(entry, *corners, label.rgb, cv2.FILLED)
    cv2.rectangle(entry, *corners, FRAME, 1)
    cv2.putText(entry, name, (line, (line + height) // 2), _FONT, scale, INK, thickness, cv2.LINE_AA)
    return entry
