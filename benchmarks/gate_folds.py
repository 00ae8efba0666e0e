"""Two cross-validations compared, simulated from normal scores: false alarms at a margin of 0, where most are.

A score is a mean over images; each image is in one of F folds. A training does something to all images of its fold: by
its seed, by what that seed does in all folds alike, and on one side by its training set, alike for all seeds. Every
comparison draws all of it anew. Variances and intervals are those of `segline.gate.series`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segline.gate import series
from segline.gate.bootstrap import Floats
from segline.monitoring import console

SEED = 1
FOLDS, SEEDS, IMAGES = (3, 5, 10), (2, 3, 5), 60
BATCH = 500  # comparisons drawn at once
BY_SEED = 0.01  # what the seed of a training adds to the difference of its fold


@dataclass(frozen=True)
class Kind:
    """Standard deviations of what is added to a difference: of a fold by its training set, of all folds by the seed
    that they share, and of an image.
    """

    sets: float
    shared: float
    images: float


KINDS = {
    "seeds": Kind(0.0, 0.0, 0.0),
    "seeds, half of it in all folds alike": Kind(0.0, 0.005, 0.0),
    "training sets as much as seeds": Kind(0.01, 0.0, 0.02),
    "training sets twice as much": Kind(0.02, 0.0, 0.02),
    "all of it": Kind(0.01, 0.005, 0.05),
    "images": Kind(0.0, 0.0, 0.1),
}


def alarms(folds: int, seeds: int, kind: Kind, comparisons: int) -> int:
    """How many of the comparisons of two recipes that are equally good end as a regression."""
    draw = np.random.default_rng(SEED)
    level = series.Plan(seeds, seeds, 0).level(series.ERROR, seeds)
    found = 0
    for start in range(0, comparisons, BATCH):
        scores, left = drawn(folds, seeds, kind, min(BATCH, comparisons - start), draw)
        over = series.over_units(left)
        by_seed = series.by_seed(list(scores), None, seeds)
        half = series.half_width(level, (over.covariance, over.doubt), by_seed)
        found += int(((scores[1] - scores[0]).mean(axis=0) + half < 0).sum())
    return found


def drawn(folds: int, seeds: int, kind: Kind, count: int, draw: np.random.Generator) -> tuple[Floats, Floats]:
    """Scores of both sides (2, k, count), and those of their mean difference without each fold in turn (F, count)."""
    fold = np.arange(IMAGES) % folds
    by_seed = BY_SEED * draw.normal(size=(2, seeds, folds, count)) + kind.shared * draw.normal(
        size=(2, seeds, 1, count)
    )
    values = by_seed[:, :, fold] / np.sqrt(2)
    values[1] += (kind.sets * draw.normal(size=(folds, count)))[fold]
    values[1] += kind.images * draw.normal(size=(IMAGES, count))
    differences = (values[1] - values[0]).mean(axis=0)
    left = np.stack([differences[fold != number].mean(axis=0) for number in range(folds)])
    return values.mean(axis=2), left


def table(comparisons: int) -> None:
    """Prints the share of false alarms in all worlds."""
    console.say("| folds | seeds | doubt from | comparisons | false alarms |\n|---|---|---|---|---|")
    counts = []
    for folds, seeds, name in _worlds():
        counts.append(alarms(folds, seeds, KINDS[name], comparisons))
        console.say(f"| {folds} | {seeds} | {name} | {comparisons} | {counts[-1] / comparisons:.2%} |")
    worst = max(counts)
    ends = stats.binomtest(worst, comparisons).proportion_ci(method="exact")
    console.say(f"\nthe highest of {len(counts)}: {worst / comparisons:.2%} (95 % {ends.low:.2%} to {ends.high:.2%})")


def _worlds() -> Iterator[tuple[int, int, str]]:
    for name in KINDS:
        for folds in FOLDS:
            for seeds in SEEDS:
                yield folds, seeds, name
