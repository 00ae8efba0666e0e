"""Cars and vans: a side profile drawn out to the car's width, with glass, wheels and lamps. Sizes in metres."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from segline.sources.streets.objects import GLASS, PAINTS
from segline.sources.streets.view import WHEEL, Canvas, Colour, Kind, Point, mixed, pick, toned, varied

# Over the top from tail to nose: metres from the tail, metres up, and whether glass follows.
Profile = tuple[tuple[float, float, bool], ...]
SALOON: Profile = (
    (0.0, 0.3, False), (0.0, 0.92, False), (0.5, 0.98, True), (1.2, 1.42, False), (2.5, 1.44, True), (3.2, 0.96, False),
    (4.3, 0.74, False), (4.4, 0.3, False),
)  # fmt: skip
HATCHBACK: Profile = (
    (0.0, 0.3, False), (0.0, 0.9, True), (0.35, 1.45, False), (2.0, 1.5, True), (2.8, 1.0, False), (3.7, 0.8, False),
    (3.8, 0.3, False),
)  # fmt: skip
VAN: Profile = (
    (0.0, 0.35, False), (0.0, 1.15, True), (0.1, 1.95, False), (3.6, 2.0, True), (4.3, 1.15, False), (4.9, 0.95, False),
    (5.0, 0.35, False),
)  # fmt: skip
PROFILES = (SALOON, SALOON, HATCHBACK, HATCHBACK, VAN)
LENGTH = 4.4  # of the shadow: about that of every car
HALF_WIDTH = 0.86
WAIST = 1.2  # metres; above it the body leans in by `LEAN` on each side
LEAN = 0.14
TYRE: Colour = (24, 24, 26)


def car(canvas: Canvas, x: float, z: float, rng: np.random.Generator, *, oncoming: bool) -> None:
    """A car whose near end is at `z`: its tail, or its nose if `oncoming`."""
    profile, paint = pick(rng, PROFILES), varied(rng, pick(rng, PAINTS), 14)
    glass = mixed(GLASS, canvas.light.sky_low, 0.2)
    length = profile[-1][0]

    def place(metres: float, up: float, across: int) -> Point:
        half = HALF_WIDTH - (LEAN if up > WAIST else 0.0)
        return (x + across * half, up, z + (length - metres if oncoming else metres))

    for foot in (-0.72, 0.72):
        canvas.box((x + foot, 0, z + 0.4), 0.1, 0.4, TYRE, Kind.CAR)
    strips = list(pairwise(profile))
    for (start, low, glazed), (stop, high, _) in strips if oncoming else strips[::-1]:
        colour = glass if glazed else toned(paint, 0.9 if stop - start < 0.2 else 1.12)
        corners = [place(start, low, -1), place(start, low, 1), place(stop, high, 1), place(stop, high, -1)]
        canvas.shape(corners, colour, Kind.CAR)
    _side(canvas, profile, lambda metres, up: place(metres, up, -1 if x > canvas.camera.offset else 1), paint, glass)
    _face(canvas, (x, 0.0, z), paint, oncoming=oncoming)


def _side(
    canvas: Canvas, profile: Profile, place: Callable[[float, float], Point], paint: Colour, glass: Colour
) -> None:
    """The visible side: body, window, door line, two wheels."""
    canvas.shape([place(metres, up) for metres, up, _ in profile], toned(paint, 0.8), Kind.CAR)
    roof = [(metres, up) for metres, up, _ in profile if up > WAIST]
    tail, nose, belt = roof[0][0], roof[-1][0], WAIST - 0.25
    window = [
        (tail + 0.05, belt),
        (tail + 0.15, roof[0][1] - 0.1),
        (nose - 0.05, roof[-1][1] - 0.1),
        (nose + 0.4, belt),
    ]
    canvas.shape([place(metres, up) for metres, up in window], glass, None)
    middle = (tail + nose) / 2
    pillar = [(middle, 0.4), (middle, roof[0][1]), (middle + 0.08, roof[0][1]), (middle + 0.08, 0.4)]
    canvas.shape([place(metres, up) for metres, up in pillar], toned(paint, 0.6), None)
    for axle in (0.8, profile[-1][0] - 0.8):
        for radius, colour in ((0.34, TYRE), (0.19, (128, 130, 132))):
            rim = [place(axle + radius * right / 12, 0.34 + radius * up / 12) for right, up in WHEEL]
            canvas.shape(rim, colour, Kind.CAR)


def _face(canvas: Canvas, at: Point, paint: Colour, *, oncoming: bool) -> None:
    """Bumper, number plate and lamps of the near end."""
    x, _, z = at
    canvas.box((x, 0.3, z), HALF_WIDTH, 0.18, toned(paint, 0.55), Kind.CAR)
    canvas.box((x, 0.42, z), 0.26, 0.12, (214, 204, 150), None)
    up, colour = (0.56, (236, 232, 204)) if oncoming else (0.70, (170, 26, 24))
    for right in (-0.68, 0.68):
        canvas.box((x + right, up, z), 0.14, 0.14, colour, None)
