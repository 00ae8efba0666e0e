"""Houses: facades in bays along the street, gables towards the camera, and the end of the street. Sizes in metres."""

from dataclasses import dataclass

import numpy as np

from segline.sources.streets.objects import GLASS, PAINTS
from segline.sources.streets.view import NEAREST, Canvas, Colour, Kind, Point, between, mixed, pick, toned, varied

WALLS: tuple[Colour, ...] = (
    (150, 92, 72), (176, 120, 92), (196, 178, 150), (214, 206, 190), (136, 132, 128), (120, 104, 92), (186, 160, 120),
    (160, 168, 172), (108, 84, 76), (224, 214, 180), (112, 124, 116),
)  # fmt: skip
DETAILED = 45.0  # metres; beyond it a window frame is less than a pixel
DEPTH = 9.0  # metres of a building from front to back


@dataclass(frozen=True)
class House:
    """Common to the bays of one building. `side` is -1 left, +1 right of the road; `bay` metres along the street."""

    side: int
    wall: Colour
    floors: int
    storey: float
    bay: float
    shop: bool
    roof: float
    window: tuple[float, float]
    lit: bool


def house(rng: np.random.Generator, side: int, tallest: int, lit: bool) -> House:
    """A building of 1 to `tallest` floors."""
    wall = varied(rng, pick(rng, WALLS), 22)
    floors, storey, bay = int(rng.integers(2, tallest + 1)), between(rng, 2.7, 3.4), between(rng, 3.0, 5.0)
    roof = pick(rng, (0.0, 0.0, 1.6, 2.4))
    window = (between(rng, 0.18, 0.34), between(rng, 0.5, 0.9))
    return House(side, wall, floors, storey, bay, bool(rng.integers(0, 3) == 0), roof, window, lit)


def bay(canvas: Canvas, x: float, z: float, rng: np.random.Generator, *, house: House, end: bool) -> None:
    """One bay of a facade from `z` on; including the end wall that faces the camera if it is the first (`end`)."""
    top = house.floors * house.storey
    wall = toned(house.wall, 1.0 if canvas.light.sun[0] * house.side < 0 else 0.78)
    if house.roof:
        _roof(canvas, x, z, rng, house)
    if end:
        _end_wall(canvas, x, max(z, NEAREST), house)

    def panel(start: float, stop: float, low: float, high: float, colour: Colour) -> None:
        near, far = z + house.bay * start, z + house.bay * stop
        canvas.shape([(x, low, near), (x, low, far), (x, high, far), (x, high, near)], colour, Kind.BUILDING)

    panel(0, 1, 0, top, wall)
    panel(0, 1, top - 0.25, top, toned(wall, 1.15))
    panel(0, 1, 0, 0.5, toned(wall, 0.7))
    margin, sill = house.window
    for floor in range(house.floors):
        bottom, lintel = floor * house.storey, (floor + 1) * house.storey - 0.5
        if floor == 0 and house.shop:
            panel(0.08, 0.92, 0.4, lintel, mixed(GLASS, (200, 190, 150), between(rng, 0, 0.5)))
            panel(0, 1, lintel, house.storey, varied(rng, pick(rng, PAINTS), 20))
        elif floor == 0 and rng.integers(0, 3) == 0:
            panel(0.3, 0.62, 0, 2.2, varied(rng, pick(rng, PAINTS), 20))
        else:
            if z < DETAILED:
                panel(margin - 0.04, 1.04 - margin, bottom + sill - 0.15, lintel + 0.1, toned(wall, 1.2))
            pane = (232, 204, 128) if house.lit and rng.integers(0, 3) == 0 else varied(rng, GLASS, 24)
            panel(margin, 1 - margin, bottom + sill, lintel, pane)


def _roof(canvas: Canvas, x: float, z: float, rng: np.random.Generator, house: House) -> None:
    """The slope above a bay, sometimes with a chimney."""
    top, back, tiles = house.floors * house.storey, x + house.side * DEPTH / 2, toned(house.wall, 0.5)
    ridge: list[Point] = [(back, top + house.roof, z + house.bay), (back, top + house.roof, z)]
    canvas.shape([(x, top, z), (x, top, z + house.bay), *ridge], tiles, Kind.BUILDING)
    if rng.integers(0, 4) == 0:
        canvas.box((back, top + house.roof - 0.4, max(z, NEAREST)), 0.5, 1.6, toned(house.wall, 0.6), Kind.BUILDING)


def _end_wall(canvas: Canvas, x: float, z: float, house: House) -> None:
    """The gable of a row, with one column of windows."""
    top, out = house.floors * house.storey, house.side * DEPTH
    gable = [(0, 0), (out, 0), (out, top), (out / 2, top + house.roof), (0, top)]
    canvas.flat((x, 0, z), gable, toned(house.wall, 0.88), Kind.BUILDING)
    for floor in range(house.floors):
        canvas.box((x + out / 2, floor * house.storey + 0.9, z), 0.6, 1.3, GLASS, None)


def block(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A far building across the end of the street."""
    canvas.box((x, 0, z), between(rng, 6, 11), between(rng, 6, 18), varied(rng, pick(rng, WALLS), 20), Kind.BUILDING)
