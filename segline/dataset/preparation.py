"""How an image file becomes rows of bytes. Kept with the arrays and in the model file."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from segline.dataset import raw

Fit = Literal["stretch", "pad", "tile"]
Orientation = Literal["check", "upright", "stored"]
MOST_OVERLAP = 0.9  # share of a side
Alpha = Literal["refuse", "drop", "white", "black"]
Side = Annotated[int, Field(ge=1, le=8192)]
Band = Annotated[int, Field(ge=1, le=1024)]
Bands = Literal["rgb", "gray"] | Annotated[tuple[Band, ...], Field(min_length=1, max_length=1024)]
Bounds = Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(max_length=1024)]


@dataclass(frozen=True)
class Intensity:
    """A sample v becomes the byte round(255 (v - low) / (high - low)), cut to 0..255.

    `low` and `high` have one number for each of the chosen bands. With `full` they are empty: the bounds are those of
    the sample's type. Percentiles were measured on the train split.
    """

    __pydantic_config__ = raw.CLOSED

    by: Literal["full", "window", "percentile"]
    low: Bounds
    high: Bounds


FULL = Intensity("full", (), ())


@dataclass(frozen=True)
class Preparation:
    """`height` and `width` are those of a row; `scale` and `overlap` matter with `tile` (see `segline.dataset.tiling`).

    `bands` are "rgb", "gray", or numbers of bands of the file, from 1. `orientation` says whether images are turned by
    their Exif tag, `alpha` what becomes of transparent pixels.
    """

    __pydantic_config__ = raw.CLOSED

    fit: Fit
    height: Side
    width: Side
    scale: Annotated[float, Field(ge=0.01, le=1)]
    overlap: Annotated[float, Field(ge=0, le=MOST_OVERLAP)]
    bands: Bands
    orientation: Orientation
    alpha: Alpha
    intensity: Intensity

    @property
    def channels(self) -> int:
        """Channels of a row."""
        if isinstance(self.bands, tuple):
            return len(self.bands)
        return {"rgb": 3, "gray": 1}[self.bands]
