"""One image as its file stores it, whatever the format: nothing is converted, turned upright or guessed here.

`image_file` makes pictures of it, `masks` makes class values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.preprocessing.image_files.headers import AGAIN

MAX_PIXELS = 1 << 26  # 8192 x 8192 of an image that is in memory at once
MAX_TILED_PIXELS = 1 << 28  # of one that is decoded whole and cut into tiles
MAX_WINDOWED_PIXELS = 1 << 33  # of one that is decoded window by window

Array = npt.NDArray[Any]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Samples:
    """A window of an image: `values` (h, w, bands) of the type of its samples, RGB order, never BGR.

    `valid` is bool (h, w), False where the file has no data; None if all are valid. `hidden` is bool (h, w), True
    where alpha shows the background alone; None if no alpha was laid on one.
    """

    values: Array
    valid: npt.NDArray[np.bool_] | None
    hidden: npt.NDArray[np.bool_] | None = None

    @property
    def counted(self) -> npt.NDArray[np.bool_] | None:
        """The pixels whose values are those of the image, bool (h, w): valid and not hidden; None if all are."""
        if self.hidden is None:
            return self.valid
        return ~self.hidden if self.valid is None else self.valid & ~self.hidden


@dataclass(frozen=True)
class Georeference:
    """Where an image lies: its coordinate system as WKT (None if the file names none) and transform (a, b, c, d, e, f).

    Column x and row y, counted from the top left corner, lie at (a x + b y + c, d x + e y + f).
    """

    crs: str | None
    transform: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Stored:
    """`height` and `width` are those before an Exif turn (`orientation`, 1 = upright); `depth` is bits a sample.

    `read(top, left, height, width)` returns `bands` samples a pixel, then alpha if there is one: palette indices for
    the colour "palette", otherwise gray levels, RGB, or "bands" without a common meaning. Alpha spans the range of the
    samples, or of uint8 if they have fewer bits; `alpha_place` is its place in the file, counted from 0, if others
    follow it there. Pixels of `no_data`, a sample, have no value. `page` counts from 1, None is the only one.
    """

    format: str
    height: int
    width: int
    depth: int
    dtype: np.dtype[Any]
    colour: Literal["gray", "RGB", "palette", "bands"]
    read: Callable[[int, int, int, int], Samples]
    bands: int = 1
    orientation: int = 1
    alpha: Literal["straight", "premultiplied"] | None = None
    alpha_place: int | None = None
    palette: tuple[Rgb, ...] = ()
    zero_is_white: bool = False
    no_data: Any = None
    converted_from: str | None = None
    lossy: bool = False
    pages: int = 1
    page: int | None = None
    georeference: Georeference | None = None
    has_control_points: bool = False


def cut_out_of(decode: Callable[[], Array]) -> Callable[[int, int, int, int], Samples]:
    """`Stored.read` for a format that is decoded whole, (H, W, samples), when the first window is read."""
    whole = cache(decode)

    def read(top: int, left: int, height: int, width: int) -> Samples:
        return Samples(whole()[top : top + height, left : left + width], None)

    return read


def require_size(where: Path, height: int, width: int, most: int) -> None:
    """Raises DataError for a declared size that is zero or above `most` pixels: before anything is decoded."""
    if not height or not width:
        raise DataError(where, f"{width}x{height} pixels, expected at least 1x1", AGAIN)
    if height * width > most:
        remedy = "Set preprocess.fit to tile." if most == MAX_PIXELS else "Save it as a tiled TIFF, or cut it."
        raise DataError(where, f"{width}x{height} pixels, expected at most {most} in all", remedy)
