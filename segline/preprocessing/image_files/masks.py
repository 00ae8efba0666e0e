"""Masks in files of any format: the value of each pixel, upright, whole or by windows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.preprocessing.image_files import formats
from segline.preprocessing.image_files.formats import Source
from segline.preprocessing.image_files.image_file import through_palette
from segline.preprocessing.image_files.page_errors import of_page
from segline.preprocessing.image_files.stored_samples import Array, Stored
from segline.preprocessing.image_files.upright import TURNS

Mask = npt.NDArray[np.unsignedinteger[Any]]

_EXPECTED = {  # encoding -> the colours of its files, and how a message names them
    "index": (("gray", "palette"), "gray or palette, one class index per pixel"),
    "palette": (("palette",), "palette, one colour per class"),
    "rgb": (("RGB",), "8-bit RGB, one colour per class"),
}
_MOST = (1 << 16) - 1  # the highest index


@contextmanager
def opened(
    source: Source,
    where: Path,
    encoding: str | None,
    threshold: int | None = None,
    page: int | None = None,
    *,
    turn: bool = True,
    windows: bool = False,
) -> Iterator["MaskFile"]:
    """One mask of a file; see `image_file.opened`. Raises DataError unless it is what the encoding says.

    "index": gray or palette -> samples or palette indices as stored, uint8 or uint16.
    "rgb": 8-bit RGB -> colour codes r << 16 | g << 8 | b, uint32.
    "palette": palette -> the same codes of the palette's colours.
    None: "rgb" for an RGB file, "index" for others, whatever the compression.
    With a threshold: gray samples, or the luma of RGB -> 1 above the threshold and 0 elsewhere, uint8.
    """
    with formats.opened(source, where, page, windows=windows) as stored:
        yield MaskFile(stored, where, encoding, threshold, turn=turn)


def decode(source: Source, where: Path, encoding: str, threshold: int | None = None, page: int | None = None) -> Mask:
    """All values of a mask (H, W), as `opened` says."""
    with opened(source, where, encoding, threshold, page) as mask:
        return mask.read(0, 0, mask.height, mask.width)


def gray_samples(source: Source, where: Path) -> Mask:
    """The samples of a gray mask as stored, or the luma of an 8-bit RGB one, of any format: uint8 or uint16 (H, W)."""
    with formats.opened(source, where, None, windows=False) as stored:
        return _gray(_opaque(stored, where, stored.read(0, 0, stored.height, stored.width).values), stored, where)


def refused_lossy(where: Path, format_name: str = "JPEG") -> DataError:
    """The error for a mask whose compression changes values, where there is no threshold."""
    remedy = f"{format_name} smears class values: export it again, as PNG; or divide two classes by "
    return DataError(where, f"a {format_name} mask, expected PNG", f"{remedy}data.folder.threshold.")


class MaskFile:
    """A mask that is open for reading; `height` and `width` are those of the upright mask, `depth` is bits a sample.

    `colour` is "gray", "RGB", "palette" or "bands"; `palette` its colours, by index. `lossy` compression smears values.
    """

    def __init__(self, stored: Stored, where: Path, encoding: str | None, threshold: int | None, *, turn: bool) -> None:
        self.encoding = encoding or ("rgb" if stored.colour == "RGB" else "index")
        self._stored, self._where, self._threshold = stored, where, threshold
        self._turn = TURNS[stored.orientation if turn else 1]
        self.orientation = stored.orientation
        self.stored_size = stored.height, stored.width
        self.height, self.width = self._turn.size(*self.stored_size)
        self.format, self.colour, self.depth, self.pages = stored.format, stored.colour, stored.depth, stored.pages
        self.lossy, self.palette = stored.lossy, stored.palette
        if threshold is None:
            with of_page(stored.page):
                self._require_encoding(may_be_lossy=encoding is None)

    def read(self, top: int, left: int, height: int, width: int) -> Mask:
        """The values of a window within the upright mask (h, w)."""
        stored = self._stored
        window = self._turn.stored_window((top, left, height, width), (self.height, self.width))
        with of_page(stored.page):
            samples = stored.read(*window).values
            if stored.colour == "palette":
                samples = samples[:, :, :1]  # whatever is transparent
            samples = _opaque(stored, self._where, samples)
            return np.ascontiguousarray(self._turn.upright(self._values(samples)))

    def _values(self, samples: Array) -> Mask:
        if self._threshold is not None:
            return (_gray(samples, self._stored, self._where) > self._threshold).astype(np.uint8)
        if self.encoding == "rgb":
            red, green, blue = (samples[:, :, band].astype(np.uint32) for band in range(3))
            return np.asarray(red << 16 | green << 8 | blue)
        if self.encoding == "palette":
            codes = [red << 16 | green << 8 | blue for red, green, blue in self.palette]
            return through_palette(samples[:, :, 0], np.array(codes, np.uint32), self._where)
        return _indices(samples[:, :, 0], self._where)

    def _require_encoding(self, *, may_be_lossy: bool) -> None:
        stored, where = self._stored, self._where
        if stored.lossy and not may_be_lossy:
            raise refused_lossy(where, stored.format if stored.format != "TIFF" else "JPEG")
        colours, expected = _EXPECTED[self.encoding]
        colour = stored.converted_from or stored.colour
        if self.encoding == "rgb" and (colour, stored.bands) == ("bands", 3):
            colour = "RGB"  # as the encoding says, if the file does not
        if colour not in colours or (self.encoding == "rgb" and stored.dtype != np.uint8):
            problem = f"{_named(stored)} mask, expected {expected}"
            raise DataError(where, problem, _remedy(colour, self.encoding))


def _named(stored: Stored) -> str:
    colour = stored.converted_from or stored.colour
    return f"{stored.bands}-band" if colour == "bands" else f"{stored.depth}-bit {colour}"


def _opaque(stored: Stored, where: Path, samples: Array) -> Array:
    """The samples without their alpha channel. Raises DataError for transparent pixels."""
    alpha = samples[:, :, stored.bands :]
    if alpha.size and (alpha.dtype.kind != "u" or int(alpha.min()) < (1 << max(8, stored.depth)) - 1):
        problem = f"{_named(stored)} mask with transparent pixels, expected none"
        raise DataError(where, problem, "Export it again, without an alpha channel or a transparent colour.")
    return samples[:, :, : stored.bands]


def _gray(samples: Array, stored: Stored, where: Path) -> Mask:
    """Gray levels as stored, or the luma of RGB: (H, W)."""
    if stored.colour == "RGB" and samples.dtype.itemsize <= 2:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(samples), cv2.COLOR_RGB2GRAY))
    if stored.colour != "gray":
        problem = f"{_named(stored)} mask, expected gray or RGB, as there is a threshold"
        raise DataError(where, problem, "Save it as plain gray.")
    return _indices(samples[:, :, 0], where)


def _indices(values: Array, where: Path) -> Mask:
    """Whole numbers 0 to 65535 of any type as uint8 or uint16."""
    if values.dtype in (np.uint8, np.uint16):
        return np.asarray(values)
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= 0) & (values <= _MOST) & (values == np.floor(values)))
    if wrong.any():
        y, x = (int(place) for place in np.argwhere(wrong)[0])
        problem = f"value {values[y, x]} at (x, y) = ({x}, {y}), expected whole numbers from 0 to {_MOST}"
        raise DataError(where, problem, "Save it as 8-bit or 16-bit gray.")
    return values.astype(np.uint16)


def _remedy(colour: str, encoding: str) -> str:
    if encoding == "index" and colour == "RGB":
        return "It looks like an RGB colour mask; set the encoding to rgb."
    if encoding == "palette" and colour == "RGB":
        return "Its pixels are colours: save all masks with a palette, or all as RGB with the encoding rgb."
    if encoding == "rgb" and colour == "palette":
        return "Its colours are in its palette; set the encoding to palette, or save it as plain RGB."
    if colour == "gray":
        return "It looks like an index mask; set the encoding to index, or save all masks in the same way."
    return "Save it as 8-bit gray, palette or RGB."


def colour(code: int) -> tuple[int, int, int]:
    """(r, g, b) of a colour code r << 16 | g << 8 | b."""
    return code >> 16, code >> 8 & 255, code & 255
