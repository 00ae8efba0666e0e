"""Logits and one-hot targets -> a scalar to minimise. N images, K classes, H x W pixels; both are (N, K, H, W).

The named losses take `log_p`, float32 (N, K, H, W): the log-softmax of the logits, made once for all of them.

A pixel is valid if any bit of its target is set; void pixels (the zero vector) give no loss and no gradient, and where
all are void, each loss is 0. Targets are 0 or 1, at most one 1 a pixel. Everything is computed in float32 and written
with products and sums alone, clear of the 2-D NLL kernel that has no deterministic form on CUDA.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Name = Literal["cross_entropy", "weighted_cross_entropy", "dice", "focal"]
Loss = Callable[[Tensor, Tensor], Tensor]

FOCUS = 2  # gamma: the value that Lin et al. 2017 found best (table 1b)


def criterion(names: Sequence[Name], label_smoothing: float, class_weights: Tensor) -> Loss:
    """The sum of the named losses. `class_weights` (K,), those of weighted_cross_entropy, may be empty without it."""
    parts: dict[Name, Loss] = {
        "cross_entropy": partial(cross_entropy, smoothing=label_smoothing),
        "weighted_cross_entropy": partial(cross_entropy, smoothing=label_smoothing, class_weights=class_weights),
        "dice": dice,
        "focal": focal,
    }

    def total(logits: Tensor, onehot: Tensor) -> Tensor:
        log_p = F.log_softmax(logits.float(), dim=1)
        return torch.stack([parts[name](log_p, onehot) for name in names]).sum()

    return total


def num_valid(onehot: Tensor) -> Tensor:
    """How many pixels of a target are labelled: a scalar tensor."""
    return onehot.sum()


def cross_entropy(log_p: Tensor, onehot: Tensor, smoothing: float = 0.0, class_weights: Tensor | None = None) -> Tensor:
    """Mean over valid pixels of -sum_k w_k q_k log p_k, in nats.

    q is the target; with `smoothing` s it is (1 - s) target + s / K at a valid pixel (Szegedy et al. 2016, sec. 7).
    w is `class_weights` (K,) or 1 throughout. The mean divides by the sum of w at the valid pixels' own classes, as
    `torch.nn.functional.cross_entropy` does, and is 0 where that sum is.
    """
    own = onehot if class_weights is None else class_weights.view(1, -1, 1, 1) * onehot
    total = -(own * log_p).sum()
    if smoothing:
        everywhere = log_p if class_weights is None else class_weights.view(1, -1, 1, 1) * log_p
        uniform = -(onehot.sum(dim=1) * everywhere.sum(dim=1)).sum() / onehot.shape[1]
        total = (1 - smoothing) * total + smoothing * uniform
    return _mean(total, own.sum())


def dice(log_p: Tensor, onehot: Tensor) -> Tensor:
    """Mean over the classes that the batch has of 1 - 2 |p t| / (|p| + |t|), in 0..1.

    t is the target; p and t are taken at valid pixels, and |x| is the sum over the batch. Source: Milletari et al.
    2016, without their squares, as in Drozdzal et al. 2016.
    """
    valid = onehot.sum(dim=1, keepdim=True)
    probabilities = log_p.exp()
    pixels = (0, 2, 3)
    truth = onehot.sum(dim=pixels)
    # Where a class is in the batch the sum of the sizes is 1 at least; elsewhere its term is not counted.
    sizes = ((probabilities * valid).sum(dim=pixels) + truth).clamp(min=1)
    present = (truth > 0).float()
    terms = 1 - 2 * (probabilities * onehot).sum(dim=pixels) / sizes
    return _mean((terms * present).sum(), present.sum())


def focal(log_p: Tensor, onehot: Tensor) -> Tensor:
    """Mean over valid pixels of -(1 - p)^2 log p, p the probability of the pixel's class. Source: Lin et al. 2017."""
    own = (onehot * log_p).sum(dim=1)  # 0 at void: as if p were 1
    return _mean(-((1 - own.exp()) ** FOCUS * own).sum(), num_valid(onehot))


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight, and 0 with no gradient where the weight is 0."""
    return total * (weight > 0) / weight.clamp(min=torch.finfo(torch.float32).tiny)
