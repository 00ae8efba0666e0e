"""The frames of a street, as seen from a car that drives along it.

A frame is a pure function of (seed, split, street, frame, size), on any CPU: every draw comes from a generator that is
seeded with these numbers.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from segline.sources.streets import scenery
from segline.sources.streets.layout import CAR, Street, Thing, layout
from segline.sources.streets.view import NEAREST, SUPERSAMPLING, VOID, Camera, Canvas, Pixels, between

ATTEMPTS = 200
RARE = 4000  # a class counts as shown if at least one pixel in this many has it


class NoLayoutError(Exception):
    """No layout of a street shows every class at the requested size."""


def frames(seed: int, split: int, street: int, count: int, size: tuple[int, int]) -> Iterator[tuple[Pixels, Pixels]]:
    """`count` consecutive frames of a street: image (H, W, 3) uint8 RGB and mask (H, W) uint8, 0..10 and 11 for void.

    The first frame shows every class; `size` is (H, W). Raises NoLayoutError if no layout of this street does.
    """
    for attempt in range(ATTEMPTS):
        key = (seed, split, street, attempt)
        plan = layout(np.random.default_rng((*key, 0)))
        first = _frame(plan, 0, np.random.default_rng((*key, 1)), size)
        if _shows_all(first[1]):
            yield first
            for number in range(1, count):
                yield _frame(plan, number, np.random.default_rng((*key, number + 1)), size)
            return
    raise NoLayoutError(f"street {street} of split {split}: {ATTEMPTS} layouts, none shows every class")


def _shows_all(mask: Pixels) -> bool:
    seen = np.bincount(mask.ravel(), minlength=VOID + 1)
    return int(seen.min()) * RARE >= mask.size


def _frame(street: Street, number: int, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Frame `number` of a street; `rng` draws what differs from frame to frame: shake, clouds, grain, noise."""
    height, width = (SUPERSAMPLING * pixels for pixels in size)
    camera = Camera(
        width=width,
        height=height,
        focal=street.focal * min(width, height * 4 / 3),  # so that a wide strip sees more, not less
        horizon=height * (street.horizon + between(rng, -0.01, 0.01)),
        altitude=street.altitude,
        offset=street.offset + between(rng, -0.15, 0.15),
        bend=street.bend,
    )
    canvas = Canvas(camera, street.light)
    scenery.sky(canvas, rng)
    start = number * street.step
    scenery.ground(canvas, street.ground, start)
    placed = [replace(thing, z=thing.z - start + number * thing.speed) for thing in street.things]
    visible = [thing for thing in placed if thing.z + thing.bulk.length > NEAREST]
    for thing in visible:
        _cast(canvas, thing)
    scenery.shade(canvas)
    for thing in sorted(visible, key=lambda thing: _reach(thing, street.ground.kerb), reverse=True):
        thing.draw(canvas, thing.x, thing.z, np.random.default_rng(thing.style))
    if street.bonnet:
        scenery.bonnet(canvas)
    scenery.texture(canvas, rng)
    if street.light.rain:
        scenery.rain(canvas, rng)
    scenery.ambiguous_borders(canvas, rng)
    return scenery.expose(canvas, rng, blurred=street.blurred)


def _reach(thing: Thing, kerb: float) -> float:
    """Sort key, farther things first: the far end of a thing, plus some beyond the kerb, behind the parked cars."""
    return thing.z + thing.bulk.length + (CAR.length if abs(thing.x) > kerb else 0.0)


def _cast(canvas: Canvas, thing: Thing) -> None:
    """Shadows: the dark under a thing, and its length in the direction of the sun."""
    bulk = thing.bulk
    aside, away = (metres * bulk.tall for metres in canvas.light.sun)
    left, right, near, far = thing.x - bulk.half, thing.x + bulk.half, thing.z, thing.z + bulk.length + 0.2
    if bulk.half:
        canvas.shadow([(left, 0, near), (right, 0, near), (right, 0, far), (left, 0, far)])
    if aside:
        foot, tip = (left, right + aside) if aside > 0 else (right, left + aside)
        canvas.shadow([(foot, 0, near), (tip, 0, near + away), (tip, 0, far + away), (foot, 0, far)])
