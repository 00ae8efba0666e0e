"""Files -> checked arrays -> resized arrays -> PNG. The only module that decodes images.

Images are uint8 (H, W, C), C = 1 (gray) or 3 (RGB, never BGR); masks are (H, W) of unsigned integers.
"""

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from segline.core import atomic, untrusted
from segline.core.errors import DataError, IntegrityError
from segline.preprocessing import headers

MAX_BYTES = 1 << 28
MAX_PIXELS = 1 << 26  # 8192 x 8192: at most 201 MB a decoded image, in each thread

Uint8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.unsignedinteger[Any]]
Value = TypeVar("Value", bound=np.unsignedinteger[Any])

_REMEDIES = {
    "palette": "Save it without a palette",
    "gray with alpha": "Remove the alpha channel",
    "RGB with alpha": "Remove the alpha channel",
    "CMYK": "Convert it to RGB",
}
_MASKS = {  # encoding -> the colours of its PNG files, and how a message names them
    "index": (("gray", "palette"), "gray or palette, one class index per pixel"),
    "rgb": (("RGB",), "8-bit RGB, one colour per class"),
}
_UPRIGHT = "Rotate the pixels and drop the tag (`mogrify -auto-orient`), for image and mask alike."


def read(path: Path) -> bytes:
    """The content of a regular file of at most 256 MiB; never waits on a pipe or a device. Raises DataError.

    Links are followed: DVC may link data to its cache. Hash and decode this one buffer: both then see the same bytes.
    """
    try:
        return untrusted.read(path, MAX_BYTES)
    except FileNotFoundError as error:
        is_link = path.is_symlink()
        remedy = (
            "Put back what it leads to, or remove it." if is_link else "Put it back, or run the download stage again."
        )
        raise DataError(path, untrusted.problem(error), remedy) from None
    except OSError as error:
        raise DataError(path, untrusted.problem(error), "Check the file and its permissions.") from None


def read_listed(folder: Path, name: str, sha256: str, listed_in: str) -> tuple[Path, bytes]:
    """Path and content of the file `name` in `folder`. Raises IntegrityError unless it has that hash; see `read`."""
    path = folder / name
    if name.startswith("/") or ".." in name.split("/"):
        raise IntegrityError(path, "leads out of the data set", "Correct the names in the source, then run download.")
    content = read(path)
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        problem = f"sha256 {actual[:12]}..., expected {sha256[:12]}... ({listed_in})"
        raise IntegrityError(path, problem, "It changed since the download: dvc repro -f download restores it.")
    return path, content


def decode_image(content: bytes, where: Path, channels: int) -> Uint8:
    """An upright gray or RGB image of 8 or 16 bits as uint8 (H, W, channels). Raises DataError that names `where`.

    16-bit samples v become round(v / 257). Gray becomes 3 equal `channels`; RGB becomes 1, its luma
    0.299 R + 0.587 G + 0.114 B in OpenCV's integer arithmetic: (9798 R + 19235 G + 3735 B + 16384) >> 15.
    """
    header = _inspect(content, where)
    if header.colour not in ("gray", "RGB"):
        remedy = _REMEDIES.get(header.colour, "Save it as plain 8-bit RGB or gray PNG")
        raise DataError(where, f"{header.colour}, expected RGB or gray", f"{remedy}.")
    if header.depth not in (8, 16):
        raise DataError(where, f"{header.depth} bits per channel, expected 8 or 16", "Convert it to 8 bits.")
    _require_upright(header, where)
    gray = header.colour == "gray"
    pixels = _decode(content, where, header, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB)
    if header.depth == 16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 257 is odd: nothing lies halfway
    if gray and channels == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    elif channels == 1 and not gray:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(pixels, np.uint8).reshape(header.height, header.width, channels)


def decode_mask(content: bytes, where: Path, encoding: str) -> Mask:
    """The values of a PNG mask as stored. Raises DataError that names `where`.

    "index": gray or palette of up to 16 bits -> samples or palette indices, uint8 or uint16 (H, W).
    "rgb": 8-bit RGB -> colour codes r << 16 | g << 8 | b, uint32 (H, W).
    """
    header = _inspect(content, where)
    if header.format != "PNG":
        remedy = "JPEG smears class values: export the mask again, as PNG."
        raise DataError(where, f"a {header.format} mask, expected PNG", remedy)
    _require_upright(header, where)
    colours, expected = _MASKS[encoding]
    if header.colour not in colours or (encoding, header.depth) == ("rgb", 16):
        problem = f"{header.depth}-bit {header.colour} mask, expected {expected}"
        raise DataError(where, problem, _mask_remedy(header.colour, encoding))
    if encoding == "rgb":
        bgra = cv2.cvtColor(_decode(content, where, header, cv2.IMREAD_COLOR_BGR), cv2.COLOR_BGR2BGRA)
        return np.asarray(bgra.view("<u4")[:, :, 0] & 0xFFFFFF)
    if header.colour == "palette":
        content = headers.palette_as_gray(content)
    samples = _decode(content, where, header, cv2.IMREAD_GRAYSCALE)
    if header.depth < 8:
        samples //= 255 // ((1 << header.depth) - 1)  # the decoder spreads them over 0..255
    return np.asarray(samples)


def _mask_remedy(colour: str, encoding: str) -> str:
    if encoding == "index" and colour == "RGB":
        return "It looks like an RGB colour mask; set the encoding to rgb."
    if encoding == "rgb" and colour in ("gray", "palette"):
        return "It looks like an index mask; set the encoding to index, or save it as plain RGB."
    return "Convert it, without an alpha channel or a transparent colour."


def _require_upright(header: headers.Header, where: Path) -> None:
    if header.orientation != 1:
        raise DataError(where, f"Exif orientation {header.orientation}, expected 1 (upright)", _UPRIGHT)


def _inspect(content: bytes, where: Path) -> headers.Header:
    header = headers.inspect(content, where)
    if header.height * header.width > MAX_PIXELS:
        problem = f"{header.width}x{header.height} pixels, expected at most {MAX_PIXELS} in all"
        raise DataError(where, problem, "Cut it into tiles.")
    return header


def _decode(content: bytes, where: Path, header: headers.Header, mode: int) -> Any:
    """Pixels uint8, or uint16 if the file has 16 bits a sample."""
    flags = mode | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise DataError(where, "damaged: the pixels cannot be decoded", headers.AGAIN)
    return pixels


def resize_image(image_hwc: Uint8, height: int, width: int) -> Uint8:
    """The image at (height, width): by area averaging if neither side grows, otherwise bilinear."""
    old_height, old_width, channels = image_hwc.shape
    if (old_height, old_width) == (height, width):
        return image_hwc
    shrinks = height <= old_height and width <= old_width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR_EXACT
    resized = cv2.resize(image_hwc, (width, height), interpolation=method)
    return np.asarray(resized, np.uint8).reshape(height, width, channels)


def resize_mask(mask: npt.NDArray[Value], height: int, width: int) -> npt.NDArray[Value]:
    """The mask at (height, width), by nearest neighbour: no value is new."""
    if mask.shape == (height, width):
        return mask
    values: Any = mask.view(np.int32) if mask.dtype == np.uint32 else mask  # OpenCV 4 has no uint32
    resized = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized).view(mask.dtype)


def write_png(path: Path, pixels: Uint8) -> None:
    """Writes uint8 (H, W), (H, W, 1) or (H, W, 3) RGB; equal pixels give equal bytes."""
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    _, content = cv2.imencode(".png", ordered)
    with atomic.file(path) as temporary:
        temporary.write_bytes(content.tobytes())


def single_threaded() -> None:
    """From now on OpenCV uses only the calling thread: callers run one image per thread instead."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
