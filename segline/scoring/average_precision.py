"""Ranked predicted objects -> average precision, for all images or any resample of them.

N images, D predicted objects in all of them, T thresholds of IoU, B resamples. Average precision is the mean over the
recalls 0, 0.01, ..., 1 of the highest precision at that recall or a higher one.
Source: Lin et al. 2014 (COCO), as pycocotools computes it, without its limit of 100 objects an image.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RECALLS = np.linspace(0, 1, 101)
_CELLS = 1 << 22  # numbers held at once while resampling

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Predicted:
    """The predicted objects of one image, and how many true ones it has.

    `scores` are float64 (D,); `hits` bool (D, T): which of them are matched at each threshold; `ignored` bool (D, T):
    which of the others count for nothing.
    """

    scores: Floats
    hits: Bools
    ignored: Bools
    truths: int


@dataclass(frozen=True)
class Ranking:
    """All predicted objects, the highest score first, of equals that of the earlier image: `images` int64 (D,) they are
    of, `hits` and `ignored` bool (D, T). `truths` int64 (N,) are the true ones of each image."""

    images: Counts
    hits: Bools
    ignored: Bools
    truths: Counts


def ranking(images: Sequence[Predicted]) -> Ranking:
    """The ranking of the objects of all images."""
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    owners = np.repeat(np.arange(len(images)), [len(image.scores) for image in images])
    hits, ignored = (np.concatenate([getattr(image, name) for image in images]) for name in ("hits", "ignored"))
    return Ranking(owners[order], hits[order], ignored[order], np.array([image.truths for image in images], np.int64))


def of_resamples(ranked: Ranking, weights: npt.NDArray[np.float64 | np.int64]) -> Floats:
    """The average precision at each threshold in resamples that have image i `weights[b, i]` times: (B, T).

    NaN where a resample has no true object. The copies of an object follow each other, so that only the precision after
    the last of them counts: the same as of the images copied. Objects of one image with equal scores are the exception:
    all copies of the first come before those of the second, where images copied would take them in turn.
    """
    found = np.full((len(weights), ranked.hits.shape[1]), np.nan)
    step = max(1, _CELLS // max(1, len(ranked.images)))
    for start in range(0, len(weights), step):
        drawn = weights[start : start + step]
        truths = drawn @ ranked.truths
        copies = drawn[:, ranked.images]
        for place, (hits, ignored) in enumerate(zip(ranked.hits.T, ranked.ignored.T, strict=True)):
            seen = np.where(ignored, 0, copies).cumsum(axis=1)
            right = np.where(hits, copies, 0).cumsum(axis=1)
            for row in np.flatnonzero(truths > 0):
                found[start + row, place] = _area(right[row], seen[row], truths[row])
    return found


def _area(right: npt.NDArray[np.float64], seen: npt.NDArray[np.float64], truths: float) -> float:
    """The mean over `RECALLS` from how many objects are right, and how many there are, down to each rank."""
    precision = right / (seen + np.spacing(1))  # as in pycocotools; `seen` may begin with 0
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    ranks = np.searchsorted(right / truths, RECALLS, side="left")
    return float(highest[ranks[ranks < len(highest)]].sum()) / len(RECALLS)


def by_pycocotools(images: Sequence[Predicted], thresholds: Floats) -> Floats:
    """The average precision at each threshold, (T,), as pycocotools accumulates it; NaN without a true object."""
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415 - a quarter of a second

    coco = COCOeval(iouType="segm")
    coco.params.imgIds, coco.params.catIds = [*range(len(images))], [1]
    coco.params.iouThrs, coco.params.recThrs = thresholds, RECALLS
    coco.params.areaRng, coco.params.maxDets = [[0, np.inf]], [max(len(image.scores) for image in images)]
    coco.evalImgs, coco._paramsEval = [_record(image) for image in images], coco.params
    with redirect_stdout(io.StringIO()):  # it prints its progress
        coco.accumulate()
    precision = coco.eval["precision"][:, :, 0, 0, 0]
    return np.where(precision[:, 0] < 0, np.nan, precision.mean(axis=1))


def _record(image: Predicted) -> dict[str, npt.NDArray[np.float64]]:
    """What pycocotools keeps of an image it has matched: the objects by score, and whether each is matched."""
    order = np.argsort(-image.scores, kind="stable")
    hits = image.hits[order].T.astype(np.float64)
    ignored = {"dtIgnore": image.ignored[order].T.astype(np.float64), "gtIgnore": np.zeros(image.truths)}
    return {"dtScores": image.scores[order], "dtMatches": hits, **ignored}
