"""How each sample is changed in an epoch, drawn on the host and rounded to integers. Pixels are not touched here.

N samples of H x W. Sines and powers may differ in their last bits between kinds of CPU; rounded to `transforms.BITS`
fractional bits, fewer than one number in a million would.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.preparation import Bands
from segline.model import randomness
from segline.training.augmentation import transforms
from segline.training.augmentation.transforms import ONE

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class Section(params.Section):
    """Each key is a probability, or how far a sample may be changed to either side; see params.yaml."""

    flip_horizontal: float = Field(ge=0, le=1)
    flip_vertical: float = Field(ge=0, le=1)
    rotation: float = Field(ge=0, le=180)
    zoom: float = Field(ge=1, le=10)
    shift: float = Field(ge=0, le=1)
    crop: float = Field(gt=0, le=1)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=1)
    saturation: float = Field(ge=0, le=1)
    noise: float = Field(ge=0, le=64)
    cut_mix: float = Field(ge=0, le=1)

    @property
    def moves(self) -> bool:
        """Whether a pixel can change its place."""
        turns = self.flip_horizontal + self.flip_vertical + self.rotation + self.shift > 0
        return turns or self.zoom > 1 or self.crop < 1

    @property
    def recolours(self) -> bool:
        """Whether a pixel can change its value."""
        return self.brightness + self.contrast + self.saturation + self.noise > 0


def require_colours(section: Section, bands: Bands) -> None:
    """Raises ParameterError for a saturation of bands that are not R, G and B; gray images it leaves as they are."""
    if section.saturation > 0 and isinstance(bands, tuple):
        problem = f"{section.saturation:g} needs R, G and B, but preprocess.bands is {list(bands)}"
        remedy = "Set it to 0.0, or preprocess.bands to rgb. Brightness, contrast and noise suit any bands."
        raise ParameterError(f"{params.FILE}: augment.saturation", problem, remedy)


class Draws(NamedTuple):
    """The draws of each sample, whatever is switched on: float64 (N,), uniform in 0..1. Append new ones at the end."""

    flip_horizontal: Float64
    flip_vertical: Float64
    rotation: Float64
    zoom: Float64
    shift_y: Float64
    shift_x: Float64
    crop_y: Float64
    crop_x: Float64
    brightness: Float64
    contrast: Float64
    saturation: Float64
    noise: Float64
    cut_mix: Float64
    box_size: Float64
    box_y: Float64
    box_x: Float64


@dataclass(frozen=True)
class Plan:
    """The row that each of N samples of an epoch shows, and how it is changed, in integers; a group is None if its
    parameters are off.

    `affine`, `colours` and `boxes` are arguments of the functions of `transforms`; `partners` are the samples that
    boxes are taken from, -1 for no box.
    """

    rows: Int64
    size: tuple[int, int]
    affine: Int64 | None
    colours: Int64 | None
    keys: Int64
    noise: int
    partners: Int64
    boxes: Int64


def draw(seed: int, epoch: int, count: int) -> Draws:
    """The draws of `count` samples; those of sample i depend only on (seed, epoch, i)."""
    streams = [randomness.generator(seed, randomness.AUGMENT, epoch, place) for place in range(len(Draws._fields))]
    return Draws(*(stream.random(count) for stream in streams))


def plan(section: Section, image: tuple[int, int], drawn: Draws, rows: Int64, partners: Int64) -> Plan:
    """The draws as a plan for samples that show `rows` (N,) of an image's size; boxes may be taken from the samples
    `partners` (N,).
    """
    size = max(1, round(section.crop * image[0])), max(1, round(section.crop * image[1]))
    mixes = drawn.cut_mix < section.cut_mix
    return Plan(
        rows=rows,
        size=size,
        affine=_affine(section, image, size, drawn) if section.moves else None,
        colours=_colours(section, drawn) if section.recolours else None,
        keys=np.floor(drawn.noise * 2**32).astype(np.int64),
        noise=round(section.noise / transforms.FOUR_BYTES * ONE),
        partners=np.where(mixes, partners, -1),
        boxes=_boxes(size, drawn) * mixes[:, None],
    )


def _either_side(strength: float, drawn: Float64) -> Float64:
    return strength * (2 * drawn - 1)


def _affine(section: Section, size: tuple[int, int], window: tuple[int, int], drawn: Draws) -> Int64:
    """Pixel of the cropped window -> place in the image, as `transforms.places` takes it.

    The image is flipped, rotated counterclockwise and scaled about its centre, then shifted, then cropped.
    """
    angle = np.deg2rad(_either_side(section.rotation, drawn.rotation))
    scale = section.zoom ** _either_side(1, drawn.zoom)
    flipped = [drawn.flip_vertical < section.flip_vertical, drawn.flip_horizontal < section.flip_horizontal]
    shifts = [_either_side(section.shift, drawn.shift_y), _either_side(section.shift, drawn.shift_x)]
    corners = [drawn.crop_y, drawn.crop_x]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    turn *= np.where(flipped, -1, 1)[:, None]
    # Places are counted from the centre in half pixels, which makes them integers; hence ONE // 2.
    linear = np.rint(turn * (ONE // 2)).astype(np.int64)
    start = np.array([np.full(angle.shape, (side - 1) * (ONE // 2)) for side in size])
    for axis, (side, kept) in enumerate(zip(size, window, strict=True)):
        corner = np.floor(corners[axis] * (side - kept + 1)).astype(np.int64)
        start += linear[:, axis] * (2 * corner - (side - 1))
        start -= np.rint(turn[:, axis] * (shifts[axis] * side * ONE)).astype(np.int64)
    return np.concatenate([2 * linear, start[:, None]], axis=1).transpose(2, 0, 1)


def _colours(section: Section, drawn: Draws) -> Int64:
    """Own weight, luma weight and offset of saturation, then contrast about mid-gray, then brightness."""
    saturation = 1 + _either_side(section.saturation, drawn.saturation)
    contrast = 1 + _either_side(section.contrast, drawn.contrast)
    brightness = 255 * _either_side(section.brightness, drawn.brightness)
    weights = [contrast * saturation, contrast * (1 - saturation), 127.5 * (1 - contrast) + brightness]
    return np.rint(np.stack(weights, axis=1) * ONE).astype(np.int64)


def _boxes(size: tuple[int, int], drawn: Draws) -> Int64:
    """Top, bottom, left, right of boxes whose share of the area and centre are uniform, cut off at the edges.

    Source: Yun et al. 2019, "CutMix", section 3.1 with alpha = 1.
    """
    edges = []
    for side, middle in zip(size, (drawn.box_y, drawn.box_x), strict=True):
        extent = np.floor(side * np.sqrt(drawn.box_size))
        first = np.floor(side * middle) - extent // 2
        edges += [first.clip(0, side), (first + extent).clip(0, side)]
    return np.stack(edges, axis=1).astype(np.int64)
