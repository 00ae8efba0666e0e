"""BMP, WebP and GIF files with one image, decoded by Pillow."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from segline.core.errors import DataError
from segline.preprocessing.image_files.headers import AGAIN, exif_orientation, refuse_rest
from segline.preprocessing.image_files.stored_samples import Array, Rgb, Stored, cut_out_of, require_size

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_COLOURS: dict[str, tuple[Literal["gray", "RGB", "palette"], int, int]] = {  # Pillow's mode -> colour, bands, depth
    "1": ("gray", 1, 1),
    "L": ("gray", 1, 8),
    "P": ("palette", 1, 8),
    "RGB": ("RGB", 3, 8),
    "RGBA": ("RGB", 3, 8),
}


def kind_of(content: bytes) -> str | None:
    """The format by the first bytes: BMP, GIF or WebP; None for anything else."""
    if content.startswith(b"BM"):
        return "BMP"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "WebP" if content.startswith(b"RIFF") and content[8:12] == b"WEBP" else None


def stored(content: bytes, where: Path, kind: str, most: int) -> Stored:
    """The one image of such a file. Raises DataError if it is damaged, animated or of more than `most` pixels."""
    chunks = _webp_chunks(content, where) if kind == "WebP" else set()
    picture = _opened(content, where, kind)
    width, height = picture.size
    require_size(where, height, width, most)
    with _refused(where):
        is_animated = getattr(picture, "is_animated", False)
    if is_animated:
        raise DataError(where, f"a {kind} with several frames, expected one image", "Export a single frame.")
    if kind == "GIF" and [tile.extents for tile in picture.tile] != [(0, 0, width, height)]:
        raise DataError(where, "a GIF with a frame that covers only a part of it", "Export it as PNG.")
    if picture.mode not in _COLOURS:
        raise DataError(where, f"a {kind} of the mode {picture.mode}, expected gray, RGB or palette", "Save it as PNG.")
    colour, bands, depth = _COLOURS[picture.mode]
    clear = picture.info.get("transparency")
    palette = _palette(picture, where) if colour == "palette" else ()
    return Stored(
        format=kind,
        height=height,
        width=width,
        depth=depth,
        dtype=np.dtype(np.uint8),
        colour=colour,
        read=cut_out_of(lambda: _decoded(picture, where, clear)),
        bands=bands,
        orientation=exif_orientation(picture.info.get("exif", b"")),
        alpha="straight" if picture.mode == "RGBA" or clear is not None else None,
        palette=palette,
        lossy="VP8 " in chunks,
    )


def _opened(content: bytes, where: Path, kind: str) -> "ImageFile":
    from PIL import BmpImagePlugin, GifImagePlugin, Image, WebPImagePlugin  # noqa: PLC0415 - 0.1 s

    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
    readers: dict[str, Any] = {
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }
    with _refused(where):
        return readers[kind](io.BytesIO(content))  # type: ignore[no-any-return]


def _palette(picture: "ImageFile", where: Path) -> tuple[Rgb, ...]:
    with _refused(where):
        values = picture.getpalette() or []
    return tuple(zip(values[::3], values[1::3], values[2::3], strict=False))


def _decoded(picture: "ImageFile", where: Path, clear: int | bytes | None) -> Array:
    """Samples (H, W, C); alpha from the transparent index `clear`, if there is one."""
    with _refused(where):
        picture.load()
        values = np.atleast_3d(np.asarray(picture)).astype(np.uint8, copy=False)
    if clear is None:
        return values
    return np.concatenate([values, np.where(values == clear, 0, 255).astype(np.uint8)], axis=2)


@contextmanager
def _refused(where: Path) -> Iterator[None]:
    """What Pillow raises meanwhile becomes a DataError."""
    try:
        yield
    except Exception:  # noqa: BLE001 - Pillow documents no exceptions for damaged files
        raise DataError(where, "damaged: the pixels cannot be decoded", AGAIN) from None


def _webp_chunks(content: bytes, where: Path) -> set[str]:
    """The kinds of the chunks of a WebP file (RFC 9649) that is complete: "VP8 " is lossy, "VP8L" is not."""
    (length,) = struct.unpack_from("<I", content.ljust(8, b"\0"), 4)
    if (end := 8 + length) > len(content):
        raise DataError(where, f"cut: the file ends {end - len(content)} bytes too early", AGAIN)
    refuse_rest(content, end, where)
    kinds, position = set(), 12
    while position + 8 <= end:
        kinds.add(content[position : position + 4].decode("latin-1"))
        (length,) = struct.unpack_from("<I", content, position + 4)
        position += 8 + length + length % 2
    return kinds
