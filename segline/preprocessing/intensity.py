"""Samples of any depth -> bytes: which bands of a file, and which range of their values becomes 0..255.

Integers, tables, and + - * / in float64: the bytes are the same on every CPU.
"""

import math
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from segline.core import params
from segline.core.errors import DataError
from segline.dataset.preparation import FULL, Band, Bands, Intensity, Preparation
from segline.preprocessing.image_files.stored_samples import Array, Samples

Uint8 = npt.NDArray[np.uint8]

USUAL = "{by: percentile, low: 0.5, high: 99.5}"
_LUMA = (9798, 19235, 3735)  # 0.299 R + 0.587 G + 0.114 B in 1/32768, as OpenCV computes it for bytes
_FAR = 1 << 40  # beyond all integer samples


def _above(high: float, info: ValidationInfo) -> float:
    if (low := info.data.get("low")) is not None and high <= low:
        raise ValueError(f"expected more than low, {low:g}")
    return high


class Full(params.Section):
    """The whole range of the samples' type: 0..65535 of 16 bits."""

    by: Literal["full"]


class Window(params.Section):
    """Two sample values, the same for every band; values beyond them are cut."""

    by: Literal["window"]
    low: float
    high: Annotated[float, AfterValidator(_above)]


class Percentile(params.Section):
    """Two percentiles of the samples of each band over the train split."""

    by: Literal["percentile"]
    low: float = Field(ge=0, lt=100)
    high: Annotated[float, Field(gt=0, le=100), AfterValidator(_above)]


def _one_form(value: Any) -> Any:
    return params.one_of({"full": Full, "window": Window, "percentile": Percentile}, value)


ChosenBands = Annotated[
    Literal["rgb", "gray"] | Annotated[list[Band], Field(min_length=1, max_length=1024)],
    params.expecting("rgb, gray, or numbers of bands from 1, such as [4, 1, 2]"),
]
Form = Annotated[Full | Window | Percentile, BeforeValidator(_one_form)]


def stated(form: Full | Window, channels: int) -> Intensity:
    """The rule of parameters that need no measurement."""
    if form.by == "full":
        return FULL
    return Intensity("window", (form.low,) * channels, (form.high,) * channels)


def require(where: Path, colour: str, bands: int, dtype: np.dtype[Any], preparation: Preparation) -> None:
    """Raises DataError unless a file with these samples can be prepared so; `colour` is gray, RGB or bands."""
    wanted = preparation.bands
    if isinstance(wanted, str) and colour not in ("gray", "RGB"):
        problem = f"{bands} bands that are not said to be gray or RGB, while preprocess.bands is {wanted}"
        example = list(range(1, min(bands, 3) + 1))
        raise DataError(where, problem, f"List the numbers of those to use, such as preprocess.bands: {example}.")
    if not isinstance(wanted, str) and max(wanted) > bands:
        problem = f"no band {max(wanted)}, which preprocess.bands names, as it has {bands}"
        raise DataError(where, problem, f"Name bands from 1 to {bands}.")
    if dtype.kind == "f" and preparation.intensity.by == "full":
        remedy = f"Write preprocess.intensity: {USUAL}, or state two values: {{by: window, low: , high: }}."
        raise DataError(where, f"{dtype} samples, which have no whole range", remedy)


def to_bytes(samples: Samples, preparation: Preparation) -> Uint8:
    """Samples of a file that passed `require`, as uint8 (h, w, channels); pixels that are not valid become 0, as `low`.

    A gray file is repeated for R, G and B. Gray from RGB is the luma (9798 R + 19235 G + 3735 B + 16384) >> 15: of the
    bytes if the intensity is full, otherwise of the samples. Full: round(v / 257) for uint16, and in the same way the
    whole range of any type of integers. Otherwise round(255 (v - low) / (high - low)), halves up: exact for up to 16
    bits, in float64 above; NaN is taken for `low`.
    """
    rule, bands = preparation.intensity, preparation.bands
    picked = _picked(samples.values, bands)
    is_full = rule.by == "full"
    pixels = _coloured(_whole_range(picked), bands) if is_full else _scaled(_coloured(picked, bands), rule)
    if samples.valid is None or samples.valid.all():
        return pixels
    return np.asarray(np.where(samples.valid[:, :, None], pixels, np.uint8(0)), np.uint8)


def chosen(values: Array, bands: Bands) -> Array:
    """The channels that `bands` names, (h, w, C) of the type of `values`; gray from RGB is the luma of the samples."""
    return _coloured(_picked(values, bands), bands)


def _picked(values: Array, bands: Bands) -> Array:
    return values if isinstance(bands, str) else values[:, :, [number - 1 for number in bands]]


def _coloured(values: Array, bands: Bands) -> Array:
    count = values.shape[2]
    if bands == "rgb" and count == 1:
        return np.repeat(values, 3, axis=2)
    return _luma(values)[:, :, None] if bands == "gray" and count == 3 else values


def _luma(rgb: Array) -> Array:
    """The luma (h, w) of the type of the samples, rounded."""
    if rgb.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY))
    is_float = rgb.dtype.kind == "f"
    wide = rgb.astype(np.float64 if is_float else np.int64)
    total: Array = wide[:, :, 0] * _LUMA[0] + wide[:, :, 1] * _LUMA[1] + wide[:, :, 2] * _LUMA[2]
    return np.asarray(total / 32768 if is_float else (total + 16384) >> 15, rgb.dtype)


def _whole_range(values: Array) -> Uint8:
    if values.dtype == np.uint8:
        return values
    lowest, most = np.iinfo(values.dtype).min, (1 << 8 * values.dtype.itemsize) - 1
    step = most // 255  # odd: nothing lies halfway
    wide = values.astype(np.int32 if values.dtype.itemsize == 2 else np.int64)
    return np.asarray((wide + (step // 2 - lowest)) // step, np.uint8)


def _scaled(values: Array, rule: Intensity) -> Uint8:
    pixels = np.empty(values.shape, np.uint8)
    for band, (low, high) in enumerate(zip(rule.low, rule.high, strict=True)):
        if values.dtype.itemsize <= 2:
            pixels[:, :, band] = _table(values.dtype, low, high)[_codes(values[:, :, band])]
        else:
            within = np.fmin(np.fmax(values[:, :, band].astype(np.float64), low), high)  # both take NaN for the bound
            pixels[:, :, band] = np.floor(255 * (within - low) / (high - low) + 0.5)
    return pixels


def _codes(values: Array) -> Array:
    """The bits of the samples, as places in a table."""
    return values.view(np.dtype(f"u{values.dtype.itemsize}"))


@lru_cache(maxsize=64)
def _table(dtype: np.dtype[Any], low: float, high: float) -> Uint8:
    """The byte of every sample of up to 16 bits, in the order of their bits: how many of 255 steps it has reached."""
    start, length = Fraction(low), Fraction(high) - Fraction(low)
    steps = [math.ceil(start + length * (2 * byte - 1) / 510) for byte in range(1, 256)]
    bits = np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}")
    reached = np.searchsorted([max(-_FAR, min(step, _FAR)) for step in steps], bits.view(dtype), side="right")
    table = reached.astype(np.uint8)
    table.setflags(write=False)
    return table
