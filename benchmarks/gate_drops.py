"""Drops of mIoU planted into the counts of a fixed prediction: how many of them the gate detects.

Limits: apart from the planted errors both sides share one prediction, so their images hardly differ and the bootstrap
adds little. Two trainings also differ image by image, so in practice the gate detects less: this is the power that the
seed deviation alone would leave. The planted errors are spread evenly over classes and images.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import gate_runs
from segline.gate import decision
from segline.gate.bootstrap import Counts, Noise
from segline.gate.decision import Verdict
from segline.gate.pairing import Pair
from segline.monitoring import console
from segline.scoring import confusion

FEW = 5  # seeds, the default of `segline noise`
DROPS = (0.0, 0.005, 0.01, 0.02, 0.05)
DEVIATIONS = (0.0, 0.0025, 0.005, 0.01, 0.02)
STEP = 0.1  # share of the pixels of a class in an image that a planted error flips
SEED = 1


def planted(pair: Pair, drop: float, draw: np.random.Generator) -> Counts:
    """The counts of the base after predicted pixels of random images were flipped until mIoU fell by `drop`.

    A flipped pixel becomes another class; a negative drop flips wrong pixels back. The size of the last flip is chosen
    so that the drop is exact to one pixel.
    """
    counts = pair.base.counts.copy()
    total = counts.sum(axis=0)
    goal = np.clip(float(confusion.miou(total)) - drop, 0.01, 0.99)
    source, sink, sign = (0, 2, 1) if drop > 0 else (2, 0, -1)  # from tp to fn, or back
    while True:
        image, k, other = draw.integers(len(counts)), *draw.permutation(counts.shape[1])[:2]
        most = int(np.ceil(STEP * counts[image, k, source]))
        if drop < 0:
            most = min(most, int(counts[image, other, 1]))
        flip = np.zeros_like(total)
        flip[k, source], flip[k, sink], flip[other, 1] = -1, 1, sign
        tries = total + np.arange(most + 1)[:, None, None] * flip  # (most + 1, K, 3)
        pixels = int(np.argmin(np.abs(confusion.miou(tries) - goal)))
        counts[image] += pixels * flip
        total = tries[pixels]
        if pixels < most:
            return counts


def accuracy_of_miou(pair: Pair) -> float:
    """How much accuracy changes when planted errors change mIoU by 1: seeds move both together."""
    before, after = (counts.sum(axis=0) for counts in (pair.base.counts, planted(pair, DROPS[-1], _draws())))
    moved = [float(score(before) - score(after)) for score in (confusion.accuracy, confusion.miou)]
    return moved[0] / moved[1]


def _draws() -> np.random.Generator:
    return np.random.default_rng(SEED)


def drops(folder: Path, trials: int) -> None:
    """Prints the share of planted drops that is detected, in trials where seeds move both runs by the deviation.

    Each trial estimates the deviation for the gate from FEW draws, as a team would. That of accuracy is proportional,
    by the ratio in which these errors move both scores.
    """
    pair = gate_runs.paired(folder / "seed-1", folder / "seed-1")
    share = accuracy_of_miou(pair)
    console.say(
        f"regressions detected (passes), of {trials} trials each; rows: seed deviation of mIoU, columns: drop\n"
    )
    console.say(f"| deviation | {' | '.join(f'{100 * drop:g} points' for drop in DROPS)} |")
    console.say("|---" * (1 + len(DROPS)) + "|")
    for deviation in DEVIATIONS:
        cells = []
        for drop in DROPS:
            draw = _draws()
            said = Counter(_trial(pair, drop, deviation, share, draw) for _ in range(trials))
            cells.append(f"{said[Verdict.REGRESSION] / trials:.0%} ({said[Verdict.OK] / trials:.0%})")
        console.say(f"| {100 * deviation:g} points | {' | '.join(cells)} |")


def _trial(pair: Pair, drop: float, deviation: float, share: float, draw: np.random.Generator) -> Verdict:
    moved = drop + deviation * float(draw.normal() - draw.normal())
    other = replace(
        pair, candidate=replace(pair.base, counts=planted(pair, moved, draw) if moved else pair.base.counts)
    )
    estimate = deviation * float(np.sqrt(draw.chisquare(FEW - 1) / (FEW - 1)))
    claims = gate_runs.claims()
    parts = [share if claim.metric == "accuracy" else 1.0 for claim in claims]
    spreads = [Noise(float(np.sqrt(2)) * estimate * part, FEW) if deviation else None for part in parts]
    return decision.overall(decision.decide(decision.gather(other, claims), claims, spreads))
