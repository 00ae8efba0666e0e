"""Valid files of every format and kind, of a few pixels each."""

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

GRAY = np.random.default_rng(0).integers(0, 200, (9, 14), np.uint8)
RGB = np.random.default_rng(1).integers(0, 200, (9, 14, 3), np.uint8)
ALPHA = np.dstack([RGB, np.full_like(GRAY, 255)])
TURNED = Image.Exif()
TURNED[0x0112] = 6


def saved(pixels: np.ndarray | Image.Image, kind: str, mode: str | None = None, **options: Any) -> bytes:
    """By Pillow, converted to `mode` before."""
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(stream, kind, **options)
    return stream.getvalue()


def geotiff(pixels: np.ndarray, **options: Any) -> bytes:
    """By GDAL, (H, W, bands)."""
    import rasterio
    from rasterio.io import MemoryFile

    height, width, bands = pixels.shape
    place = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_600_000)
    options = {"crs": "EPSG:32632", "transform": place, "dtype": pixels.dtype, **options}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", height=height, width=width, count=bands, **options) as dataset:
            dataset.write(np.moveaxis(pixels, 2, 0))
        return bytes(memory.read())


def png() -> list[bytes]:
    """Gray, RGB, palette, with alpha; 1, 8 and 16 bits; turned by Exif."""
    deep = (GRAY.astype(np.uint16) + 50) * 257
    modes = [saved(ALPHA, "PNG", mode) for mode in ("1", "L", "LA", "RGB", "RGBA")]
    palette = saved(GRAY % 4, "PNG", "P", transparency=3)
    return [*modes, palette, saved(RGB, "PNG", exif=TURNED), cv2.imencode(".png", deep)[1].tobytes()]


def jpeg() -> list[bytes]:
    """Gray, RGB, CMYK; progressive; turned by Exif."""
    modes = [saved(RGB, "JPEG", mode) for mode in ("L", "RGB", "CMYK")]
    return [*modes, saved(RGB, "JPEG", progressive=True, exif=TURNED)]


def tiff() -> list[bytes]:
    """All types, compressions and layouts; several pages; overviews."""
    pages = [Image.fromarray(GRAY), Image.fromarray(RGB)]
    stack = saved(GRAY, "TIFF", save_all=True, append_images=pages)
    modes = [saved(ALPHA, "TIFF", mode) for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "CMYK")]
    packed = [saved(RGB, "TIFF", compression=name) for name in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg")]
    kinds = ("uint16", "uint32", "int16", "int32", "float32")
    deep = [geotiff(RGB.astype(kind), nodata=7, compress="zstd") for kind in kinds]
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    tiled = [geotiff(RGB, interleave=how, **tiles) for how in ("pixel", "band")]
    fax = geotiff(GRAY[:, :, None] & 1, nbits=1, compress="ccittfax4")
    return [stack, *modes, *packed, *deep, *tiled, fax, saved(RGB, "TIFF", big_tiff=True, tiffinfo={274: 5})]


def bmp() -> list[bytes]:
    """1, 8, 24 and 32 bits."""
    return [saved(ALPHA, "BMP", mode) for mode in ("1", "L", "P", "RGB", "RGBA")]


def webp() -> list[bytes]:
    """Lossless and lossy, with and without alpha, turned by Exif."""
    half = np.dstack([RGB, GRAY])
    return [saved(each, "WEBP", lossless=exact) for each in (RGB, ALPHA, half) for exact in (True, False)] + [
        saved(RGB, "WEBP", lossless=True, exif=TURNED)
    ]


def gif() -> list[bytes]:
    """Gray, palette, interlaced, transparent, and an animation."""
    frames = [Image.fromarray(GRAY // 2)]
    plain = [saved(RGB, "GIF", mode, interlace=lines) for mode in ("1", "L", "P") for lines in (0, 1)]
    return [*plain, saved(GRAY % 4, "GIF", transparency=2), saved(GRAY, "GIF", save_all=True, append_images=frames)]
