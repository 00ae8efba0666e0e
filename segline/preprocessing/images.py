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
    "palette": (("palette",), "palette, one colour per class"),
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


def kept_levels(content: bytes, image_hwc: Uint8) -> int | None:
    """How many of the 256 levels an image has that was decoded from 16 bits a sample; None if it had 8."""
    if not headers.is_16_bit(content):
        return None
    return int(np.count_nonzero(np.bincount(image_hwc.ravel(), minlength=256)))


def decode_mask(content: bytes, where: Path, encoding: str, threshold: int | None = None) -> Mask:
    """The values of a mask. Raises DataError that names `where`.

    "index": gray or palette PNG of up to 16 bits -> samples or palette indices as stored, uint8 or uint16 (H, W).
    "rgb": 8-bit RGB PNG -> colour codes r << 16 | g << 8 | b, uint32 (H, W).
    "palette": palette PNG -> the same codes of the palette's colours.
    With a threshold: what `gray_samples` reads -> 1 above the threshold and 0 elsewhere, uint8 (H, W).
    """
    if threshold is not None:
        return (gray_samples(content, where) > threshold).astype(np.uint8)
    header = _inspect(content, where)
    if header.format != "PNG":
        raise refused_jpeg(where)
    _require_upright(header, where)
    colours, expected = _MASKS[encoding]
    if header.colour not in colours or (encoding, header.depth) == ("rgb", 16):
        problem = f"{header.depth}-bit {header.colour} mask, expected {expected}"
        raise DataError(where, problem, _mask_remedy(header.colour, encoding))
    if encoding == "rgb":
        bgra = cv2.cvtColor(_decode(content, where, header, cv2.IMREAD_COLOR_BGR), cv2.COLOR_BGR2BGRA)
        return np.asarray(bgra.view("<u4")[:, :, 0] & 0xFFFFFF)
    if header.colour != "palette":
        return _stored_samples(content, where, header)
    indices = _stored_samples(headers.palette_as_gray(content), where, header)
    return _colour_codes(indices, headers.palette(content), where) if encoding == "palette" else indices


def refused_jpeg(where: Path) -> DataError:
    """The error for a JPEG mask where there is no threshold."""
    remedy = "JPEG smears class values: export the mask again, as PNG; or divide two classes by data.folder.threshold."
    return DataError(where, "a JPEG mask, expected PNG", remedy)


def gray_samples(content: bytes, where: Path) -> Mask:
    """The samples of a gray mask as stored, or the luma of an RGB one; PNG or JPEG, uint8 or uint16 (H, W).

    Raises DataError that names `where`.
    """
    header = _inspect(content, where)
    _require_upright(header, where)
    if header.colour == "RGB":
        rgb = _decode(content, where, header, cv2.IMREAD_COLOR_RGB)
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    if header.colour != "gray":
        problem = f"{header.depth}-bit {header.colour} mask, expected gray or RGB, as there is a threshold"
        raise DataError(where, problem, "Save it as plain gray.")
    return _stored_samples(content, where, header)


def _stored_samples(content: bytes, where: Path, header: headers.Header) -> Mask:
    samples = _decode(content, where, header, cv2.IMREAD_GRAYSCALE)
    if header.depth < 8:
        samples //= 255 // ((1 << header.depth) - 1)  # the decoder spreads them over 0..255
    return np.asarray(samples)


def _colour_codes(indices: Mask, palette: list[tuple[int, int, int]], where: Path) -> Mask:
    if (highest := int(indices.max())) >= len(palette):
        problem = f"palette index {highest}, but its palette has {len(palette)} colours"
        raise DataError(where, problem, "Export it again with a complete palette.")
    return np.array([red << 16 | green << 8 | blue for red, green, blue in palette], np.uint32)[indices]


def _mask_remedy(colour: str, encoding: str) -> str:
    if encoding == "index" and colour == "RGB":
        return "It looks like an RGB colour mask; set the encoding to rgb."
    if encoding == "palette" and colour == "RGB":
        return "Its pixels are colours: save all masks with a palette, or all as RGB with the encoding rgb."
    if encoding == "rgb" and colour == "palette":
        return "Its colours are in its palette; set the encoding to palette, or save it as plain RGB."
    if colour == "gray":
        return "It looks like an index mask; set the encoding to index, or save all masks in the same way."
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
