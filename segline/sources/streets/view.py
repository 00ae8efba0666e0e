"""What a camera in a car sees: perspective, labelled shapes, light, weather and the sensor.

Legend: x metres right of the road's middle, y metres above it, z metres ahead of the camera; u, v pixels.
Bytes must not depend on the CPU: OpenCV gets integer coordinates, uint8 pixels and shapes that it fills by integer
arithmetic only (no thick lines, no ellipses); floats meet + - * / and rounding alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[float, float, float]
Item = TypeVar("Item")

SUPERSAMPLING = 2  # drawn at twice the size: the image is averaged, the mask is picked
NEAREST = 1.5  # metres; what is closer is pushed to this distance, so that projections stay finite
OFF_SCREEN = 20_000  # pixels; OpenCV's 16.16 fixed point overflows beyond 32767


class Kind(IntEnum):
    """The classes of CamVid in their usual order: the value is the mask value."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN_SYMBOL = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10


VOID = 11


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A draw from [low, high] in 4096 steps: `rng.uniform` may fuse its multiply and add on some CPUs."""
    return low + (high - low) * (int(rng.integers(0, 4097)) / 4096)


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of `items`, all equally likely."""
    return items[int(rng.integers(0, len(items)))]


def toned(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (factor < 1) or lighter, up to 255."""
    red, green, blue = colour
    return min(255, round(red * factor)), min(255, round(green * factor)), min(255, round(blue * factor))


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`first` with `share` (0..1) of it replaced by `second`."""
    (red, green, blue), rest = first, 1 - share
    return (
        round(red * rest + second[0] * share),
        round(green * rest + second[1] * share),
        round(blue * rest + second[2] * share),
    )


def varied(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    """`colour` with brightness changed by up to `spread` and each channel by a third of it."""
    shift = int(rng.integers(-spread, spread + 1))
    red, green, blue = (
        min(255, max(0, channel + shift + int(rng.integers(-spread // 3, spread // 3 + 1)))) for channel in colour
    )
    return red, green, blue


@dataclass(frozen=True)
class Light:
    """Sky colours, the effect of air and sensor on colours, and the direction of shadows.

    A distance of `visibility` metres replaces half a colour by haze. `sun` is metres of shadow per metre of height,
    (sideways, away). `shadow`, `cloud`, `noise` 0..255; `tint` in 256ths per channel.
    """

    sky_top: Colour
    sky_low: Colour
    tint: Colour
    visibility: float
    shadow: int
    cloud: int
    noise: int
    sun: tuple[float, float]
    low_sun: bool = False
    rain: bool = False


CLEAR = Light((74, 122, 190), (190, 212, 232), (258, 252, 244), 420, 120, 210, 14, (0.5, 0.3))
BRIGHT = Light((98, 150, 214), (214, 226, 236), (278, 272, 262), 420, 140, 90, 10, (-0.4, 0.2))
OVERCAST = Light((160, 165, 173), (206, 209, 213), (234, 238, 246), 240, 40, 70, 14, (0.0, 0.0))
LOW_SUN = Light((112, 140, 184), (250, 214, 158), (282, 244, 196), 130, 150, 120, 14, (1.3, -0.6), low_sun=True)
DUSK = Light((56, 66, 104), (178, 138, 124), (184, 174, 196), 200, 30, 90, 28, (0.0, 0.0))
RAIN = Light((132, 136, 143), (168, 173, 178), (196, 206, 218), 90, 40, 50, 18, (0.0, 0.0), rain=True)
FOG = Light((186, 190, 193), (196, 199, 202), (240, 242, 246), 38, 25, 12, 12, (0.0, 0.0))
WEATHERS = (CLEAR, CLEAR, BRIGHT, BRIGHT, OVERCAST, OVERCAST, LOW_SUN, DUSK, RAIN, FOG)


@dataclass(frozen=True)
class Camera:
    """A pinhole `altitude` m above and `offset` m right of the middle of a road that bends by `bend` z^2 metres."""

    width: int
    height: int
    focal: float
    horizon: float
    altitude: float
    offset: float
    bend: float

    def project(self, point: Point) -> tuple[int, int]:
        """The pixel (u, v), also far outside the picture."""
        x, y, z = point
        z = max(z, NEAREST)
        u = round(self.width / 2 + self.focal * ((x - self.offset) / z + self.bend * z))
        v = round(self.horizon + self.focal * (self.altitude - y) / z)
        if -OFF_SCREEN < u < OFF_SCREEN and -OFF_SCREEN < v < OFF_SCREEN:
            return u, v
        return min(OFF_SCREEN, max(-OFF_SCREEN, u)), min(OFF_SCREEN, max(-OFF_SCREEN, v))

    def depth(self, v: int) -> float:
        """Distance in metres of the ground seen in pixel row `v`, which is below the horizon."""
        return self.focal * self.altitude / (v - self.horizon)


class Canvas:
    """An unfinished picture (H, W, 3) uint8 RGB and the mask (H, W) of its pixels."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self.camera = camera
        self.light = light
        self.image: Pixels = np.zeros((camera.height, camera.width, 3), np.uint8)
        self.mask: Pixels = np.zeros((camera.height, camera.width), np.uint8)
        self.shade: Pixels = np.full((camera.height, camera.width), 255, np.uint8)

    def hazy(self, colour: Colour, z: float) -> Colour:
        """`colour` as it looks through `z` metres of air."""
        return mixed(colour, self.light.sky_low, z / (z + self.light.visibility))

    def shape(self, points: Sequence[Point], colour: Colour, kind: int | None) -> None:
        """Fills the polygon; `kind` None leaves the mask as it is (a detail of what is already there)."""
        pixels = [self.camera.project(point) for point in points]
        z = sum(max(point[2], NEAREST) for point in points) / len(points)
        self._fill([pixels], self.hazy(colour, z), kind)

    def flat(self, at: Point, outline: Sequence[tuple[float, float]], colour: Colour, kind: int | None) -> None:
        """Fills a polygon that faces the camera: `outline` in metres right of and above `at`."""
        x, y, z = at
        self.shape([(x + right, y + up, z) for right, up in outline], colour, kind)

    def box(self, at: Point, half: float, up: float, colour: Colour, kind: int | None) -> None:
        """Fills a rectangle that faces the camera, `half` metres to each side of `at` and `up` metres high.

        It stays two drawn pixels wide at any distance: a far pole is thin, not absent.
        """
        left, bottom = self.camera.project((at[0] - half, at[1], at[2]))
        right, top = self.camera.project((at[0] + half, at[1] + up, at[2]))
        right = max(right, left + 1)
        self._fill([[(left, bottom), (left, top), (right, top), (right, bottom)]], self.hazy(colour, at[2]), kind)

    def disc(self, at: Point, radius: float, colour: Colour, kind: int | None) -> None:
        """Fills a circle that faces the camera, `radius` in metres."""
        centre = self.camera.project(at)
        pixels = min(2000, max(1, round(self.camera.focal * radius / max(at[2], NEAREST))))
        if -pixels <= centre[0] < self.camera.width + pixels and abs(centre[1]) < OFF_SCREEN:
            cv2.circle(self.image, centre, pixels, self.hazy(colour, at[2]), cv2.FILLED)
            if kind is not None:
                cv2.circle(self.mask, centre, pixels, int(kind), cv2.FILLED)

    def ring(self, at: Point, radius: float, colour: Colour, kind: int | None) -> None:
        """Fills a wheel seen from the side: a sixteen-cornered rim, open inside."""
        rims = [
            [self.camera.project((at[0] + r * right / 12, at[1] + r * up / 12, at[2])) for right, up in WHEEL]
            for r in (radius, radius * 0.78)
        ]
        self._fill(rims, self.hazy(colour, at[2]), kind)

    def veil(self, points: Sequence[Point], kind: int) -> None:
        """Labels the polygon without painting it: a see-through thing."""
        pixels = [self.camera.project(point) for point in points]
        cv2.fillPoly(self.mask, [np.array(pixels, np.int32)], int(kind))

    def shadow(self, points: Sequence[Point]) -> None:
        """Darkens the ground under the polygon when `shade` is applied."""
        pixels = [self.camera.project(point) for point in points]
        cv2.fillPoly(self.shade, [np.array(pixels, np.int32)], 255 - self.light.shadow)

    def _fill(self, outlines: Sequence[Sequence[tuple[int, int]]], colour: Colour, kind: int | None) -> None:
        if all(u < 0 for u, _ in outlines[0]) or all(u >= self.camera.width for u, _ in outlines[0]):
            return
        polygons = [np.array(outline, np.int32) for outline in outlines]
        cv2.fillPoly(self.image, polygons, colour)
        if kind is not None:
            cv2.fillPoly(self.mask, polygons, int(kind))


# A circle of radius 12 in whole numbers: sine and cosine differ between systems.
WHEEL = [(12, 0), (11, 5), (8, 8), (5, 11), (0, 12), (-5, 11), (-8, 8), (-11, 5)]
WHEEL += [(-right, -up) for right, up in WHEEL]
