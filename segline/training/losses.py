"""Logits and one-hot targets -> a scalar to minimise. N images, K classes, H x W pixels; both are (N, K, H, W).

The named losses take `log_p`, float32 (N, K, H, W): the log-softmax of the logits, computed once for all of them.

Targets are 0 or 1, with at most one 1 per pixel. A pixel with a 1 is valid; void pixels (the zero vector) give no loss
and no gradient, and if all are void, every loss is 0. Everything is computed in float32 with products and sums only:
torch's 2-D NLL kernel has no deterministic form on CUDA.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Name = Literal["cross_entropy", "weighted_cross_entropy", "dice", "focal"]
Weights = Mapping[Name, Tensor]

FOCUS = 2  # gamma: the best value in Lin et al. 2017 (table 1b)


class Loss(Protocol):
    """Of logits and targets, a scalar. `weights`: those of the batch that they are a shard of, see `weights`."""

    def __call__(self, logits: Tensor, onehot: Tensor, weights: Weights | None = None) -> Tensor:
        """The loss of a batch, or what a shard adds to it."""
        ...


def criterion(names: Sequence[Name], label_smoothing: float, class_weights: Tensor) -> Loss:
    """The sum of the named losses. `class_weights` (K,) may be empty without weighted_cross_entropy."""
    parts: dict[Name, Any] = {
        "cross_entropy": partial(cross_entropy, smoothing=label_smoothing),
        "weighted_cross_entropy": partial(cross_entropy, smoothing=label_smoothing, class_weights=class_weights),
        "dice": dice,
        "focal": focal,
    }

    def total(logits: Tensor, onehot: Tensor, weights: Weights | None = None) -> Tensor:
        log_p = F.log_softmax(logits.float(), dim=1)
        return torch.stack([parts[name](log_p, onehot, weight=(weights or {}).get(name)) for name in names]).sum()

    return total


def num_valid(onehot: Tensor) -> Tensor:
    """The number of labelled pixels of a target, a scalar tensor."""
    return onehot.sum()


def weights(pixels: Tensor, shards: Tensor, class_weights: Tensor) -> Weights:
    """What the losses of a batch are divided by, as float32 scalars. A batch is known by two exact counts, which do not
    depend on how it is cut: its labelled `pixels` of each class, int64 (K,), and its `shards` that have any.
    """
    valid = pixels.sum().float()
    found: dict[Name, Tensor] = {"cross_entropy": valid, "focal": valid, "dice": shards.float()}
    if len(class_weights):
        found["weighted_cross_entropy"] = (class_weights.double() * pixels).sum().float()
    return found


def cross_entropy(
    log_p: Tensor,
    onehot: Tensor,
    smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean over valid pixels of -sum_k w_k q_k log p_k, in nats.

    q is the target; with `smoothing` s it is (1 - s) target + s / K at a valid pixel (Szegedy et al. 2016, sec. 7).
    w is `class_weights` (K,), or 1. The mean divides by the sum of w over the classes of the valid pixels, as
    `torch.nn.functional.cross_entropy` does, or by `weight`, the sum of a batch that this is a shard of; it is 0 if
    that is 0.
    """
    own = onehot if class_weights is None else class_weights.view(1, -1, 1, 1) * onehot
    total = -(own * log_p).sum()
    if smoothing:
        everywhere = log_p if class_weights is None else class_weights.view(1, -1, 1, 1) * log_p
        uniform = -(onehot.sum(dim=1) * everywhere.sum(dim=1)).sum() / onehot.shape[1]
        total = (1 - smoothing) * total + smoothing * uniform
    return _mean(total, own.sum() if weight is None else weight)


def dice(log_p: Tensor, onehot: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the classes present in the batch of 1 - 2 |p t| / (|p| + |t|), in 0..1.

    t is the target, p the probability, both at valid pixels; |x| is the sum over the batch. Source: Milletari et al.
    2016, without their squares, as in Drozdzal et al. 2016. A shard has a loss of its own, divided by `weight`, the
    number of shards with labelled pixels: the sum over the shards is the mean of their losses.
    """
    valid = onehot.sum(dim=1, keepdim=True)
    probabilities = log_p.exp()
    pixels = (0, 2, 3)
    truth = onehot.sum(dim=pixels)
    # For a class in the batch the sum of the sizes is at least 1; the terms of others are not counted.
    sizes = ((probabilities * valid).sum(dim=pixels) + truth).clamp(min=1)
    present = (truth > 0).float()
    terms = 1 - 2 * (probabilities * onehot).sum(dim=pixels) / sizes
    own = _mean((terms * present).sum(), present.sum())
    return own if weight is None else _mean(own, weight)


def focal(log_p: Tensor, onehot: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over valid pixels of -(1 - p)^2 log p, p the probability of the pixel's class. Source: Lin et al. 2017.

    `weight` is the number of valid pixels of a batch that this is a shard of.
    """
    own = (onehot * log_p).sum(dim=1)  # 0 at void: as if p were 1
    return _mean(-((1 - own.exp()) ** FOCUS * own).sum(), num_valid(onehot) if weight is None else weight)


def _mean(total: Tensor, weight: Tensor) -> Tensor:
    """total / weight, and 0 with no gradient if the weight is 0."""
    return total * (weight > 0) / weight.clamp(min=torch.finfo(torch.float32).tiny)
