"""PNG and JPEG files, decoded by OpenCV once `headers` has found them complete."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from segline.core.errors import DataError
from segline.preprocessing.image_files import headers
from segline.preprocessing.image_files.stored_samples import Array, Stored, cut_out_of, require_size

_COLOURS: dict[str, tuple[Literal["gray", "RGB", "palette"], int]] = {
    "gray": ("gray", cv2.IMREAD_GRAYSCALE),
    "gray with alpha": ("gray", cv2.IMREAD_UNCHANGED),
    "gray with a transparent colour": ("gray", cv2.IMREAD_GRAYSCALE),
    "RGB": ("RGB", cv2.IMREAD_COLOR_RGB),
    "RGB with alpha": ("RGB", cv2.IMREAD_UNCHANGED),
    "RGB with a transparent colour": ("RGB", cv2.IMREAD_COLOR_RGB),
    "palette": ("palette", cv2.IMREAD_GRAYSCALE),
    "CMYK": ("RGB", cv2.IMREAD_COLOR_RGB),  # as Adobe stores it, with 0 for full ink
}


def stored(content: bytes, where: Path, most: int) -> Stored:
    """The one image of a file. Raises DataError if it is damaged, of unknown colours or of more than `most` pixels."""
    header = headers.inspect(content, where)
    require_size(where, header.height, header.width, most)
    if header.colour == headers.CMYK_OF_UNKNOWN_SENSE:
        raise DataError(where, f"{header.colour}: whether 0 is full ink cannot be told", "Convert it to RGB.")
    if header.colour not in _COLOURS or header.depth not in (1, 2, 4, 8, 16):
        problem = f"{header.depth}-bit {header.colour}, expected gray, RGB, palette or CMYK of up to 16 bits"
        raise DataError(where, problem, "Save it as plain 8-bit RGB or gray PNG.")
    colour, _ = _COLOURS[header.colour]
    clear = headers.transparency(content) if header.format == "PNG" else b""
    return Stored(
        format=header.format,
        height=header.height,
        width=header.width,
        depth=header.depth,
        dtype=np.dtype(np.uint16 if header.depth == 16 else np.uint8),
        colour=colour,
        read=cut_out_of(lambda: _decoded(content, where, header, clear)),
        bands=3 if colour == "RGB" else 1,
        orientation=header.orientation,
        alpha="straight" if clear or header.colour.endswith("with alpha") else None,
        palette=tuple(headers.palette(content)) if colour == "palette" else (),
        converted_from="CMYK" if header.colour == "CMYK" else None,
        lossy=header.format == "JPEG",
    )


def _decoded(content: bytes, where: Path, header: headers.Header, clear: bytes) -> Array:
    """Samples (H, W, C), the last of them alpha if there is one. `clear` is the content of the tRNS chunk."""
    if header.colour == "palette":
        content = headers.palette_as_gray(content)
    values = _pixels(content, where, header, _COLOURS[header.colour][1])
    if header.colour.endswith("with alpha"):  # BGRA, of gray too
        return np.ascontiguousarray(values[:, :, [2, 3] if header.colour.startswith("gray") else [2, 1, 0, 3]])
    values = values.reshape(header.height, header.width, -1)
    if header.depth < 8:
        values //= 255 // ((1 << header.depth) - 1)  # the decoder spreads them over 0..255
    if not clear:
        return values
    most = np.iinfo(values.dtype).max
    if header.colour == "palette":
        table = np.frombuffer(clear[:256].ljust(256, b"\xff"), np.uint8)
        return np.concatenate([values, table[values]], axis=2)
    opaque = (values != np.frombuffer(clear, ">u2")).any(axis=2, keepdims=True)
    return np.concatenate([values, opaque * most], axis=2, dtype=values.dtype, casting="unsafe")


def _pixels(content: bytes, where: Path, header: headers.Header, mode: int) -> Array:
    """As OpenCV decodes them: uint8, or uint16 if the file has 16 bits a sample."""
    flags = mode if mode == cv2.IMREAD_UNCHANGED else mode | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise DataError(where, "damaged: the pixels cannot be decoded", headers.AGAIN)
    return np.asarray(pixels)
