"""Logits and one-hot targets -> a scalar. N images, K classes, H x W pixels.

A pixel is valid if any bit of its target is set; void pixels (the zero vector) give no loss and no gradient.
"""

import torch.nn.functional as F
from torch import Tensor


def num_valid(onehot: Tensor) -> Tensor:
    """How many pixels of an (N, K, H, W) target are labelled: a scalar tensor."""
    return onehot.sum()


def cross_entropy(logits: Tensor, onehot: Tensor) -> Tensor:
    """Mean over valid pixels of -log softmax(logits)[class], in nats; 0 when all pixels are void.

    `logits` and `onehot`: (N, K, H, W), onehot 0 or 1 and at most one 1 a pixel. Written with products and sums alone,
    it stays clear of the 2-D NLL kernel that has no deterministic form on CUDA.
    """
    total = -(onehot * F.log_softmax(logits.float(), dim=1)).sum()
    return total / num_valid(onehot).clamp(min=1)
