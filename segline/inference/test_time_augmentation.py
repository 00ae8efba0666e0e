"""The class of each pixel from one view of an image or several: at other input sizes, and mirrored.

N images, C channels, K classes, H x W pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
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


def classes_at(logits: Sequence[Tensor], height: int, width: int) -> npt.NDArray[np.uint8]:
    """The classes of one image at (height, width) from the logits (K, h, w) of each view, whose sizes may differ.

    One view gives what `forward.classes_at` does; several are resized, and their probabilities averaged.
    """
    if len(logits) == 1:
        return forward.classes_at(logits[0], height, width)
    first, *rest = (_probabilities(view, height, width) for view in logits)
    for probabilities in rest:
        first += probabilities
    labels: npt.NDArray[np.uint8] = forward.classes(first)[0]
    return labels


def merged(logits: Sequence[Tensor], height: int, width: int) -> Tensor:
    """One view's logits (K, height, width) as they are; of several the logarithm of their mean probability there."""
    if len(logits) == 1:
        return logits[0]
    mean = torch.stack([_probabilities(view, height, width)[0] for view in logits]).mean(dim=0)
    return mean.clamp(min=torch.finfo(mean.dtype).tiny).log()


def _probabilities(logits_khw: Tensor, height: int, width: int) -> Tensor:
    resized = F.interpolate(logits_khw[None], size=(height, width), mode="bilinear", align_corners=False)
    return resized.softmax(dim=1)
