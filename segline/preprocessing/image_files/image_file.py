"""Pictures in files of any format: upright, of gray levels, RGB or bands, whole or by windows.

What is done to the samples on the way is exact and said in `notes`; where two readings are possible, it is an error
that names the parameter that decides.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.dataset.preparation import Alpha
from segline.preprocessing.image_files import formats
from segline.preprocessing.image_files.formats import Source
from segline.preprocessing.image_files.page_errors import of_page
from segline.preprocessing.image_files.stored_samples import Array, Georeference, Samples, Stored
from segline.preprocessing.image_files.upright import TURNS

__all__ = ["Georeference", "ImageFile", "Samples", "opened", "pages"]

Bands = Literal["rgb", "gray"] | tuple[int, ...]  # as in `Preparation`

pages = formats.pages


@contextmanager
def opened(
    source: Source,
    where: Path,
    page: int | None = None,
    alpha: Alpha = "refuse",
    *,
    bands: Bands = "rgb",
    turn: bool = True,
    windows: bool = False,
) -> Iterator["ImageFile"]:
    """One image of a file, given as its content or its path; `page` counts from 1, None is the only one.

    `alpha` says what becomes of transparent pixels. An alpha channel is a band like the others if it is one of the
    numbers in `bands`: GDAL marks the fourth band of any 8-bit image as alpha. Without `turn` an Exif orientation is
    ignored. With `windows` the caller reads by windows: up to 2^28 pixels, and 2^33 of a TIFF; otherwise up to 2^26.
    Raises DataError, which names `where`.
    """
    with formats.opened(source, where, page, windows=windows) as stored:
        place = stored.bands if stored.alpha_place is None else stored.alpha_place
        if stored.alpha and isinstance(bands, tuple) and place + 1 in bands and stored.colour != "palette":
            stored = replace(stored, bands=stored.bands + 1, colour="bands", alpha=None)  # noqa: PLW2901
        yield ImageFile(stored, where, alpha, bands, turn=turn)


class ImageFile:
    """An image that is open for reading; `height` and `width` are those of the upright image."""

    def __init__(self, stored: Stored, where: Path, alpha: Alpha, bands: Bands, *, turn: bool) -> None:
        self._stored, self._where, self._alpha = stored, where, alpha
        numbers = bands if isinstance(bands, tuple) and stored.colour != "palette" else range(1, stored.bands + 1)
        self._order: list[int] = []  # of the stored samples, which end with alpha, as bands of the file
        if stored.alpha_place is not None and isinstance(bands, tuple):
            last = stored.bands - (stored.alpha is None)
            self._order = [*range(last)]
            self._order.insert(stored.alpha_place, last)
        order = self._order or range(stored.bands)
        self._chosen = [order[number - 1] for number in numbers if number <= len(order)]
        self._turn = TURNS[stored.orientation if turn else 1]
        self.orientation = stored.orientation
        self.stored_size = stored.height, stored.width
        self.height, self.width = self._turn.size(*self.stored_size)
        self.bands = 3 if stored.colour == "palette" else len(order)
        self.dtype = stored.dtype if stored.colour != "palette" else np.dtype(np.uint8)
        self.depth = 8 if stored.colour == "palette" else max(8, stored.depth)
        self.colour: Literal["gray", "RGB", "bands"] = "RGB" if stored.colour == "palette" else stored.colour
        self.colour = "bands" if self._order else self.colour
        self.alpha_place = stored.alpha_place
        self.alpha_may_be_infrared = stored.format == "TIFF" and stored.alpha is not None and self.colour == "RGB"
        self.alpha_may_be_infrared &= stored.colour == "RGB" and stored.converted_from is None
        self.format, self.pages = stored.format, stored.pages
        self.georeference = self._turn.georeference(stored.georeference, self.height, self.width)
        if stored.zero_is_white and stored.dtype.kind != "u":
            problem = f"{stored.dtype} samples of which 0 is white, expected unsigned integers"
            raise DataError(where, problem, "Save it with 0 as black.")

    @property
    def notes(self) -> tuple[str, ...]:
        """What is done to the samples, in words that can follow "3 of 7 images: "."""
        stored = self._stored
        dropped = {"refuse": "opaque alpha dropped", "drop": "alpha dropped"}
        found = (
            (stored.converted_from is not None, f"{stored.converted_from} converted to RGB"),
            (stored.colour == "palette", "palette converted to RGB"),
            (stored.zero_is_white, "inverted, as 0 is white"),
            (stored.alpha is not None, dropped.get(self._alpha, f"laid on {self._alpha}")),
            (self._turn is not TURNS[1], f"turned upright (Exif orientation {stored.orientation})"),
            (stored.has_control_points, "place on the map lost, as it is given by ground control points"),
        )
        return tuple(note for applies, note in found if applies)

    def read(self, top: int, left: int, height: int, width: int) -> Samples:
        """A window within the upright image, its bands in the order of the file if numbers were named.

        Raises DataError for damaged, or with `refuse` for transparent pixels.
        A pixel is valid if its chosen bands are finite and one of them is not the no-data value. Samples that are not
        finite are 0.
        """
        stored, window = self._stored, self._turn.stored_window((top, left, height, width), (self.height, self.width))
        with of_page(stored.page):
            samples = stored.read(*window)
            valid = self._valid(samples)
            values = self._without_alpha(self._as_colours(samples.values))
        if self._order:
            all_bands = [values, samples.values[:, :, -1:]] if stored.alpha else [values]
            values = np.concatenate(all_bands, axis=2)[:, :, self._order]
        if values.dtype.kind == "f":
            values = np.where(np.isfinite(values), values, values.dtype.type(0))
        hidden = samples.values[:, :, -1] == 0 if stored.alpha and self._alpha in ("white", "black") else None
        return Samples(
            self._turn.upright(values),
            None if valid is None else self._turn.upright(valid),
            None if hidden is None else self._turn.upright(hidden),
        )

    def _valid(self, samples: Samples) -> npt.NDArray[np.bool_] | None:
        """By the stored samples; None if all pixels are."""
        valid, no_data = samples.valid, self._stored.no_data
        if no_data is None and samples.values.dtype.kind != "f":
            return valid
        chosen = samples.values[:, :, self._chosen]
        has_data = np.asarray(np.isfinite(chosen).all(axis=2))
        if no_data is not None:
            has_data &= (chosen != no_data).any(axis=2)
        if has_data.all():
            return valid
        return has_data if valid is None else valid & has_data

    def _as_colours(self, values: Array) -> Array:
        """The colour channels as gray, RGB or bands that span their type, then alpha."""
        stored = self._stored
        if stored.colour == "palette":
            rgb = through_palette(values[:, :, 0], np.array(stored.palette, np.uint8).reshape(-1, 3), self._where)
            return np.concatenate([rgb, values[:, :, 1:]], axis=2) if stored.alpha else rgb
        most = (1 << stored.depth) - 1
        if not stored.zero_is_white and (stored.depth >= 8 or stored.dtype.kind != "u"):
            return values
        colours = values[:, :, : stored.bands]
        if stored.zero_is_white:
            colours = (most - colours).astype(colours.dtype)
        if stored.depth < 8:
            colours = ((colours.astype(np.uint16) * 255 + most // 2) // most).astype(np.uint8)
        return np.concatenate([colours, values[:, :, stored.bands :]], axis=2) if stored.alpha else colours

    def _without_alpha(self, values: Array) -> Array:
        if self._stored.alpha is None:
            return values
        colours, alpha = values[:, :, :-1], values[:, :, -1:]
        if self._alpha == "drop":
            return colours
        if self.dtype.kind != "u":
            remedy = "Set preprocess.alpha to drop."
            raise DataError(self._where, f"an alpha channel of {self.dtype} samples, expected unsigned ones", remedy)
        most = (1 << self.depth) - 1
        if self._alpha == "refuse":
            if (lowest := int(alpha.min())) < most:
                problem = f"transparent pixels (alpha from {lowest} of {most}), expected opaque ones"
                other = "; or, if band 4 is near infrared, preprocess.bands to [1, 2, 3, 4]"
                remedy = f"Set preprocess.alpha to drop, white or black{other * self.alpha_may_be_infrared}."
                raise DataError(self._where, problem, remedy)
            return colours
        return _laid_on(colours, alpha, most if self._alpha == "white" else 0, most, self._stored.alpha)


def _laid_on(colours: Array, alpha: Array, background: int, most: int, kind: str) -> Array:
    """Colours (h, w, C) of which `alpha` (h, w, 1) shows, the rest background; all from 0 to `most`, in integers."""
    wide: type[Any] = np.uint64 if colours.dtype.itemsize > 2 else np.uint32
    seen = np.minimum(alpha, most).astype(wide)
    rest = (wide(most) - seen) * wide(background)
    half, whole = wide(most // 2), wide(most)
    if kind == "premultiplied":
        laid = np.minimum(colours + (rest + half) // whole, whole)
    else:
        laid = (colours * seen + rest + half) // whole
    return np.asarray(laid, colours.dtype)


def through_palette(indices: Array, palette: npt.NDArray[Any], where: Path) -> Array:
    """The entry of a palette (N, ...) for each index (H, W). Raises DataError for an index without one."""
    if (highest := int(indices.max(initial=0))) >= len(palette):
        problem = f"palette index {highest}, but its palette has {len(palette)} colours"
        raise DataError(where, problem, "Export it again with a complete palette.")
    return palette[indices]
