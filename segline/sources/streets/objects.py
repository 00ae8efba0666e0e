"""The things of a street, drawn one by one: each function draws one thing that stands at (x, z) metres.

`rng` is the thing's own: the same thing looks the same in every frame. Sizes are metres.
"""

import numpy as np

from segline.sources.streets.view import NEAREST, VOID, Canvas, Colour, Kind, Point, between, pick, toned, varied

PAINTS: tuple[Colour, ...] = (
    (34, 36, 40), (62, 64, 70), (120, 124, 130), (176, 180, 184), (222, 222, 220), (120, 22, 26), (26, 44, 96),
    (30, 70, 56), (150, 110, 50), (84, 100, 120),
)  # fmt: skip
CLOTHES: tuple[Colour, ...] = (
    (30, 32, 40), (40, 56, 130), (196, 64, 50), (130, 36, 44), (160, 152, 140), (70, 92, 70), (44, 78, 120),
    (190, 186, 176), (140, 100, 64), (200, 170, 40),
)  # fmt: skip
SKINS: tuple[Colour, ...] = ((214, 170, 142), (176, 128, 98), (120, 82, 60), (80, 56, 44))
LEAVES: tuple[Colour, ...] = ((58, 86, 40), (74, 98, 44), (46, 72, 42), (104, 104, 44), (124, 92, 40), (84, 96, 70))
GLASS: Colour = (52, 62, 74)


def tree(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A trunk and a crown of some dozens of leaf clusters, lit from above, with gaps."""
    crown, trunk = between(rng, 1.3, 2.6), between(rng, 2.0, 3.6)
    leaf = varied(rng, pick(rng, LEAVES), 14)
    half, up = between(rng, 0.10, 0.22), trunk + crown * 0.8
    canvas.flat((x, 0, z), [(-half, 0), (half, 0), (half * 0.6, up), (-half * 0.6, up)], (72, 58, 46), Kind.TREE)
    clusters = rng.integers(-100, 101, (90, 5)).tolist()
    for left, right, height, size, tone in clusters[: 14 if z > 60 else 32 if z > 25 else 90]:
        reach = crown * (1 - height * height / 16000)
        centre = (x + reach * (left + right) / 150, trunk + crown * (1 + height / 90), z)
        radius = crown * ((0.26 if z > 25 else 0.15) + size / 1300)
        canvas.disc(centre, radius, toned(leaf, 0.85 + tone / 500 + height / 350), Kind.TREE)


def hedge(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A bush as high as a child."""
    leaf = varied(rng, pick(rng, LEAVES), 14)
    for right, up, size in rng.integers(0, 100, (16, 3)).tolist():
        canvas.disc((x + (right - 50) / 40, up / 85, z), 0.25 + size / 400, toned(leaf, 0.75 + up / 220), Kind.TREE)


def lamp(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A street lamp: post, arm over the road, head."""
    up, inward = between(rng, 5.0, 8.0), -1.3 if x > 0 else 1.3
    metal = varied(rng, pick(rng, ((40, 44, 46), (56, 66, 60), (40, 62, 52), (162, 160, 152))), 12)
    canvas.box((x, 0, z), 0.11, up, metal, Kind.POLE)
    canvas.box((x, 0, z), 0.17, 1.1, toned(metal, 0.8), Kind.POLE)
    arm = [(0.0, up - 0.12), (inward, up + 0.18), (inward, up + 0.30), (0.0, up)]
    canvas.flat((x, 0, z), arm, metal, Kind.POLE)
    canvas.box((x + inward, up + 0.12, z), 0.28, 0.16, (210, 208, 196), Kind.POLE)


def sign(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A traffic sign (disc, triangle, plate) or a traffic light on its pole."""
    up = between(rng, 2.0, 2.7)
    canvas.box((x, 0, z), 0.07, up + 0.3, (104, 106, 108), Kind.POLE)
    design, kind = int(rng.integers(0, 5)), Kind.SIGN_SYMBOL
    red, white, blue = (168, 34, 38), (220, 218, 210), (36, 72, 140)
    if design == 0:
        canvas.disc((x, up + 0.3, z), 0.42, red, kind)
        canvas.disc((x, up + 0.3, z), 0.30, white, None)
        canvas.box((x, up + 0.2, z), 0.10, 0.2, (30, 30, 30), None)
    elif design == 1:
        canvas.flat((x, up, z), [(-0.52, 0), (0.52, 0), (0, 0.9)], red, kind)
        canvas.flat((x, up, z), [(-0.3, 0.13), (0.3, 0.13), (0, 0.64)], white, None)
    elif design == 2:
        canvas.disc((x, up + 0.3, z), 0.42, blue, kind)
        canvas.flat((x, up + 0.3, z), [(-0.2, 0.05), (0, 0.2), (0, -0.18), (-0.06, -0.2)], white, None)
    elif design == 3:
        canvas.box((x, up - 0.2, z), 0.5, 0.8, pick(rng, (blue, (40, 96, 66), (206, 190, 90))), kind)
        canvas.box((x, up + 0.1, z), 0.38, 0.12, white, None)
    else:
        canvas.box((x, up - 0.1, z), 0.24, 1.0, (28, 30, 32), kind)
        burning = int(rng.integers(0, 3))
        for place, glow in enumerate(((60, 200, 120), (230, 170, 50), (230, 50, 40))):
            canvas.disc((x, up + 0.1 + 0.3 * place, z), 0.10, glow if place == burning else toned(glow, 0.3), None)


def fence(canvas: Canvas, x: float, z: float, rng: np.random.Generator, *, length: float) -> None:
    """Railings or boards along the street from `z` on; anything between the bars counts as fence, as in CamVid."""
    del rng  # all panels of a row look the same: the place decides
    up, boards = 1.05 if abs(x) < 9 else 1.5, int(abs(x) * 10) % 3 == 0
    bar = ((126, 104, 80), (92, 98, 96), (58, 66, 62))[int(abs(x) * 7) % 3]
    start, stop = max(z, NEAREST), z + length
    if boards:
        canvas.shape([(x, 0, start), (x, 0, stop), (x, up, stop), (x, up, start)], bar, Kind.FENCE)
    else:
        canvas.veil([(x, 0, start), (x, 0, stop), (x, up, stop), (x, up, start)], Kind.FENCE)
        for low in (0.12, up - 0.08):
            rail: list[Point] = [(x, low, start), (x, low, stop), (x, low + 0.08, stop), (x, low + 0.08, start)]
            canvas.shape(rail, bar, Kind.FENCE)
    count = max(1, round(length / 0.3))
    for number in range(count):
        canvas.box((x, 0, z + length * number / count), 0.025, up, toned(bar, 0.8 if boards else 1.0), Kind.FENCE)


def pedestrian(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A walking person, an adult or a child, some with a bag."""
    tall, stride = pick(rng, (1.1, 1.55, 1.65, 1.75, 1.85)), between(rng, 0.04, 0.26)
    coat, trousers = varied(rng, pick(rng, CLOTHES), 16), varied(rng, pick(rng, CLOTHES), 16)
    at, kind = (x, 0.0, z), Kind.PEDESTRIAN
    for foot in (-stride, stride):
        leg = [(foot - 0.07, 0), (foot + 0.08, 0), (0.10, 0.52 * tall), (-0.10, 0.52 * tall)]
        canvas.flat(at, leg, trousers if foot > 0 else toned(trousers, 0.8), kind)
    hem = between(rng, 0.34, 0.5) * tall
    canvas.flat(at, [(-0.2, hem), (0.2, hem), (0.23, 0.82 * tall), (-0.23, 0.82 * tall)], coat, kind)
    for arm in (-0.25, 0.25):
        canvas.box((x + arm, 0.45 * tall, z), 0.045, 0.36 * tall, toned(coat, 0.85), kind)
    canvas.disc((x, 0.92 * tall, z), 0.11, pick(rng, SKINS), kind)
    canvas.box((x, 0.95 * tall, z), 0.10, 0.07 * tall, pick(rng, CLOTHES), kind)
    if rng.integers(0, 3) == 0:
        canvas.box((x + 0.33, 0.3 * tall, z), 0.12, 0.3, pick(rng, CLOTHES), kind)


def cyclist(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """A rider on a bicycle, seen from behind or, crossing, from the side."""
    coat, trousers = varied(rng, pick(rng, CLOTHES), 16), varied(rng, pick(rng, CLOTHES), 16)
    head, frame, kind = pick(rng, (*SKINS, *CLOTHES)), varied(rng, pick(rng, PAINTS), 16), Kind.BICYCLIST
    at = (x, 0.0, z)
    if rng.integers(0, 2):
        for axle in (-0.52, 0.52):
            canvas.ring((x + axle, 0.34, z), 0.34, (24, 24, 26), kind)
        for bar in ([(-0.52, 0.34), (-0.1, 0.8)], [(-0.1, 0.34), (0.4, 0.85)], [(0.52, 0.34), (0.38, 1.0)]):
            (start, low), (stop, high) = bar
            canvas.flat(at, [(start, low), (start + 0.06, low), (stop + 0.06, high), (stop, high)], frame, kind)
        canvas.flat(at, [(0.0, 0.3), (0.14, 0.3), (-0.02, 0.95), (-0.22, 0.95)], trousers, kind)
        canvas.flat(at, [(-0.24, 0.9), (0.0, 0.9), (0.3, 1.4), (0.08, 1.5)], coat, kind)
        canvas.flat(at, [(0.15, 1.38), (0.25, 1.42), (0.46, 1.05), (0.38, 1.02)], toned(coat, 0.8), kind)
        canvas.disc((x + 0.26, 1.62, z), 0.13, head, kind)
    else:
        canvas.box(at, 0.035, 0.7, (24, 24, 26), kind)
        for foot in (-0.13, 0.13):
            canvas.box((x + foot, 0.25, z), 0.07, 0.65, trousers, kind)
        canvas.flat(at, [(-0.2, 0.8), (0.2, 0.8), (0.25, 1.4), (-0.25, 1.4)], coat, kind)
        canvas.box((x, 1.0, z), 0.32, 0.05, toned(coat, 0.7), kind)
        canvas.disc((x, 1.58, z), 0.13, head, kind)


def bin_or_cart(canvas: Canvas, x: float, z: float, rng: np.random.Generator) -> None:
    """Something that no class covers: void."""
    colour = varied(rng, pick(rng, ((54, 70, 58), (90, 88, 84), (132, 60, 40), (40, 54, 84))), 14)
    half, up = between(rng, 0.25, 0.6), between(rng, 0.7, 1.3)
    canvas.box((x, 0, z), half, up, colour, VOID)
    canvas.box((x, up * 0.85, z), half * 1.1, up * 0.2, toned(colour, 0.7), VOID)
