"""The parts of a street scene that are not things: sky, ground, surface texture, rain, and effects of lens and sensor.

All of it is integer arithmetic on whole arrays, H x W at the drawn size. See `streets.view` for the legend.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from operator import mul
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segline.sources.streets.view import (
    NEAREST,
    SUPERSAMPLING,
    VOID,
    Canvas,
    Colour,
    Kind,
    Pixels,
    Point,
    mixed,
    varied,
)

FAR = 170.0  # metres; the street ends there
# Places along the street where the curved edges of the ground are computed, closer together near the camera.
# Multiplied step by step: `**` is the pow of the system's library, whose last bits differ between systems.
STATIONS = [*accumulate(repeat(1.22, 23), mul, initial=1.5), FAR]


@dataclass(frozen=True)
class Ground:
    """Where road and pavement end, in metres from the road's middle, and their materials."""

    kerb: float
    wall: float
    road: Colour
    pavement: Colour
    centre_line: int
    edge_line: int
    crossing: float


# How much fine and coarse noise a surface shows, in 128ths of the range, by mask value.
FINE = np.array([1, 7, 5, 9, 10, 26, 4, 9, 4, 8, 8, 9], np.int32)
COARSE = np.array([2, 20, 8, 22, 24, 40, 6, 16, 14, 14, 14, 20], np.int32)
BROAD_KINDS = (Kind.SKY, Kind.BUILDING, Kind.ROAD, Kind.PAVEMENT, Kind.TREE, Kind.FENCE, Kind.CAR)


def clouds(rng: np.random.Generator, height: int, width: int, cell: int) -> npt.NDArray[np.int32]:
    """Smooth noise (H, W), 0..255: random grids of `cell`, `cell`/2 and `cell`/4 pixels, coarse ones stronger."""
    total: Any = np.zeros((height, width), np.int32)
    for octave, weight in ((1, 4), (2, 2), (4, 1)):
        rows, columns = height * octave // cell + 2, width * octave // cell + 2
        grid = rng.integers(0, 256, (rows, columns), np.uint8)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR_EXACT).astype(np.int32)
    smooth: npt.NDArray[np.int32] = total // 7
    return smooth


def sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fills the canvas from the top to the horizon: gradient, clouds, a glow where the sun is low."""
    height, width, _ = canvas.image.shape
    light, horizon = canvas.light, max(1, round(canvas.camera.horizon))
    rows = np.minimum(np.arange(height, dtype=np.int32) * 256 // horizon, 256)[:, None, None]
    top, low = np.array(light.sky_top, np.int32), np.array(light.sky_low, np.int32)
    colour: npt.NDArray[np.int32] = (top * (256 - rows) + low * rows) // 256
    puffs = clouds(rng, height, width // 3 + 1, max(8, height // 6)).repeat(3, axis=1)[:, :width]  # wider than high
    cover = np.clip((puffs - 122) * 6, 0, 255) * light.cloud // 255
    white = np.minimum(low + 24, 255)
    colour = colour + (white - colour) * cover[:, :, None] // 256
    if light.low_sun:
        u, v = int(rng.integers(0, width)), int(horizon * 0.55)
        across, down = np.arange(width, dtype=np.int32) - u, np.arange(height, dtype=np.int32)[:, None] - v
        core = height * height // 160
        glow = 150 * core // (across * across + down * down + core)
        colour = np.minimum(colour + glow[:, :, None] * np.array((256, 230, 170), np.int32) // 256, 255)
    canvas.image[:] = colour.astype(np.uint8)
    canvas.mask[:] = Kind.SKY


def ground(canvas: Canvas, plan: Ground, start: float) -> None:
    """Draws verge, pavements, kerbs, road and markings; `start` is how far along the street the camera is."""
    below = max(0, round(canvas.camera.horizon) + 1)
    canvas.image[below:] = canvas.hazy((88, 96, 62), 60)
    canvas.mask[below:] = Kind.TREE
    _strip(canvas, -plan.wall, plan.wall, plan.pavement, Kind.PAVEMENT)
    _strip(canvas, -plan.kerb - 0.18, plan.kerb + 0.18, (168, 164, 156), Kind.PAVEMENT)
    _strip(canvas, -plan.kerb, plan.kerb, plan.road, Kind.ROAD)
    paint: Colour = (206, 204, 196)
    if plan.edge_line:
        colour = paint if plan.edge_line == 1 else (200, 176, 70)
        for side in (-1, 1):
            line = side * (plan.kerb - 0.4)
            _strip(canvas, line - 0.06, line + 0.06, colour, None)
    if plan.centre_line == 1:
        _strip(canvas, -0.07, 0.07, paint, None)
    elif plan.centre_line == 2:
        for number in range(int(start // 6), int(start // 6) + 16):
            near = number * 6.0 - start
            if near + 3 > NEAREST:
                _dash(canvas, -0.07, 0.07, near, paint)
    near = plan.crossing - start
    if near > 0:
        for stripe in range(int(2 * plan.kerb)):
            left = -plan.kerb + stripe + 0.2
            _dash(canvas, left, left + 0.5, near, paint)


def shade(canvas: Canvas) -> None:
    """Applies the shadows to what is drawn so far (the ground)."""
    soft = cv2.blur(canvas.shade, (5, 5)).astype(np.uint16)[:, :, None]
    below = max(0, round(canvas.camera.horizon) + 1)
    canvas.image[below:] = (canvas.image[below:].astype(np.uint16) * soft[below:] // 255).astype(np.uint8)


def _strip(canvas: Canvas, left: float, right: float, colour: Colour, kind: int | None) -> None:
    """A band of ground along the whole street, in pieces, as haze grows with distance."""
    for near, far in pairwise(STATIONS):
        corners: list[Point] = [(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)]
        canvas.shape(corners, colour, kind)


def _dash(canvas: Canvas, left: float, right: float, near: float, colour: Colour) -> None:
    """A painted rectangle three metres long."""
    canvas.shape([(left, 0, near), (right, 0, near), (right, 0, near + 3), (left, 0, near + 3)], colour, None)


def texture(canvas: Canvas, rng: np.random.Generator) -> None:
    """Adds grain and stains to all surfaces, by class, and a wet road's mirror image in the rain."""
    height, width, _ = canvas.image.shape
    grain = rng.integers(-128, 128, (height, width), np.int8).astype(np.int32)
    stain = clouds(rng, height, width, max(8, height // 10)) - 128
    change: Any = (grain * FINE[canvas.mask] + stain * COARSE[canvas.mask]) >> 7
    image: Any = canvas.image.astype(np.int32)
    if canvas.light.rain:
        below = max(0, round(canvas.camera.horizon) + 1)
        depth = min(height - below, below)
        mirror = image[below - depth : below][::-1]
        wet = (canvas.mask[below : below + depth] == Kind.ROAD)[:, :, None]
        part = image[below : below + depth]
        part += wet * (mirror - part) // 4
    canvas.image[:] = np.clip(image + change[:, :, None], 0, 255).astype(np.uint8)


def bonnet(canvas: Canvas) -> None:
    """The edge of the camera's own car along the bottom: void."""
    height, width = canvas.mask.shape
    for share, part in ((24, 0.5), (30, 0.1)):  # a bright rim, then the body a little lower
        arc = [
            (step * width // 16, height - height * (64 - (step - 8) * (step - 8)) // (64 * share)) for step in range(17)
        ]
        polygon = np.array([*arc, (width, height), (0, height)], np.int32)
        cv2.fillPoly(canvas.image, [polygon], mixed((64, 68, 76), canvas.light.sky_low, part))
        cv2.fillPoly(canvas.mask, [polygon], VOID)


def ambiguous_borders(canvas: Canvas, rng: np.random.Generator) -> None:
    """Turns some borders between large classes into void, in patches, as annotators of street scenes do."""
    mask = canvas.mask
    height, width = mask.shape
    border = np.zeros(mask.shape, bool)
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    border[1:] |= mask[1:] != mask[:-1]
    border[:, :-1] |= border[:, 1:]
    border[:-1] |= border[1:]
    patch = clouds(rng, height, width, max(8, height // 4)) > 138
    broad = np.isin(mask, BROAD_KINDS)
    mask[border & patch & broad] = VOID


def rain(canvas: Canvas, rng: np.random.Generator) -> None:
    """Streaks that lighten what is behind them."""
    height, width, _ = canvas.image.shape
    streaks = np.zeros((height, width), np.uint8)
    slant = int(rng.integers(-3, 4))
    for u, v, size in rng.integers(0, 4096, (height * width // 700, 3)):
        start, run = (int(u) * width // 4096, int(v) * height // 4096), height // 40 + int(size) * height // 80000
        cv2.line(streaks, start, (start[0] + slant * run // 10, start[1] + run), 60)
    lighter = canvas.image.astype(np.int32)
    lighter += (230 - lighter) * streaks[:, :, None] // 256
    canvas.image[:] = lighter.astype(np.uint8)


def expose(canvas: Canvas, rng: np.random.Generator, *, blurred: bool) -> tuple[Pixels, Pixels]:
    """The picture and mask at their final size: tint, lens blur, averaging of pixels, vignette, noise."""
    picture = cv2.GaussianBlur(canvas.image, (5, 5), 0) if blurred else canvas.image
    height, width = canvas.mask.shape[0] // SUPERSAMPLING, canvas.mask.shape[1] // SUPERSAMPLING
    small: Any = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.int32)
    tint = np.array(varied(rng, (128, 128, 128), 12), np.int32) + np.array(canvas.light.tint, np.int32) - 128
    squared = (2 * np.arange(width) - width) ** 2 + (2 * np.arange(height)[:, None] - height) ** 2
    vignette = 256 - 60 * squared // (width * width + height * height)
    small = (small * tint >> 8) * vignette[:, :, None] >> 8
    noise = rng.integers(-128, 128, (2, height, width, 3), np.int8).astype(np.int32).sum(axis=0)
    small += noise * canvas.light.noise >> 8
    return np.clip(small, 0, 255).astype(np.uint8), canvas.mask[::SUPERSAMPLING, ::SUPERSAMPLING].copy()
