"""Any supported file -> its samples as stored: which reader opens it is decided by its first bytes, not by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segline.core import untrusted
from segline.core.errors import DataError
from segline.preprocessing.image_files import bmp_webp_gif, headers, png_jpeg, reading, tiff
from segline.preprocessing.image_files.stored_samples import MAX_PIXELS, MAX_TILED_PIXELS, MAX_WINDOWED_PIXELS, Stored

Source = bytes | Path
_START = 16  # bytes


@contextmanager
def opened(source: Source, where: Path, page: int | None, *, windows: bool) -> Iterator[Stored]:
    """One image of a file: of its content, or of its path (only then may a TIFF be larger than 256 MiB).

    `page` counts from 1; None is the only one. With `windows` the caller reads by windows, so the image may be larger
    than memory takes. Raises DataError, which names `where`, before anything is decoded.
    """
    if _is_tiff(source):
        headers.require_suffix("TIFF", where)
        with tiff.opened(source, where, page, MAX_WINDOWED_PIXELS if windows else MAX_PIXELS) as stored:
            yield stored
        return
    content = source if isinstance(source, bytes) else reading.read(source)
    if page not in (None, 1):
        raise DataError(where, f"no page {page}, as it has 1", "Export it again with all pages.")
    most = MAX_TILED_PIXELS if windows else MAX_PIXELS
    if kind := bmp_webp_gif.kind_of(content):
        headers.require_suffix(kind, where)
        yield bmp_webp_gif.stored(content, where, kind, most)
    else:
        yield png_jpeg.stored(content, where, most)


def pages(source: Source, where: Path) -> int:
    """How many images a file has: 1, but for TIFF. Raises DataError."""
    return tiff.pages(source, where) if _is_tiff(source) else 1


def _is_tiff(source: Source) -> bool:
    if isinstance(source, bytes):
        return source.startswith(tiff.STARTS)
    try:
        with untrusted.opened(source, tiff.MAX_BYTES) as stream:
            return stream.read(_START).startswith(tiff.STARTS)
    except OSError as error:
        raise reading.unreadable(source, error) from None
