"""Drops of mIoU planted into the counts of a fixed prediction: how many of them the gate finds."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import gate_runs
from segline import cli
from segline.gate import comparison, evidence, verdict
from segline.gate.comparison import Counts, Noise
from segline.gate.pairing import Pair
from segline.gate.verdict import Verdict

FEW = 5  # seeds, as `segline noise` takes by default
DROPS = (0.0, 0.005, 0.01, 0.02, 0.05)
DEVIATIONS = (0.0, 0.0025, 0.005, 0.01, 0.02)
STEP = 0.1  # share of the pixels of a class in an image that a planted error flips
SEED = 1


def planted(pair: Pair, drop: float, draw: np.random.Generator) -> Counts:
    """The counts of the base after predicted pixels of random images were flipped until mIoU fell by `drop`.

    What is flipped becomes another class; a negative drop flips wrong pixels back.
    """
    counts = pair.base.counts.copy()
    classes = comparison.present(counts)
    goal = np.clip(float(comparison.miou(counts.sum(axis=0))) - drop, 0.01, 0.99)
    source, sink = (0, 2) if drop > 0 else (2, 0)  # from tp to fn, or back
    while (float(comparison.miou(counts.sum(axis=0))) - goal) * np.sign(drop) > 0:
        image, k, other = draw.integers(len(counts)), *draw.permutation(len(classes))[:2]
        pixels = int(np.ceil(STEP * counts[image, k, source]))
        if drop < 0:
            pixels = min(pixels, int(counts[image, other, 1]))
        counts[image, k, source] -= pixels
        counts[image, k, sink] += pixels
        counts[image, other, 1] += pixels * int(np.sign(drop))
    return counts


def drops(folder: Path, trials: int) -> None:
    """Prints the share of planted drops that is found, over trials in which seeds move both runs by the deviation.

    The deviation that the gate is told is estimated in each trial from FEW draws, as a team would.
    """
    pair = gate_runs.paired(folder / "seed-1", folder / "seed-1")
    cli.say(f"regression found (pass), of {trials} trials each; rows: seed deviation of mIoU, columns: drop\n")
    cli.say(f"| deviation | {' | '.join(f'{100 * drop:g} points' for drop in DROPS)} |")
    cli.say("|---" * (1 + len(DROPS)) + "|")
    for deviation in DEVIATIONS:
        cells = []
        for drop in DROPS:
            draw = np.random.default_rng(SEED)
            said = Counter(_trial(pair, drop, deviation, draw) for _ in range(trials))
            cells.append(f"{said[Verdict.REGRESSION] / trials:.0%} ({said[Verdict.OK] / trials:.0%})")
        cli.say(f"| {100 * deviation:g} points | {' | '.join(cells)} |")


def _trial(pair: Pair, drop: float, deviation: float, draw: np.random.Generator) -> Verdict:
    moved = drop + deviation * float(draw.normal() - draw.normal())
    other = replace(
        pair, candidate=replace(pair.base, counts=planted(pair, moved, draw) if moved else pair.base.counts)
    )
    estimate = deviation * float(np.sqrt(draw.chisquare(FEW - 1) / (FEW - 1)))
    spread = Noise(float(np.sqrt(2)) * estimate, FEW) if deviation else None
    claims = gate_runs.claims()
    return verdict.overall(verdict.decide(evidence.gather(other, claims), claims, [spread] * len(claims)))
