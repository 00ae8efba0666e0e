"""Class indices and pixels -> pictures, as arrays or encoded files. All pictures are uint8 (H, W, 3), RGB."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from segline.dataset import onehot, raw

Uint8 = npt.NDArray[np.uint8]

WRONG = (220, 20, 60)
UNNAMED_VOID = (0, 0, 0)
PANEL_SIDE = 256
TILE_SIDE = 160
FRAME = 6  # pixels: the smallest frame that is seen
JPEG_QUALITY = 90


class Panels(NamedTuple):
    """The four views of one image, all of the same size."""

    image: Uint8
    truth: Uint8
    prediction: Uint8
    error: Uint8


def palette(classes: Sequence[raw.Label], void: raw.Void | None) -> Uint8:
    """The colour of each class index and of `onehot.VOID`: uint8 (256, 3)."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(classes)] = [label.rgb for label in classes]
    colours[onehot.VOID] = void.rgb if void else UNNAMED_VOID
    return colours


def rgb(image: Uint8) -> Uint8:
    """An image (H, W, C) as a picture: its first three channels as red, green, blue; or the first as gray."""
    shown = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    return np.ascontiguousarray(np.broadcast_to(shown, (*image.shape[:2], 3)))


def errors(image: Uint8, truth: Uint8, prediction: Uint8, colours: Uint8) -> Uint8:
    """The picture faded to grey, wrong pixels in `WRONG`; void pixels, which cannot be wrong, in the colour of void."""
    grey = np.broadcast_to(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], image.shape)
    faded = (190 + grey // 4).astype(np.uint8)
    void = truth == onehot.VOID
    faded[truth != prediction] = WRONG
    faded[void] = colours[onehot.VOID]
    return faded


def pair(image: Uint8, indices: Uint8, colours: Uint8) -> tuple[Uint8, Uint8]:
    """Image (H, W, C) and indices (H, W) as pictures of their own size, or shrunk to `TILE_SIDE` on the longer side."""
    factor = min(1, TILE_SIDE / max(indices.shape))
    size = (max(1, round(indices.shape[1] * factor)), max(1, round(indices.shape[0] * factor)))
    exact: Any = cv2.resize(indices, size, interpolation=cv2.INTER_NEAREST)
    picture: Any = cv2.resize(rgb(image), size, interpolation=cv2.INTER_AREA)
    return picture, colours[exact]


def panels(image: Uint8, truth: Uint8, prediction: Uint8, colours: Uint8) -> Panels:
    """Image (H, W, C) and indices (H, W) as four pictures of at most `PANEL_SIDE` on the longer side."""
    factor = PANEL_SIDE / max(image.shape[:2])
    if factor > 1:
        factor = math.floor(factor)
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))

    def exact(indices: Uint8) -> Any:
        return cv2.resize(indices, size, interpolation=cv2.INTER_NEAREST)

    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    picture: Any = cv2.resize(rgb(image), size, interpolation=smooth)
    truth, prediction = exact(truth), exact(prediction)
    return Panels(picture, colours[truth], colours[prediction], errors(picture, truth, prediction, colours))


def outlined(four: Panels, box: tuple[float, float, float, float]) -> Panels:
    """The panels with a frame, black and white, around a part: its top, bottom, left and right as shares."""
    height, width, _ = four.image.shape
    top, bottom = _pixels(box[:2], height)
    left, right = _pixels(box[2:], width)
    copies = [panel.copy() for panel in four]
    for copy in copies:
        for inset, shade in ((1, 255), (0, 0)):
            cv2.rectangle(copy, (left + inset, top + inset), (right - 1 - inset, bottom - 1 - inset), (shade,) * 3)
    return Panels(*copies)


def _pixels(shares: tuple[float, float], side: int) -> tuple[int, int]:
    """Start and end in pixels, at least `FRAME` apart if there is room."""
    start, end = (round(share * side) for share in shares)
    missing = max(0, FRAME - (end - start))
    return max(0, start - missing // 2), min(side, end + missing - missing // 2)


def png(picture: Uint8) -> bytes:
    """The picture as a PNG file: exact, and small if it has few colours."""
    return _encoded(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def jpeg(picture: Uint8) -> bytes:
    """The picture as a JPEG file without chroma subsampling: for photographs."""
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return _encoded(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *sampling])


def _encoded(extension: str, picture: Uint8, settings: list[int]) -> bytes:
    _, buffer = cv2.imencode(extension, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    return buffer.tobytes()
