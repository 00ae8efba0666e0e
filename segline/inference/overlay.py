"""An image blended with the colours of its classes, with a legend below. Pictures are uint8 (H, W, 3), RGB.

An image with a side above `MAX_SIDE` is scaled down by a whole factor. Its lines and those of its mask come in bands:
only the picture is in memory.
"""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import cv2
import numpy as np
import numpy.typing as npt

from segline.dataset import raw
from segline.inference.line_blocks import LineBlocks
from segline.reporting import drawing

Uint8 = npt.NDArray[np.uint8]

MAX_SIDE = 4096
ALPHA = 0.5
NAME_LENGTH = 24
LINE = 22  # pixels of a line of the legend; at least 1/40 of the longer side, as large pictures are viewed shrunk
INK, FRAME = (31, 36, 48), (107, 114, 128)
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5 / LINE
_DRAWING = Lock()  # OpenCV reads its font once per drawing thread (25 ms): one draws, the others wait for it


class Canvas:
    """The picture of an image of this size, filled from the top: with bands of the image, then with its classes.

    `factor` pixels of the image, down and across, become one.
    """

    def __init__(self, height: int, width: int, classes: Sequence[raw.Label]) -> None:
        self._classes, self._colours = classes, drawing.palette(classes, None).reshape(256, 1, 3)
        self.factor = -(-max(height, width) // MAX_SIDE)
        self._pixels = np.zeros((-(-height // self.factor), -(-width // self.factor), 3), np.uint8)
        self._image_lines = LineBlocks(self.factor, height, self._show)
        self._mask_lines = LineBlocks(self.factor, height, self._blend)

    def add_image(self, lines: Uint8) -> None:
        """The next lines of the image (n, W, C): the first three bands as RGB, or the first as gray if C < 3."""
        self._image_lines.append(drawing.rgb(lines))

    def add_mask(self, lines: Uint8) -> None:
        """The next lines of class indices (n, W), once the same lines of the image are there; from any thread."""
        self._mask_lines.append(lines)

    def picture(self, present: npt.NDArray[np.bool_]) -> Uint8:
        """The blended image in the upper left corner, and below it a legend of the classes `present`, bool (K,)."""
        height, width = self._pixels.shape[:2]
        line = max(LINE, max(height, width) // 40)
        with _DRAWING:
            drawn = _entries(tuple(self._classes), line)
            entries = [entry for entry, there in zip(drawn, present, strict=True) if there]
        wide = max((entry.shape[1] for entry in entries), default=1)
        columns = max(1, width // wide)
        rows = -(-len(entries) // columns)
        picture = np.full((height + rows * line, max(width, wide), 3), 255, np.uint8)
        picture[:height, :width] = self._pixels
        for place, entry in enumerate(entries):
            top, left = height + place // columns * line, place % columns * wide
            picture[top : top + line, left : left + entry.shape[1]] = entry
        return picture

    def _show(self, first: int, lines: Uint8) -> None:
        shrunk = _shrunk(lines, self.factor)
        self._pixels[first // self.factor :][: len(shrunk)] = shrunk

    def _blend(self, first: int, lines: Uint8) -> None:
        colours = _shrunk(np.asarray(cv2.applyColorMap(lines, self._colours), np.uint8), self.factor)
        part = self._pixels[first // self.factor :][: len(colours)]
        part[:] = cv2.addWeighted(part, 1 - ALPHA, colours, ALPHA, 0)


def _shrunk(lines: Uint8, by: int) -> Uint8:
    """The mean of each `by` x `by` pixels of (n, W, C); where the last are fewer, their edge is repeated."""
    if by == 1:
        return lines
    height, width = (-(-side // by) for side in lines.shape[:2])
    missing = height * by - lines.shape[0], width * by - lines.shape[1]
    whole = cv2.copyMakeBorder(lines, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    mean = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(mean, np.uint8).reshape(height, width, -1)


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
