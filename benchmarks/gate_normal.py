"""The gate with several seeds a side, simulated from normal scores: false alarms, and losses of a margin that pass.

A score is a mean over images. A run is what its seed does to all images alike and to each one; base and candidate also
differ in what an image is to them, in every pair alike. Every gate draws images, runs and earlier runs anew, and is
judged by `segline.gate.series` as a user's is: looks, seed variance, covariance of images, verdict.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segline.gate import series
from segline.gate.bootstrap import Noise
from segline.gate.decision import Verdict
from segline.gate.rules import Criterion
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
    claims, plan = [Criterion("miou", MARGIN if loss else 0.0)], series.plan(world.noise, world.budget)
    draw = np.random.default_rng(SEED)
    said = dict.fromkeys(Verdict, 0)
    for start in range(0, gates, BATCH):
        count = min(BATCH, gates - start)
        scores, left = _drawn(world, count, draw)
        scores[1] -= loss
        deviations = np.hypot(world.kind.seeds, world.kind.both) * draw.chisquare(max(1, world.noise - 1), count) ** 0.5
        alive = list(range(count))
        for pairs in range(plan.first, plan.last + 1):
            shared = series.shared(left[:pairs][..., alive])
            going = []
            for place, gate in enumerate(alive):
                own = series.Shared(shared.covariance[[place]], shared.doubt[[place]])
                base, candidate = scores[:, :pairs, [gate]]
                known = series.Evidence(base, candidate, own, None, same=False)
                noise = Noise(float(deviations[gate] / (world.noise - 1) ** 0.5), world.noise) if world.noise else None
                [finding] = series.decide(known, claims, [noise], plan)
                if finding.verdict is Verdict.INCONCLUSIVE and pairs < plan.last:
                    going.append(gate)
                else:
                    said[finding.verdict] += 1
            alive = going
    return Ended(gates, said[Verdict.REGRESSION], said[Verdict.OK])


def _drawn(world: World, gates: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of both sides (2, k, gates), and of their differences without each image in turn (k, U, gates)."""
    kind, size = world.kind, (world.budget, world.images, gates)
    runs = kind.seeds * draw.normal(size=(2, world.budget, 1, gates)) / np.sqrt(2)
    values = np.broadcast_to(runs, (2, *size)).copy()
    scale = np.sqrt(world.images)
    values[1] += kind.images * scale * draw.normal(size=size[1:])
    if kind.both:
        values += kind.both * scale * draw.normal(size=values.shape) / np.sqrt(2)
    differences = values[1] - values[0]
    left = (differences.sum(axis=1, keepdims=True) - differences) / (world.images - 1)
    return values.mean(axis=2), left


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
                    yield World(budget, noise, images, kind), name
