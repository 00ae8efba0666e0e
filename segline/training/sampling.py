"""Which row each sample of an epoch shows: its own, or one that was drawn because it shows a rare class.

A class is rare if its share of the labelled pixels of the train split is below an even share. Source: Isensee et al.
2021, "nnU-Net", which draws a third of its patches for their foreground. N rows, so N samples an epoch; K classes.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline.core import params
from segline.dataset import onehot, processed
from segline.model import randomness
from segline.training import class_weights

Int64 = npt.NDArray[np.int64]


class Rare(params.Section):
    """`rare` is the share of the samples of an epoch that are drawn for rare classes."""

    rare: float = Field(gt=0, le=1)


Sampling = Annotated[
    Literal["uniform"] | Rare, params.expecting("uniform, or {rare: share} with a share above 0 and up to 1")
]


@dataclass(frozen=True)
class RareClasses:
    """`share` of the samples are drawn for these classes. `present` has a bit for each row and class, the lowest first:
    uint8 (N, ceil(K / 8)).
    """

    share: float
    classes: tuple[int, ...]
    present: npt.NDArray[np.uint8]

    def rows(self, number: int) -> Int64:
        """The rows that show a class."""
        return np.flatnonzero(self.present[:, number // 8] >> (number % 8) & 1)


def rare_classes(sampling: Sampling, split: processed.Split) -> RareClasses | None:
    """The rare classes of the train split, whose masks are read twice; None if sampling is uniform or none is rare."""
    if sampling == "uniform":
        return None
    pixels = class_weights.counts(split).sum(axis=0)
    rare = np.flatnonzero((pixels > 0) & (pixels * len(pixels) < pixels.sum()))
    if not len(rare):
        return None
    present = [np.packbits(onehot.present(row, len(pixels)), bitorder="little") for row in split.onehot]
    return RareClasses(sampling.rare, tuple(rare.tolist()), np.array(present))


def rows(count: int, seed: int, epoch: int, rare: RareClasses | None) -> Int64:
    """The row that each of `count` samples shows in an epoch, int64 (N,): a function of (seed, epoch).

    Sample i shows row i, so every row is shown once. With rare classes a random share of the samples, at least one,
    show others instead: a class is drawn evenly, then one of the rows that show it.
    """
    shown = np.arange(count)
    if rare is None:
        return shown
    draws = randomness.generator(seed, randomness.RARE, epoch)
    chosen = draws.permutation(count)[: max(1, round(rare.share * count))]
    classes = draws.choice(rare.classes, len(chosen))
    for number in rare.classes:
        mine = chosen[classes == number]
        shown[mine] = draws.choice(rare.rows(number), len(mine))
    return shown
