"""The gate with several seeds a side, simulated from the counts of real runs that differ in their seed alone.

A simulated gate draws images with replacement, and runs of both sides and of `segline noise`: the mean of the real runs
plus a normal combination of what sets them apart, so that counts of images and classes vary together as theirs do.
Base and candidate thus come from one recipe by construction; a loss is then planted into the candidate. What sets runs
apart is scaled until mIoU varies over seeds by a wanted deviation.

Limits: few real runs show few directions in which seeds pull, and what is planted does not depend on the seed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import gate_drops, gate_runs
from segline.gate import bootstrap, decision, series
from segline.gate.bootstrap import Floats, Noise
from segline.gate.decision import Verdict
from segline.gate.pairing import Pair
from segline.gate.rules import Criterion
from segline.monitoring import console
from segline.scoring import confusion

SEED = 1
FEW = 5  # seeds, the default of `segline noise`
BUDGET = 5  # seeds a side
DROPS = (0.0, 0.01, 0.02, 0.05)
DEVIATIONS = (0.0125, 0.008, 0.007)  # of mIoU: an earlier default recipe, about the present one, and the goal for it
FEWER = 5  # as few simulated gates where a loss is planted: an alarm is rarer than a find
PLANTS = 8  # ways to plant each drop
MEASURED, UNKNOWN = "5 seeds of `segline noise`", "unknown"


@dataclass(frozen=True)
class World:
    """The `mean` (N, K, 3) of runs, what sets them apart (R, N, K, 3), and changes (P, N, K, 3) that plant a drop."""

    names: tuple[str, ...]
    mean: Floats
    apart: Floats
    plants: Floats

    def runs(self, count: int, draw: np.random.Generator) -> Floats:
        """So many runs (count, N, K, 3): their covariances are those of the real ones."""
        weights = draw.normal(size=(count, len(self.apart))) / np.sqrt(len(self.apart) - 1)
        return self.mean + np.tensordot(weights, self.apart, axes=1)


def world(pairs: Sequence[Pair], deviation: float, drop: float, draw: np.random.Generator) -> World:
    """The world of these pairs' bases, with this standard deviation of mIoU over seeds."""
    runs = np.stack([pair.base.counts for pair in pairs]).astype(np.float64)
    mean = runs.mean(axis=0)
    share = 1.0
    for _ in range(5):  # mIoU is not quite linear in the counts
        share *= deviation / float(np.std(confusion.miou((mean + share * (runs - mean)).sum(axis=1)), ddof=1))
    middle = replace(pairs[0], base=replace(pairs[0].base, counts=np.rint(mean).astype(np.int64)))
    changes = (
        [gate_drops.planted(middle, drop, draw) - middle.base.counts for _ in range(PLANTS)] if drop else [0 * mean]
    )
    return World(pairs[0].base.classes, mean, share * (runs - mean), np.stack(changes).astype(np.float64))


def trial(here: World, claims: Sequence[Criterion], measured: bool, draw: np.random.Generator) -> tuple[Verdict, int]:
    """The verdict of one simulated gate, and after how many seeds a side."""
    rows = draw.integers(len(here.mean), size=len(here.mean))
    base, candidate = (here.runs(BUDGET, draw)[:, rows] for _ in range(2))
    candidate = candidate + here.plants[draw.integers(len(here.plants))][rows]
    noises: list[Noise | None] = [None] * len(claims)
    if measured:
        earlier = _scores(here.runs(FEW, draw)[:, rows].sum(axis=1), here.names, claims)
        noises = [Noise(float(np.sqrt(2) * np.std(column, ddof=1)), FEW) for column in earlier.T]
    whole = [_scores(side.sum(axis=1), here.names, claims) for side in (base, candidate)]
    left = [_scores(side.sum(axis=1, keepdims=True) - side, here.names, claims) for side in (base, candidate)]
    plan = series.plan(FEW if measured else 0, BUDGET)
    for pairs in range(plan.first, plan.last + 1):
        shared = series.shared((left[1] - left[0])[:pairs])
        known = series.Evidence(whole[0][:pairs], whole[1][:pairs], shared, None, same=False)
        verdict = decision.overall(series.decide(known, claims, noises, plan))
        if verdict is not Verdict.INCONCLUSIVE:
            break
    return verdict, pairs


def _scores(totals: Floats, names: tuple[str, ...], claims: Sequence[Criterion]) -> Floats:
    return np.stack([bootstrap.score(claim.metric, totals, names) for claim in claims], axis=-1)


def sequential(folder: Path, trials: int) -> None:
    """Prints how often a planted loss is found, from real runs in `folder`."""
    pairs = [gate_runs.paired(path, path) for path in sorted(folder.glob("seed-*"))]
    claims = gate_runs.claims()
    total = np.stack([confusion.miou(pair.base.counts.sum(axis=0)) for pair in pairs])
    console.say(f"{len(pairs)} real runs, standard deviation of mIoU {float(np.std(total, ddof=1)):.4f}")
    console.say(f"simulated gates of at most {BUDGET} seeds a side\n")
    console.say(
        "| seed deviation | seed noise | loss of mIoU | gates | regression | 95 % (Clopper-Pearson) | pass | seeds |"
    )
    console.say("|---" * 8 + "|")
    for line in _rows(pairs, claims, trials):
        console.say(line)


def _rows(pairs: Sequence[Pair], claims: Sequence[Criterion], trials: int) -> Iterator[str]:
    for deviation in DEVIATIONS:
        for source in (MEASURED, UNKNOWN):
            for drop in DROPS:
                draw = np.random.default_rng(SEED)
                here = world(pairs, deviation, drop, draw)
                ended = [trial(here, claims, source == MEASURED, draw) for _ in range(trials // (FEWER if drop else 1))]
                said = Counter(verdict for verdict, _ in ended)
                number = len(ended)
                ends = stats.binomtest(said[Verdict.REGRESSION], number).proportion_ci(method="exact")
                yield (
                    f"| {100 * deviation:g} points | {source} | {100 * drop:g} points | {number} "
                    f"| **{said[Verdict.REGRESSION] / number:.1%}** | {ends.low:.1%} to {ends.high:.1%} "
                    f"| {said[Verdict.OK] / number:.1%} | {np.mean([seeds for _, seeds in ended]):.1f} |"
                )
