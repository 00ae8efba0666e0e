"""Logits with the borders of objects -> those of the classes, and the probabilities that objects are found from.

A model with objects has K' classes: after the K of the data set, the border of each class with objects, see
`segline.dataset.objects`. For everything but objects a border counts as its class: the probabilities are added.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segline.model.watershed import ONE

_LINES = 64  # of logits whose probabilities are found at once

Uint16 = npt.NDArray[np.uint16]


def folded(logits_khw: Tensor, parents: Sequence[int]) -> Tensor:
    """The logits of K classes from those of K' (K', H, W): a border's probability is added to that of its class.

    `parents` are those of `segline.dataset.objects.parents`, K' numbers. Without borders the logits stay as they are.
    """
    borders = [(border, k) for border, k in enumerate(parents) if border != k]
    if not borders:
        return logits_khw
    planes = list(logits_khw[: len(logits_khw) - len(borders)].unbind())
    for border, k in borders:
        planes[k] = torch.logaddexp(planes[k], logits_khw[border])
    return torch.stack(planes)


def insides(logits_khw: Tensor, classes: Sequence[int]) -> Uint16:
    """The probabilities of the insides of `classes`, from logits (K', H, W): uint16 (n, H, W), 65,535 is 1, rounded."""
    found = np.empty((len(classes), *logits_khw.shape[1:]), np.uint16)
    for top in range(0, logits_khw.shape[1], _LINES):
        shares = logits_khw[:, top : top + _LINES].softmax(dim=0)[list(classes)]
        found[:, top : top + _LINES] = shares.mul(ONE).round().int().cpu().numpy()
    return found
