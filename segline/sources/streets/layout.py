"""The things in a street, their places and motion. Legend: x metres right of the road's middle, z metres along it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from segline.sources.streets import cars, houses, objects
from segline.sources.streets.scenery import FAR, Ground
from segline.sources.streets.view import WEATHERS, Canvas, Light, between, pick, varied

Draw = Callable[[Canvas, float, float, np.random.Generator], None]


@dataclass(frozen=True)
class Bulk:
    """The part of a thing that casts a shadow: metres to each side, up, and away along the street."""

    half: float
    tall: float
    length: float = 0.0


@dataclass(frozen=True)
class Thing:
    """Something whose near end is at (x, z) and that moves `speed` metres per frame; `style` seeds its appearance."""

    draw: Draw
    x: float
    z: float
    style: int
    bulk: Bulk
    speed: float = 0.0


CAR = Bulk(0.9, 1.2, cars.LENGTH)
RIDER, WALKER = Bulk(0.4, 1.5), Bulk(0.25, 1.6)
POST, PLATE, CROWN, BUSH, CRATE = Bulk(0.08, 5.0), Bulk(0.1, 2.5), Bulk(1.2, 3.0), Bulk(0.8, 3.0), Bulk(0.5, 0.8)


@dataclass(frozen=True)
class Street:
    """Common to all frames of a street. `focal` and `horizon` are relative to the picture, `step` metres per frame."""

    light: Light
    ground: Ground
    things: tuple[Thing, ...]
    focal: float
    horizon: float
    altitude: float
    offset: float
    bend: float
    step: float
    blurred: bool
    bonnet: bool


def layout(rng: np.random.Generator) -> Street:
    """A street with its light, its buildings and everything that stands or moves in it."""
    light = pick(rng, WEATHERS)
    light = replace(light, sky_top=varied(rng, light.sky_top, 14), visibility=light.visibility * between(rng, 0.8, 1.3))
    kerb = between(rng, 3.0, 5.2)
    wall = kerb + between(rng, 1.8, 4.5)
    grey = int(rng.integers(78, 122))
    ground = Ground(
        kerb=kerb,
        wall=wall,
        road=varied(rng, (grey, grey, grey + 3), 9),
        pavement=varied(rng, pick(rng, ((132, 126, 118), (112, 110, 108), (148, 132, 116), (104, 100, 100))), 12),
        centre_line=int(rng.integers(0, 3)),
        edge_line=int(rng.integers(0, 3)),
        crossing=pick(rng, (-1.0, -1.0, 9.0, 16.0, 24.0)),
    )
    lane = pick(rng, (-1, 1))  # the side of the road that traffic keeps to
    things = [
        *_rows(rng, light, wall),
        *_furniture(rng, kerb, wall),
        *_traffic(rng, kerb, lane),
        *_people(rng, kerb, wall),
    ]
    return Street(
        light=light,
        ground=ground,
        things=tuple(things),
        focal=between(rng, 0.75, 1.0),
        horizon=between(rng, 0.44, 0.57),
        altitude=between(rng, 1.4, 2.5),
        offset=lane * kerb * between(rng, 0.2, 0.5),
        bend=between(rng, -0.0022, 0.0022),
        step=between(rng, 1.5, 4.0),
        blurred=bool(rng.integers(0, 3) == 0),
        bonnet=bool(rng.integers(0, 4) == 0),
    )


def _thing(rng: np.random.Generator, draw: Draw, x: float, z: float, bulk: Bulk, *, speed: float = 0.0) -> Thing:
    return Thing(draw, x, z, int(rng.integers(0, 2**31)), bulk, speed)


def _distance(rng: np.random.Generator, farthest: float) -> float:
    """From 6 m on, nearer ones more often: at 40 m a person is a handful of pixels."""
    return min(between(rng, 6, farthest), between(rng, 6, farthest))


def _fence(rng: np.random.Generator, x: float, z: float, length: float) -> Iterator[Thing]:
    """Panels of about two metres, so that near and far ones sort among the other things."""
    panels = max(1, round(length / 2))
    panel = length / panels
    draw = partial(objects.fence, length=panel)
    for number in range(panels):
        yield _thing(rng, draw, x, z + number * panel, Bulk(0.0, 1.0, panel))


def _rows(rng: np.random.Generator, light: Light, wall: float) -> Iterator[Thing]:
    """Both sides of the street: buildings, some of them set back behind fences or hedges, and gaps with trees."""
    tallest = int(rng.integers(3, 6))
    lit = light.noise > 20
    for side in (-1, 1):
        z = between(rng, -8, 0)
        while z < FAR:
            if rng.integers(0, 4) == 0 and z > 4:
                gap = between(rng, 6, 16)
                yield from _gap(rng, side * wall, z, gap)
                z += gap
                continue
            house, style = houses.house(rng, side, tallest, lit), int(rng.integers(0, 2**30))
            setback = pick(rng, (0.0, 0.0, 0.0, 2.5))
            for number in range(int(rng.integers(2, 6))):
                draw = partial(houses.bay, house=house, end=number == 0)
                tall = house.floors * house.storey
                yield Thing(draw, side * (wall + setback), z, style + number, Bulk(0.0, tall, house.bay))
                if setback:
                    yield from _fence(rng, side * wall, z, house.bay)
                z += house.bay
    for number in range(9):  # the buildings that close the view at the end of the street
        end: Draw = pick(rng, (objects.tree, houses.block, houses.block))
        yield _thing(rng, end, (number - 4) * 14 + between(rng, -5, 5), FAR + number, Bulk(0.0, 0.0))


def _gap(rng: np.random.Generator, x: float, z: float, length: float) -> Iterator[Thing]:
    """A garden between two rows of houses."""
    yield from _fence(rng, x, z, length)
    outward = 1 if x > 0 else -1
    for _ in range(int(rng.integers(3, 7))):
        plant = pick(rng, (objects.tree, objects.tree, objects.hedge))
        yield _thing(rng, plant, x + outward * between(rng, 1.5, 12), z + between(rng, 0, length), BUSH)


def _furniture(rng: np.random.Generator, kerb: float, wall: float) -> Iterator[Thing]:
    """Lamps, signs, street trees, a railing at the kerb, and things that no class covers."""
    spacing, leafy = between(rng, 12, 24), int(rng.integers(0, 4))
    for side in (-1, 1):
        edge = side * (kerb + 0.4)
        for number in range(5):
            yield _thing(rng, objects.lamp, edge, number * spacing + between(rng, 3, 9), POST)
        for _ in range(3):
            x = side * (kerb + between(rng, 0.3, 0.8))
            yield _thing(rng, objects.sign, x, _distance(rng, 50), PLATE)
        for _ in range(2 * leafy):
            yield _thing(rng, objects.tree, side * (kerb + 1.0), between(rng, 7, 70), CROWN)
        for _ in range(2):
            x = side * between(rng, kerb + 0.8, wall - 0.4)
            yield _thing(rng, objects.bin_or_cart, x, between(rng, 6, 40), CRATE)
    yield from _fence(rng, pick(rng, (-1, 1)) * (kerb + 0.25), between(rng, 6, 14), pick(rng, (4.0, 6.0, 8.0, 10.0)))


def _traffic(rng: np.random.Generator, kerb: float, lane: int) -> Iterator[Thing]:
    """Cars parked along both kerbs, driving ahead and coming towards the camera; cyclists."""
    for side in (-1, 1):
        parked = partial(cars.car, oncoming=side != lane)
        z = between(rng, 3, 20)
        while z < 90 and kerb > 3.7:
            if rng.integers(0, 3):
                yield _thing(rng, parked, side * (kerb - 1.1), z, CAR)
            z += between(rng, 5.5, 9)
    for side, nearest in ((lane, 11.0), (-lane, 8.0)):
        for _ in range(int(rng.integers(0, 3))):
            driving = partial(cars.car, oncoming=side != lane)
            speed = between(rng, 1, 4) * (1 if side == lane else -1)
            z = between(rng, nearest, 60)
            yield _thing(rng, driving, side * kerb * 0.4, z, CAR, speed=speed)
    for _ in range(int(rng.integers(1, 4))):
        side = pick(rng, (-1, 1))
        x, z = side * between(rng, kerb * 0.2, kerb * 0.5), _distance(rng, 26)
        yield _thing(rng, objects.cyclist, x, z, RIDER, speed=side * lane * between(rng, 0.3, 1.5))


def _people(rng: np.random.Generator, kerb: float, wall: float) -> Iterator[Thing]:
    """Walkers on both pavements, near and far, alone and in pairs, and sometimes one on the road."""
    for _ in range(int(rng.integers(5, 12))):
        x, z = pick(rng, (-1, 1)) * between(rng, kerb + 0.5, wall - 0.3), _distance(rng, 40)
        for _ in range(int(rng.integers(1, 3))):
            yield _thing(rng, objects.pedestrian, x, z, WALKER, speed=between(rng, -0.5, 0.5))
            x, z = x + 0.6, z + 0.3
    if rng.integers(0, 3) == 0:
        yield _thing(rng, objects.pedestrian, between(rng, -kerb, kerb), between(rng, 8, 25), WALKER)
