"""The temperature at which the probabilities of a trained network fit the val split.

K classes, M pixels; K' channels with the borders of objects, which count as their class.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from segline.model import batches, forward, objects
from segline.model.batches import AnySamples
from segline.model.checkpoint import COLDEST, HOTTEST

MOST = 1 << 24  # logits that are held: of 11 classes, those of 1.5 million pixels
SOME = 1 << 16  # pixels that are computed at once
DIGITS = 4


def of_network(network: nn.Module, val: AnySamples, batch_size: int, parents: Sequence[int], seed: int) -> float:
    """`fitted` to the labelled pixels of val, as `train` sees it, or to as many drawn from them as `MOST` allows.

    `parents` are those of `segline.dataset.objects.parents`. A pixel is drawn or not whatever the batch size is.
    """
    logits, truth = _drawn(network, val, batch_size, parents, seed)
    return fitted(logits, torch.tensor(parents, device=truth.device)[truth])


def _drawn(
    network: nn.Module, val: AnySamples, batch_size: int, parents: Sequence[int], seed: int
) -> tuple[Tensor, Tensor]:
    """Logits float32 (K, M) and true channels int64 (M,) of the pixels that are taken."""
    pixels = sum(int(onehot.sum()) for _, onehot in batches.in_order(val, batch_size, batches.MEAN, batches.STD))
    share = MOST / (pixels * (max(parents) + 1))
    draws = np.random.default_rng(seed)
    parts: list[tuple[Tensor, Tensor]] = []
    for images, onehot in batches.in_order(val, batch_size, batches.MEAN, batches.STD):
        logits = objects.folded(forward.logits(network, images).movedim(1, 0), parents)
        labelled, truth = onehot.max(dim=1)
        chosen = torch.nonzero(labelled.flatten(), as_tuple=True)[0]
        if share < 1:
            chosen = chosen[torch.from_numpy(draws.random(len(chosen)) < share).to(chosen.device)]
        parts.append((logits.flatten(1)[:, chosen], truth.flatten()[chosen]))
    logits, truth = (torch.cat(tensors, dim=-1) for tensors in zip(*parts, strict=True))
    return logits, truth


def fitted(logits_km: Tensor, truth_m: Tensor) -> float:
    """The T from `COLDEST` to `HOTTEST` with the lowest cross entropy of softmax(logits / T), with 4 decimals.

    Logits are float32 (K, M), changed in place; true classes int64 (M,), M > 0. The cross entropy is convex in 1 / T,
    so its slope crosses zero once at most: if it does not, the nearer end is taken. Source: Guo et al. 2017, sec. 4.2.
    """
    from scipy import optimize  # noqa: PLC0415 - a third of a second

    shifted = logits_km.sub_(logits_km.amax(dim=0))
    of_truth = shifted.gather(0, truth_m[None]).sum(dtype=torch.float64)

    def slope(cold: float) -> float:
        """Of the sum of the cross entropies, by 1 / T: expected logits - true logits."""
        expected = torch.zeros_like(of_truth)
        for some in torch.split(shifted, SOME, dim=1):
            expected += (some.mul(cold).softmax(dim=0) * some).sum(dtype=torch.float64)
        return float(expected - of_truth)

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    return round(1 / float(optimize.brentq(slope, low, high, xtol=1e-7)), DIGITS)
