"""The gate with several seeds a side, simulated from normal scores: false alarms, and losses of a margin that pass.

A score is a mean over images. A run is what its seed does to all images alike and to each one; base and candidate also
differ in what an image is to them, in every pair alike. Every gate draws images, runs and earlier runs anew. Looks,
variances and intervals are those of `segline.gate.series`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segline.gate import series
from segline.gate.bootstrap import Floats, Noise
from segline.monitoring import console

SEED = 1
MARGIN = 0.01
BUDGETS, NOISES, IMAGES = (4, 5, 8), (0, 3, 5), (10, 30, 60, 240)
BATCH = 500  # gates drawn at once


@dataclass(frozen=True)
class Kind:
    """Standard deviations of the mean difference of a pair: by seed, by image, and by image and seed together."""

    seeds: float
    images: float
    both: float


KINDS = {
    "seeds": Kind(0.01, 0.0, 0.0),  # images add nothing
    "images": Kind(0.001, 0.006, 0.0),  # seeds add little
    "both": Kind(0.007, 0.003, 0.007),  # at five pairs, a fifth of the variance from images
}


@dataclass(frozen=True)
class World:
    """At most `budget` pairs, `noise` earlier runs, and so many `images`."""

    budget: int
    noise: int
    images: int
    kind: Kind


@dataclass(frozen=True)
class Ended:
    """How many of the simulated gates ended how."""

    gates: int
    regressions: int
    passes: int


def simulated(world: World, loss: float, gates: int) -> Ended:
    """Gates of a candidate that lost so much. Without a loss the margin is 0, where alarms are likeliest."""
    plan, margin = series.plan(world.noise, world.budget), MARGIN if loss else 0.0
    draw = np.random.default_rng(SEED)
    regressions = passes = 0
    for start in range(0, gates, BATCH):
        scores, left, noise = drawn(world, min(BATCH, gates - start), draw)
        scores[1] -= loss
        going = np.ones(scores.shape[-1], bool)
        for pairs in range(plan.first, plan.last + 1):
            difference, half = judged(scores[:, :pairs], left[:pairs], noise, plan)
            is_regression = going & (difference < -margin) & (difference + half < 0)
            is_pass = going & (difference - half >= -margin)
            regressions, passes = regressions + int(is_regression.sum()), passes + int(is_pass.sum())
            going &= ~(is_regression | is_pass)
    return Ended(gates, regressions, passes)


def judged(scores: Floats, left: Floats, noise: Noise | None, plan: series.Plan) -> tuple[Floats, Floats]:
    """The mean difference of each gate and half its interval, at the look after these pairs."""
    pairs, shared = len(left), series.shared(left)
    seeds = series.by_seed(list(scores), noise, pairs)
    level = plan.level(series.ERROR, pairs)
    difference = (scores[1] - scores[0]).mean(axis=0)
    return difference, series.half_width(level, (shared.covariance, shared.doubt), seeds)


def drawn(world: World, gates: int, draw: np.random.Generator) -> tuple[Floats, Floats, Noise | None]:
    """Scores of both sides (2, k, gates), those of their differences without each image in turn (k, U, gates), and the
    seed noise that was measured (gates,)."""
    kind, size = world.kind, (world.budget, world.images, gates)
    runs = kind.seeds * draw.normal(size=(2, world.budget, 1, gates)) / np.sqrt(2)
    values = np.broadcast_to(runs, (2, *size)).copy()
    scale = np.sqrt(world.images)
    values[1] += kind.images * scale * draw.normal(size=size[1:])
    if kind.both:
        values += kind.both * scale * draw.normal(size=values.shape) / np.sqrt(2)
    differences = values[1] - values[0]
    left = (differences.sum(axis=1, keepdims=True) - differences) / (world.images - 1)
    freedom = world.noise - 1
    deviation = np.hypot(kind.seeds, kind.both) * np.sqrt(draw.chisquare(max(1, freedom), gates) / max(1, freedom))
    return values.mean(axis=2), left, Noise(deviation, world.noise) if world.noise else None


def table(gates: int) -> None:
    """Prints the share of false alarms and of false passes in all worlds."""
    console.say("| seeds at most | earlier runs | images | doubt from | gates each | false alarms | false passes |")
    console.say("|---" * 7 + "|")
    rows = []
    for world, kind in _worlds():
        alarms, passes = simulated(world, 0.0, gates), simulated(world, MARGIN, gates)
        rows += [alarms.regressions, passes.passes]
        console.say(
            f"| {world.budget} | {world.noise or 'none'} | {world.images} | {kind} | {gates} "
            f"| {alarms.regressions / gates:.2%} | {passes.passes / gates:.2%} |"
        )
    worst = max(rows)
    ends = stats.binomtest(worst, gates).proportion_ci(method="exact")
    console.say(f"\nthe highest of {len(rows)}: {worst / gates:.2%} (95 % {ends.low:.2%} to {ends.high:.2%})")


def _worlds() -> Iterator[tuple[World, str]]:
    for budget in BUDGETS:
        for noise in NOISES:
            for images in IMAGES:
                for name, kind in KINDS.items():
                    if name == "seeds" and images != IMAGES[0]:
                        continue  # of any number the same
                    yield World(budget, noise, images, kind), name
