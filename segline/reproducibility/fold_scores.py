"""The scores of folds and seeds -> a mean with its interval, and what they vary with. F folds, S seeds."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from segline.scoring import confusion

RATES = {"accuracy": "Pixel accuracy", "miou": "mIoU", "ece": "ECE"}
WIDTH = 2 * 1.959964  # of a 95 % interval, in standard deviations of a normal distribution

Scores = Mapping[str, Any]  # eval.json


def mean(values: Sequence[Sequence[float]], ratio: float) -> dict[str, float]:
    """The mean of scores (F, S), and its 95 % interval by Student's t over the means of the folds.

    `ratio` is that of test to train images. Training sets overlap, so folds are not independent, and their variance has
    no unbiased estimate (Bengio and Grandvalet 2004): s^2 / F becomes s^2 (1 / F + ratio). Source: Nadeau and Bengio
    2003, sec. 4.
    """
    of_folds = [statistics.fmean(each) for each in values]
    centre = statistics.fmean(of_folds)
    error = statistics.stdev(of_folds) * (1 / len(of_folds) + ratio) ** 0.5
    half = float(special.stdtrit(len(of_folds) - 1, 0.975)) * error
    return {"value": centre, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}


def deviations(values: Sequence[Sequence[float]], widths: Sequence[float]) -> dict[str, float]:
    """Standard deviations of scores (F, S), by what varies: `seed`, `image` and `fold`. `seed` is left out with S = 1.

    Analysis of variance with one factor. `seed` is the deviation within folds. `image` is that of the choice of a
    fold's test images, from the `widths` (F,) of the 95 % bootstrap intervals over them. `fold` is what is left of the
    variance of the folds' means without both, that is other train images; 0 if nothing is left.
    """
    within = [statistics.variance(each) for each in values if len(each) > 1]
    seed = statistics.fmean(within) if within else 0.0
    image = statistics.fmean((width / WIDTH) ** 2 for width in widths)
    between = statistics.variance([statistics.fmean(each) for each in values])
    fold = max(0.0, between - seed / len(values[0]) - image)
    return ({"seed": seed**0.5} if within else {}) | {"fold": fold**0.5, "image": image**0.5}


def summary(results: Sequence[Sequence[Scores]], ratio: float) -> dict[str, Any]:
    """`mean` of each rate that all folds have, from eval.json of each fold and seed (F, S), and its `deviation` if all
    have intervals: a fold of one labelled image has none."""
    content: dict[str, dict[str, Any]] = {"mean": {}, "deviation": {}}
    for name in RATES:
        every = [scores for fold in results for scores in fold]
        if not all(name in scores for scores in every):
            continue
        values = [[scores[name] for scores in fold] for fold in results]
        content["mean"][name] = mean(values, ratio)
        bounds = [scores["interval"].get(name) for scores in every]
        if all(bounds):
            content["deviation"][name] = deviations(values, [bound["high"] - bound["low"] for bound in bounds])
    return content


def pooled(matrices: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The scores of all images together, each predicted once, from the cells of confusion.json of each fold."""
    names = list(dict.fromkeys(cell["actual"] for cell in matrices[0]))
    place = {name: k for k, name in enumerate(names)}
    total = np.zeros((len(names), len(names)), np.int64)
    for cell in (cell for cells in matrices for cell in cells):
        total[place[cell["actual"]], place[cell["predicted"]]] += cell["count"]
    scores = confusion.scores(total)
    iou = {name: float(rate) for name, rate, there in zip(names, scores.iou, scores.present, strict=True) if there}
    return {"accuracy": scores.accuracy, "miou": scores.miou, "iou": iou}
