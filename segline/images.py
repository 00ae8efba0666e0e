"""Pixels: files -> checked arrays -> resized arrays -> PNG. The only room that decodes images.

Layouts: images uint8 (H, W, C), C = 1 (gray) or 3 (RGB); masks uint8 (H, W), a class index a pixel. BGR never leaves.
"""

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from segline import atomic, containers
from segline.errors import DataError

MAX_BYTES = 1 << 28
MAX_PIXELS = 1 << 26  # 8192 x 8192: at most 201 MB a decoded image, in each thread

Uint8 = npt.NDArray[np.uint8]

_REMEDIES = {
    "palette": "Save it without a palette",
    "gray with alpha": "Remove the alpha channel",
    "RGB with alpha": "Remove the alpha channel",
    "CMYK": "Convert it to RGB",
}
_UPRIGHT = "Turn the pixels upright and drop the tag (`mogrify -auto-orient`), for image and mask alike."


def read(path: Path) -> bytes:
    """The content of a regular file of at most 256 MiB; never waits on a pipe or a device. Raises DataError.

    Links are followed: DVC may link data to its cache. Hash and decode this one buffer, and no change slips between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise DataError(path, "missing", "Put it back, or run the download stage again.") from None
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", "Check the file and its permissions.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(path, "a folder, pipe or device, expected a file", "Remove it.")
        if status.st_size > MAX_BYTES:
            raise DataError(path, f"{status.st_size} bytes, expected at most {MAX_BYTES}", "Save a smaller image.")
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
            return stream.readall()
    finally:
        os.close(descriptor)


def decode_image(content: bytes, where: Path, channels: int | None = None) -> Uint8:
    """An 8-bit gray or RGB image, upright: uint8 (H, W, 1) or (H, W, 3). Raises DataError that names `where`."""
    header = _inspect(content, where)
    if header.colour not in ("gray", "RGB"):
        remedy = _REMEDIES.get(header.colour, "Save it as plain 8-bit RGB or gray PNG")
        raise DataError(where, f"{header.colour}, expected RGB or gray", f"{remedy}.")
    if header.depth != 8:
        raise DataError(where, f"{header.depth} bits a channel, expected 8", "Convert it to 8 bits a channel.")
    if header.orientation != 1:
        raise DataError(where, f"Exif orientation {header.orientation}, expected 1 (upright)", _UPRIGHT)
    if channels == 1 or (channels is None and header.colour == "gray"):
        return _decode(content, where, header, cv2.IMREAD_GRAYSCALE)[:, :, None]
    return _decode(content, where, header, cv2.IMREAD_COLOR_RGB)


def decode_mask(content: bytes, where: Path) -> Uint8:
    """An index mask from an 8-bit gray PNG, value for value: uint8 (H, W). Raises DataError that names `where`."""
    header = _inspect(content, where)
    if header.format != "PNG":
        remedy = "JPEG smears class values: export the mask anew, as PNG."
        raise DataError(where, f"a {header.format} mask, expected PNG", remedy)
    if (header.colour, header.depth, header.orientation) != ("gray", 8, 1):
        turned = f" with Exif orientation {header.orientation}" if header.orientation != 1 else ""
        found = f"{header.depth}-bit {header.colour} mask{turned}, expected 8-bit gray, one class index a pixel"
        raise DataError(where, found, "Convert it to class indices, saved as 8-bit gray PNG.")
    return _decode(content, where, header, cv2.IMREAD_GRAYSCALE)


def _inspect(content: bytes, where: Path) -> containers.Header:
    header = containers.inspect(content, where)
    if header.height * header.width > MAX_PIXELS:
        found = f"{header.width}x{header.height} pixels, expected at most {MAX_PIXELS} in all"
        raise DataError(where, found, "Cut it into tiles.")
    return header


def _decode(content: bytes, where: Path, header: containers.Header, mode: int) -> Uint8:
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise DataError(where, "damaged: the pixels cannot be decoded", containers.AGAIN)
    return np.asarray(pixels, np.uint8)


def resize_image(image_hwc: Uint8, height: int, width: int) -> Uint8:
    """The image at (height, width): the mean over each pixel's area when neither side grows, else bilinear."""
    old_height, old_width, channels = image_hwc.shape
    if (old_height, old_width) == (height, width):
        return image_hwc
    shrinks = height <= old_height and width <= old_width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR_EXACT
    resized = cv2.resize(image_hwc, (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def resize_mask(mask: Uint8, height: int, width: int) -> Uint8:
    """The mask at (height, width): each value is that of the pixel whose centre is nearest, so none is new."""
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def write_png(path: Path, pixels: Uint8) -> None:
    """Writes uint8 (H, W), (H, W, 1) or (H, W, 3) RGB; equal pixels give equal bytes."""
    ordered = pixels[:, :, ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    _, content = cv2.imencode(".png", np.ascontiguousarray(ordered))
    with atomic.file(path) as temporary:
        temporary.write_bytes(content.tobytes())


@contextmanager
def muffled() -> Iterator[Callable[[], str]]:
    """Inside, what libpng and libjpeg write to standard error goes to a file; Python's own messages still come out.

    Yields a function that returns what was written since it was last called. libjpeg tells of damaged pixels only there
    and decodes on. This moves a file descriptor of the whole process: only a stage may use it.
    """
    if sys.stderr is None:  # closed by the caller
        yield lambda: ""
        return
    sys.stderr.flush()
    shown, python_stderr = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as caught, os.fdopen(shown, "w", buffering=1, encoding="utf-8") as stream:
        descriptor, position = caught.fileno(), 0

        def heard() -> str:
            nonlocal position
            text = os.pread(descriptor, os.fstat(descriptor).st_size - position, position)  # leaves the writers' offset
            position += len(text)
            return text.decode("utf-8", "replace")

        os.dup2(descriptor, 2)
        if _writes_to(python_stderr, 2):
            sys.stderr = stream
        try:
            yield heard
        finally:
            sys.stderr = python_stderr
            os.dup2(shown, 2)


def _writes_to(stream: object, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor  # type: ignore[attr-defined,no-any-return]
    except (AttributeError, OSError):
        return False  # replaced by an object without a descriptor, as tests do


def single_threaded() -> None:
    """From here on OpenCV works on the calling thread: the caller runs one image a thread instead."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
