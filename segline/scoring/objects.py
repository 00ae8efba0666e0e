"""Numbered objects, true and predicted -> matches, made once an image -> average precision and panoptic quality.

N images, C classes with objects, T thresholds of IoU; in one image G true and D predicted objects of a class. Objects
of a class do not overlap. Pixels whose truth is unknown (void, or of the class without being of an object) count for
nobody, and a predicted object with more than half of its pixels there is judged only if it matches, as in Kirillov et
al. 2019.

Undefined rates are NaN here (and left out of records): without a true object, a class has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.scoring import average_precision
from segline.scoring.average_precision import Predicted

THRESHOLDS = np.linspace(0.5, 0.95, 10)
SCORE_DIGITS = 4  # of the score of an object, which is recorded
KINDS = ("matched", "split", "merged", "missed", "invented")
MATCHED, SPLIT, MERGED, MISSED, INVENTED = range(len(KINDS))

Uint16 = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Overlaps:
    """Objects of one class in one image that share pixels, where the truth is known.

    `true` (G,) and `predicted` (D,) are the numbers of the objects, `true_areas` and `predicted_areas` their pixels;
    pair i is of `pairs[i]` = (place of the true one, place of the predicted one) with `shared[i]` pixels in common. All
    int64. `mostly_unknown` bool (D,): those with more than half of their pixels where the truth is unknown; of these,
    the ones without an IoU above 0.5 are left out.
    """

    true: Counts
    predicted: Counts
    true_areas: Counts
    predicted_areas: Counts
    pairs: Counts
    shared: Counts
    mostly_unknown: Bools

    @property
    def iou(self) -> Floats:
        """Of each pair: float64 (n,)."""
        t, p = self.pairs.T
        iou: Floats = self.shared / (self.true_areas[t] + self.predicted_areas[p] - self.shared)
        return iou


def overlaps(truth: Uint16, predicted: Uint16, known: Bools) -> Overlaps:
    """The overlaps of objects numbered in `truth` and `predicted`, (H, W), 0 = none, over the pixels `known`."""
    count = int(predicted.max(initial=0)) + 1
    codes = truth[known].astype(np.int64) * count + predicted[known]
    found, shared = np.unique(codes, return_counts=True)
    t, p = np.divmod(found, count)
    inside = np.bincount(p, shared, minlength=count).astype(np.int64)
    true_areas = np.bincount(t, shared).astype(np.int64)
    true = np.flatnonzero(true_areas)
    true = true[true > 0]
    mostly_unknown = 2 * inside < np.bincount(predicted.ravel(), minlength=count)
    judged = (inside > 0) & ~mostly_unknown
    both = (t > 0) & (p > 0)
    t, p, shared = t[both], p[both], shared[both]
    judged[p[shared / (true_areas[t] + inside[p] - shared) > 0.5]] = True
    numbers = np.flatnonzero(judged)
    numbers = numbers[numbers > 0]
    kept = judged[p]
    pairs = np.stack([np.searchsorted(true, t[kept]), np.searchsorted(numbers, p[kept])], axis=1).astype(np.int64)
    return Overlaps(true, numbers, true_areas[true], inside[numbers], pairs, shared[kept], mostly_unknown[numbers])


def hits(found: Overlaps, scores: Floats) -> Bools:
    """Which predicted objects are matched at each threshold, bool (D, T), as pycocotools matches them.

    In the order of their scores, each takes the true object with the highest IoU, if that reaches the threshold and no
    other has taken it; of equals the last one.
    """
    matched = np.zeros((len(found.predicted), len(THRESHOLDS)), np.bool_)
    close = found.iou >= THRESHOLDS[0]
    candidates: dict[int, list[tuple[float, int]]] = {}
    for (t, p), iou in zip(found.pairs[close].tolist(), found.iou[close].tolist(), strict=True):
        candidates.setdefault(p, []).append((iou, t))
    for place, threshold in enumerate(THRESHOLDS):
        taken: set[int] = set()
        for p in np.argsort(-scores, kind="stable").tolist():
            free = [(iou, t) for iou, t in candidates.get(p, []) if iou >= threshold and t not in taken]
            if free:
                taken.add(max(free)[1])
                matched[p, place] = True
    return matched


@dataclass(frozen=True)
class Matched:
    """The objects of one class in one image, matched.

    True and predicted ones match with an IoU above 0.5, so that at most one fits: `tp` pairs, whose IoU sum up to
    `iou`; `fp` and `fn` are the others. `predicted` is what average precision needs, whose lowest threshold includes
    0.5. `true_kinds` (G,) and `predicted_kinds` (D,) are places in `KINDS`, int64.
    """

    overlaps: Overlaps
    predicted: Predicted
    tp: int
    fp: int
    fn: int
    iou: float
    true_kinds: Counts
    predicted_kinds: Counts

    @property
    def cells(self) -> tuple[float, ...]:
        """What adds up over images: tp, fp, fn and the sum of IoU."""
        return self.tp, self.fp, self.fn, self.iou


def match(truth: Uint16, predicted: Uint16, known: Bools, scores: Floats) -> Matched:
    """The objects of one class, matched; `scores` float64 are those of predicted objects 1, 2, ..., 0..1."""
    found = overlaps(truth, predicted, known)
    own = np.round(scores[found.predicted - 1], SCORE_DIGITS)
    same = found.iou > 0.5
    tp = int(same.sum())
    hit = hits(found, own)
    numbers = Predicted(own, hit, ~hit & found.mostly_unknown[:, None], len(found.true))
    counts = tp, len(found.predicted) - tp, len(found.true) - tp
    return Matched(found, numbers, *counts, float(found.iou[same].sum()), *kinds(found))


def kinds(found: Overlaps) -> tuple[Counts, Counts]:
    """What became of each true object, (G,), and what each predicted one is, (D,): places in `KINDS`, int64.

    Of those that match none: a predicted object is *merged* if more than half of each of several true ones lies in it,
    and so are these; a true object is *split* if several predicted ones lie in it with more than half of theirs, and so
    are these. Other true objects are *missed*, other predicted ones *invented*: a bad outline is one of each.
    """
    t, p = found.pairs.T
    true = np.full(len(found.true), MISSED)
    predicted = np.full(len(found.predicted), INVENTED)
    swallowed = 2 * found.shared > found.true_areas[t]
    merging = np.bincount(p[swallowed], minlength=len(predicted)) > 1
    within = 2 * found.shared > found.predicted_areas[p]
    parted = np.bincount(t[within], minlength=len(true)) > 1
    predicted[p[within & parted[t]]] = SPLIT
    true[parted] = SPLIT
    predicted[merging] = MERGED
    true[t[swallowed & merging[p]]] = MERGED
    same = found.iou > 0.5
    true[t[same]] = predicted[p[same]] = MATCHED
    return true, predicted


def panoptic(cells: Any) -> Floats:
    """Panoptic, segmentation and recognition quality from sums (..., 4) of `Matched.cells`: float64 (..., 3).

    PQ = sum of IoU / (tp + fp / 2 + fn / 2) = SQ RQ; SQ is the mean IoU of matches, RQ the F1 of objects. NaN without a
    true object, SQ also without a match. Source: Kirillov et al. 2019, eq. 1 and 2, over classes with objects alone.
    """
    tp, fp, fn, iou = np.moveaxis(np.asarray(cells, np.float64), -1, 0)
    there = tp + fn > 0
    whole = np.where(there, tp + fp / 2 + fn / 2, np.nan)
    return np.stack([iou / whole, iou / np.where(there & (tp > 0), tp, np.nan), tp / whole], axis=-1)


def mean(rates: Floats) -> Floats:
    """The mean over the last axis without undefined rates; NaN where all are."""
    defined = ~np.isnan(rates)
    count = defined.sum(axis=-1)
    return np.where(count > 0, np.where(defined, rates, 0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def summary(images: Sequence[Sequence[Matched]], names: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """The section `objects` of eval.json from the matches (N, C): means over the classes that have a true object, 95 %
    intervals over images, and the scores and counts of each class.

    A class without a true object has counts alone, and a rate that no class has is left out.
    """
    classes = {}
    for name, matches in zip(names, zip(*images, strict=True), strict=True):
        ap = average_precision.by_pycocotools([match.predicted for match in matches], THRESHOLDS)
        rates = _rates(ap, panoptic(_cells([matches]).sum(axis=1)[0]))
        counts = {kind: sum(getattr(match, kind) for match in matches) for kind in ("tp", "fp", "fn")}
        classes[name] = _defined(rates) | counts
    together = {
        rate: float(mean(np.array([scores.get(rate, np.nan) for scores in classes.values()]))) for rate in _RATES
    }
    return _defined(together) | {"classes": classes, "interval": intervals(images, resamples, seed)}


_RATES = ("ap", "ap50", "ap75", "pq", "sq", "rq")


def _rates(ap: Floats, quality: Floats) -> dict[str, float]:
    values = [ap.mean(), ap[0], ap[5], *quality]
    return dict(zip(_RATES, map(float, values), strict=True))


def _defined(rates: dict[str, float]) -> dict[str, Any]:
    return {name: rate for name, rate in rates.items() if not np.isnan(rate)}


def _cells(by_class: Sequence[Sequence[Matched]]) -> Floats:
    """The cells of (C, N) matches: float64 (C, N, 4)."""
    return np.array([[match.cells for match in matches] for matches in by_class], np.float64).reshape(
        len(by_class), -1, 4
    )


def intervals(images: Sequence[Sequence[Matched]], resamples: int, seed: int) -> dict[str, dict[str, float]]:
    """95 % intervals of all six rates, each {"low", "high"}, from resampled images; the matches stay.

    Resamples in which a rate is undefined are left out. Fewer than two images, or none with a true object, have no
    interval.
    """
    if len(images) < 2:
        return {}
    drawn = np.random.default_rng(seed).integers(0, len(images), (resamples, len(images)))
    weights = np.stack([np.bincount(rows, minlength=len(images)) for rows in drawn])
    ap, quality = [], []
    for matches in zip(*images, strict=True):
        ranked = average_precision.ranking([match.predicted for match in matches])
        ap.append(average_precision.of_resamples(ranked, weights))
        quality.append(panoptic(weights @ _cells([matches])[0]))
    by_threshold = mean(np.stack(ap, axis=-1))  # (B, T)
    columns = [by_threshold.mean(axis=1), by_threshold[:, 0], by_threshold[:, 5], *mean(np.stack(quality, axis=-1)).T]
    found = {}
    for name, values in zip(_RATES, columns, strict=True):
        if not np.isnan(values).all():
            low, high = np.nanpercentile(values, [2.5, 97.5])
            found[name] = {"low": float(low), "high": float(high)}
    return found
