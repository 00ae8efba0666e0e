"""Drawn aerial views with small objects, as GeoTIFF: raw data that needs no download, too large to be shrunk.

A pixel is 0.35 m, a car 6 x 12 pixels. Scores on these scenes say nothing about real aerial images.
Bytes must not depend on the CPU: OpenCV gets integer coordinates, uint8 pixels and shapes that it fills by integer
arithmetic; floats meet + - * / and a square root alone.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import IntEnum
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from pydantic import Field
from rasterio.crs import CRS

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.raw import Dataset, Label, Pair
from segline.monitoring import console

Pixels = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom: pixels from the middle, before the scene is turned
Item = TypeVar("Item")

SPLITS = ("train", "val", "test")  # a split's position seeds its scenes
METRES, EAST, NORTH = 0.35, 400_000, 5_700_000  # size of a pixel; where the first scene lies


class Kind(IntEnum):
    """The classes: the value is the mask value."""

    FIELD = 0
    PAVED = 1
    BUILDING = 2
    TREE = 3
    CAR = 4
    WATER = 5


LEGEND = ((190, 205, 130), (150, 150, 155), (200, 70, 50), (30, 110, 45), (250, 220, 0), (60, 130, 210))
CLASSES = tuple(Label(kind.name.lower(), rgb) for kind, rgb in zip(Kind, LEGEND, strict=True))
MOTTLED = np.array([16, 7, 6, 24, 3, 5], np.int16)  # how strongly a class is mottled, in 16ths
GLASS, LINES, SAND, POOL = (38, 44, 52), (205, 203, 197), (118, 112, 84), (84, 170, 184)
CROPS = ((112, 138, 72), (150, 150, 88), (186, 170, 110), (128, 104, 80), (92, 122, 62), (158, 134, 98))
LAWNS = ((104, 132, 76), (116, 138, 84), (96, 120, 72))
ROOFS = ((158, 88, 66), (136, 74, 60), (112, 104, 100), (92, 92, 98), (128, 112, 92), (172, 110, 80))
HALLS = ((182, 184, 186), (152, 152, 150), (204, 204, 200), (108, 122, 144), (150, 116, 102))
PAVINGS = ((136, 134, 132), (124, 124, 126), (148, 144, 138))
CARS = ((226, 226, 224), (176, 180, 184), (96, 98, 102), (44, 46, 50), (150, 36, 34), (40, 66, 118), (170, 160, 136))
WATERS = ((60, 84, 98), (52, 76, 94), (68, 90, 98))
CROWNS = ((58, 86, 46), (68, 96, 50), (50, 78, 48), (80, 102, 52))
ROUND = ((2, 0), (1, 2), (-1, 2), (-2, 0), (-1, -2), (1, -2))  # six ways from a crown's middle to its lumps


class Section(params.Section):
    """Side of a scene in pixels, and number of scenes per split."""

    seed: int = Field(ge=0, lt=2**32)
    size: int = Field(ge=256, le=8192)
    train: int = Field(ge=1, le=10_000)
    val: int = Field(ge=1, le=10_000)
    test: int = Field(ge=1, le=10_000)


def splits(section: Section) -> list[str]:  # noqa: ARG001 - all sources share this signature
    """The names of the splits that `collect` returns."""
    return list(SPLITS)


def describe(section: Section, source_input: Path) -> Dataset:  # noqa: ARG001 - all sources share this signature
    """The data set without its pairs."""
    return Dataset("drawn-aerial-views", CLASSES, tuple(range(len(CLASSES))), None, "index", {})


def require_input(section: Section, source_input: Path) -> None:  # noqa: ARG001 - as above
    """Raises ParameterError unless DVC tracks the code that draws: otherwise stale scenes would go unnoticed."""
    if source_input.resolve() != Path(__file__).resolve():
        problem = f"expected segline/sources/aerial.py, the code that draws the scenes, got {source_input}"
        raise ParameterError("params.yaml: data.input", problem, "Write segline/sources/aerial.py.")


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The data set; its files are `folder/<split>/images/*.tif` (RGB) and `masks/*.tif` (0..5), both GeoTIFF.

    A scene depends only on the seed, the size, its split and its position in it, and is a group of its own.
    `source_input` is for DVC to track. Raises ParameterError if it is not this file.
    """
    require_input(section, source_input)
    tasks = [(split, number) for split in SPLITS for number in range(getattr(section, split))]
    listed: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for split, number in console.progress(tasks, len(tasks), "draw", "scene"):
        row = SPLITS.index(split)
        image, mask = scene(np.random.default_rng([section.seed, row, number]), section.size)
        stem = f"{split}-{number:05d}"
        files = {f"images/{stem}.tif": image, f"masks/{stem}.tif": mask[..., None]}
        hashes = [_write(folder / split / name, pixels, row, number) for name, pixels in files.items()]
        listed[split].append(Pair(stem, stem, *files, *hashes))
    return replace(describe(section, source_input), splits=listed)


def _write(path: Path, pixels: Pixels, row: int, column: int) -> str:
    """SHA-256 of the GeoTIFF written at `path`. The scenes of a split lie side by side, in a zone of UTM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = pixels.shape
    east, north = EAST + column * width * METRES, NORTH - row * height * METRES
    profile = {
        "driver": "GTiff", "dtype": "uint8", "height": height, "width": width, "count": bands,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "crs": CRS.from_epsg(32633),
        "transform": rasterio.Affine(METRES, 0, east, 0, -METRES, north),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def scene(rng: np.random.Generator, size: int) -> tuple[Pixels, Pixels]:
    """Image (size, size, 3) and mask (size, size): two quarters of town, two of country with a pond."""
    view = _View(rng, size)
    reach = 0.72 * size  # so far from the middle are the corners
    leaves = list(view.divide((-reach, -reach, reach, reach), 0, view.draw(0, 1)))
    country = [box for box, town in leaves if not town]
    wet = min(country, key=lambda box: abs(box[0] + box[2]) + abs(box[1] + box[3]))  # nearest to the middle
    for box, town in leaves:
        plan = view.pick((view.gardens, view.gardens, view.yard)) if town else view.field
        (view.pond if box == wet else plan)(box)
    return view.seen(), view.mask


class _View:
    """Image, mask and shadows of one scene, and what is drawn on them: roads first, as trees overhang them."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        self.image, self.mask = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
        self.shade = np.zeros((size, size), np.uint8)  # 1 where a shadow lies
        down = self.draw(-20, 20)
        length = math.sqrt(20 * 20 + down * down)
        self.cos, self.sin = 20 / length, down / length
        self.sun = self.pick([(0.9, 0.5), (0.7, 0.7), (0.5, 0.9), (-0.7, 0.7)])  # the shadow of a height of one pixel

    def draw(self, low: float, high: float) -> int:
        """An integer from low to high, both included."""
        return int(self.rng.integers(round(low), round(high) + 1))

    def pick(self, items: Sequence[Item]) -> Item:
        """One of `items`."""
        return items[self.draw(0, len(items) - 1)]

    def varied(self, colours: Sequence[Colour]) -> Colour:
        """One of the colours, a little brighter or darker."""
        return _toned(self.pick(colours), self.draw(92, 108))

    def turned(self, x: float, y: float) -> tuple[int, int]:
        """The pixel of a point."""
        return round(self.size / 2 + x * self.cos - y * self.sin), round(self.size / 2 + x * self.sin + y * self.cos)

    def fill(self, box: Box, colour: Colour, kind: Kind | None = None, height: int = 0) -> None:
        """A rectangle, and the shadow of its height. None leaves class and light as they are."""
        left, top, right, bottom = box
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        outline = np.array([self.turned(x, y) for x, y in corners], np.int32)
        cv2.fillConvexPoly(self.image, outline, colour)
        if kind is not None:
            shadow = outline + np.array([round(height * share) for share in self.sun], np.int32)
            cv2.fillConvexPoly(self.shade, cv2.convexHull(np.concatenate([outline, shadow])), 1)
            cv2.fillConvexPoly(self.shade, outline, 0)
            cv2.fillConvexPoly(self.mask, outline, int(kind))

    def disc(self, centre: tuple[int, int], radius: int, colour: Colour, kind: Kind | None = None) -> None:
        """As `fill`, about a pixel and without a shadow."""
        cv2.circle(self.image, centre, radius, colour, cv2.FILLED)
        if kind is not None:
            cv2.circle(self.shade, centre, radius, 0, cv2.FILLED)
            cv2.circle(self.mask, centre, radius, int(kind), cv2.FILLED)

    def divide(self, box: Box, depth: int, town: int) -> Iterator[tuple[Box, int]]:
        """Cuts a box in two by a road, and so on: the boxes that are left. The first two cuts make the quarters."""
        across, (left, top, right, bottom) = _along(box)
        if depth >= 2 and right - left < (400 if town else 700):
            yield box, town
            return
        width = (34, 26, 20)[depth] if depth < 3 else 16 if town else 10
        low = left + (right - left) * self.draw(36, 60) / 100
        self.road(_turned((low, top, low + width, bottom), across), width)
        for number, part in enumerate([(left, top, low, bottom), (low + width, top, right, bottom)]):
            yield from self.divide(_turned(part, across), depth + 1, town ^ number if depth < 2 else town)

    def road(self, box: Box, width: int) -> None:
        """With cars in both directions and dashes between them, unless it is a track."""
        across, (left, top, right, bottom) = _along(box)
        paving, middle = self.varied(PAVINGS), (top + bottom) / 2
        self.fill(box, paving, Kind.PAVED)
        if width < 16:
            return
        for edge in (top, bottom - 3):
            self.fill(_turned((left, edge, right, edge + 3), across), _toned(paving, 118))
        for x in range(round(left), round(right), 24):
            self.fill(_turned((x, middle, x + 10, middle + 1), across), LINES)
        for lane in (top + width / 4 - 3, bottom - width / 4 - 3):
            x = round(left) + self.draw(0, 60)
            while x < right:
                self.car(_turned((x, lane, x + self.draw(11, 13), lane + self.draw(5, 6)), across))
                x += self.pick((15, 40, 90, 160))

    def car(self, box: Box) -> None:
        """Body, windscreen and rear window."""
        self.fill(box, self.varied(CARS), Kind.CAR, 3)
        across, (left, top, _, bottom) = _along(box)
        for place in self.pick([(2, 9), (1, 7)]):
            self.fill(_turned((left + place, top + 1, left + place + 2, bottom - 1), across), GLASS)

    def trees(self, box: Box, spacing: int, percent: int) -> None:
        """Crowns of seven discs, lighter towards the sun, at jittered places all over a box."""
        left, top, right, bottom = (round(side + spacing / 2) for side in box)
        for y, x in product(range(top, bottom, spacing), range(left, right, spacing)):
            if self.draw(1, 100) > percent:
                continue
            radius, colour = self.draw(5, 11), self.varied(CROWNS)
            middle = self.turned(x + self.draw(-spacing, spacing) / 3, y + self.draw(-spacing, spacing) / 3)
            shift = [round(radius * share) for share in self.sun]
            cv2.circle(self.shade, (middle[0] + shift[0], middle[1] + shift[1]), radius, 1, cv2.FILLED)
            lumps = [
                (middle[0] + radius * dx // 4 + self.draw(-1, 1), middle[1] + radius * dy // 4) for dx, dy in ROUND
            ]
            for lump in (*lumps, middle):
                self.disc(lump, radius * 11 // 20 + 1, colour, Kind.TREE)
            for lump in lumps:
                lit = (lump[0] - shift[0] // 4, lump[1] - shift[1] // 4)
                self.disc(lit, radius // 4 + 1, _toned(colour, self.draw(106, 136)))

    def field(self, box: Box) -> None:
        """A crop in stripes, a meadow with single trees, or a wood."""
        crop = self.varied(CROPS)
        self.fill(box, crop, Kind.FIELD)
        self.stripes(box, _toned(crop, self.draw(86, 98)), self.draw(4, 12))
        self.trees(box, 15, self.pick((0, 0, 2, 92)))

    def stripes(self, box: Box, colour: Colour, period: int) -> None:
        """Along the longer side of a box, half of it covered."""
        across, (left, top, right, bottom) = _along(box)
        for y in range(round(top), round(bottom - period / 2) + 1, period):
            self.fill(_turned((left, y, right, y + period / 2), across), colour)

    def pond(self, box: Box) -> None:
        """Water in a meadow, with trees along one side."""
        left, top, right, bottom = box
        self.fill(box, self.varied(LAWNS), Kind.FIELD)
        side, x, y = min(right - left, bottom - top), (left + right) / 2, (top + bottom) / 2
        lobes = [self.turned(x + self.draw(-side, side) / 7, y + self.draw(-side, side) / 7) for _ in range(4)]
        for radius, colour, kind in ((side * 0.32, SAND, None), (side * 0.29, self.varied(WATERS), Kind.WATER)):
            for lobe in lobes:
                self.disc(lobe, round(radius), colour, kind)
        self.trees((left, top, right, top + 50), 18, 70)

    def yard(self, box: Box) -> None:
        """Halls with flat roofs, and cars parked side by side between white lines, on paved ground."""
        self.fill(box, self.varied(PAVINGS), Kind.PAVED)
        left, top, right, bottom = (round(side) for side in box)
        for y in range(top + 18, bottom - 60, 130):
            x = left + 18
            while x + 60 < right:
                end, low = min(x + self.draw(60, 150), right - 14), min(y + self.draw(70, 110), bottom - 14)
                if self.draw(0, 1):
                    self.hall((x, y, end, low))
                else:
                    for row, slot in product(range(y, low - 14, 30), range(x, end - 8, 9)):
                        self.fill((slot, row, slot + 1, row + 15), LINES)
                        if self.draw(0, 2):
                            self.car((slot + 2, row + 1, slot + 8, row + self.draw(12, 14)))
                x = end + 20

    def hall(self, box: Box) -> None:
        """A rim, ribs, and boxes for air."""
        left, top, right, bottom = box
        roof = self.varied(HALLS)
        self.fill(box, roof, Kind.BUILDING, self.draw(14, 26))
        self.stripes((left + 3, top + 3, right - 3, bottom - 3), _toned(roof, 86), 7)
        for _ in range(self.draw(2, 8)):
            x, y = self.draw(left + 5, right - 12), self.draw(top + 5, bottom - 12)
            self.fill((x, y, x + self.draw(4, 9), y + self.draw(4, 9)), self.varied(HALLS), Kind.BUILDING, 3)

    def gardens(self, box: Box) -> None:
        """Two rows of plots, each with a lawn, a drive to the road, a house, trees, perhaps a car and a pool."""
        left, top, right, bottom = box
        deep = (bottom - top) / 2
        self.fill(box, self.varied(LAWNS), Kind.FIELD)
        for road, away in ((top, 1), (bottom, -1)):
            part = partial(_from, road, away)
            x = left
            while x + 46 < right:
                end, front, back = min(x + self.draw(46, 72), right), self.draw(10, 24), self.draw(38, 56)
                self.fill(part((x, 0, end, deep)), self.varied(LAWNS), Kind.FIELD)
                self.fill(part((x + 3, 0, x + 12, front + 16)), self.varied(PAVINGS), Kind.PAVED)
                if self.draw(1, 100) <= 15:
                    self.fill(part((end - 26, deep - 22, end - 8, deep - 12)), POOL, Kind.WATER)
                if self.draw(1, 100) <= 60:
                    self.car(part((x + 4, front - 6, x + 10, front + 6)))
                self.house(part((x + 14, front, min(end - 4, x + 50), back)))
                self.trees(part((x, back + 8, end, deep)), 26, 34)
                x = end

    def house(self, box: Box) -> None:
        """A roof of two slopes, one in the sun, and rows of tiles."""
        across, (left, top, right, bottom) = _along(box)
        roof, middle = self.varied(ROOFS), (top + bottom) / 2
        self.fill(box, _toned(roof, 80), Kind.BUILDING, self.draw(10, 15))
        lit = (left, top, right, middle) if self.sun[across] > 0 else (left, middle, right, bottom)
        self.fill(_turned(lit, across), _toned(roof, 112))
        self.stripes(box, _toned(roof, 90), 6)

    def seen(self) -> Pixels:
        """The image as a camera sees it: mottled, a little soft, tinted by the air, with noise."""
        texture = np.zeros(self.mask.shape, np.int16)
        for cell, weight in ((3, 5), (14, 6), (80, 8)):
            cells = self.size // cell + 1
            grid = self.rng.integers(0, 256, (cells, cells), np.uint8)
            grown = cv2.resize(grid, (cells * cell, cells * cell), interpolation=cv2.INTER_LINEAR_EXACT)
            texture += (grown[: self.size, : self.size].astype(np.int16) - 128) * weight // 32
        lit = self.image - self.image // 9 * (4 * self.shade[..., None])
        mottled = np.clip(lit + (texture * MOTTLED[self.mask] // 16)[..., None], 0, 255).astype(np.uint8)
        image = cv2.blur(mottled, (3, 3)).astype(np.int32)
        tint = self.draw(218, 258) + self.rng.integers(-6, 7, 3)
        noise = self.rng.integers(-5, 6, image.shape, np.int16) + self.rng.integers(-5, 6, image.shape, np.int16)
        pixels: Pixels = np.clip((image * tint >> 8) + self.draw(0, 24) + noise, 0, 255).astype(np.uint8)
        return pixels


def _toned(colour: Colour, percent: int) -> Colour:
    red, green, blue = (min(255, shade * percent // 100) for shade in colour)
    return red, green, blue


def _turned(box: Box, across: bool) -> Box:
    """The box as it is, or with x and y exchanged: for what is laid out along the longer side of another."""
    left, top, right, bottom = box
    return box if across else (top, left, bottom, right)


def _from(edge: float, away: int, box: Box) -> Box:
    """A box whose top and bottom are distances from an edge, upwards (away = -1) or downwards (1)."""
    left, top, right, bottom = box
    low, high = sorted((edge + away * top, edge + away * bottom))
    return left, low, right, high


def _along(box: Box) -> tuple[bool, Box]:
    """Whether a box is wider than high, and the box turned so that it is."""
    left, top, right, bottom = box
    across = right - left > bottom - top
    return across, _turned(box, across)
