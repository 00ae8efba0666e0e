"""The class of each pixel from one view of an image or several: at other input sizes, and mirrored.

N images, C channels, K classes, H x W pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segline.model import forward


def views(network: nn.Module, inputs: Tensor, flip: bool) -> list[Tensor]:
    """Logits (N, K, H, W) of inputs (N, C, H, W); with `flip` also those of the mirrored inputs, mirrored back."""
    logits = [forward.logits(network, inputs)]
    if flip:
        logits.append(forward.logits(network, inputs.flip(-1)).flip(-1))
    return logits


def merged(logits: Sequence[Tensor], height: int, width: int) -> Tensor:
    """The logits (K, height, width) of one image from those of each view (K, h, w), whose sizes may differ.

    Those of one view are resized as `forward.classes_at` does. Of several it is the logarithm of the mean probability.
    """
    first, *rest = (_resized(view, height, width) for view in logits)
    if not rest:
        return first
    total = first.softmax(dim=0)
    for view in rest:
        total += view.softmax(dim=0)
    return (total / len(logits)).clamp(min=torch.finfo(total.dtype).tiny).log()


def _resized(logits_khw: Tensor, height: int, width: int) -> Tensor:
    if logits_khw.shape[1:] == (height, width):
        return logits_khw
    return F.interpolate(logits_khw[None], size=(height, width), mode="bilinear", align_corners=False)[0]
