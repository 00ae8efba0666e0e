"""A trained network -> logits and classes, for any input size. N images, K classes, H x W pixels."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segline.model import output_head


def logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """Float32 (N, K, H, W) of float32 inputs (N, C, H, W), without gradients, dropout or batch statistics."""
    with torch.inference_mode():
        out = output_head.class_logits(network.eval()(inputs))
    return out.float()


def classes(logits_nkhw: Tensor) -> npt.NDArray[np.uint8]:
    """The class of the highest logit, the first of equals: uint8 (N, H, W) on the CPU. K <= 255."""
    highest, *others = logits_nkhw.unbind(dim=1)
    labels = torch.zeros_like(highest, dtype=torch.uint8)
    for k, plane in enumerate(others, 1):  # on a CPU 1.4 to 4 times as fast as max(dim=1)
        labels = torch.maximum(labels, (plane > highest).byte() * k)
        highest = torch.maximum(highest, plane)
    on_cpu: npt.NDArray[np.uint8] = labels.cpu().numpy()
    return on_cpu


def confidence(logits_khw: Tensor, temperature: float, one: int) -> npt.NDArray[np.int32]:
    """The probability of the class of each pixel at a temperature, in units of 1 / `one`, rounded: int32 (H, W).

    The softmax of logits / temperature, 0 where that is undefined, as for infinite logits. Class by class, so that a
    pixel's bits do not depend on those beside it.
    """
    highest, *others = logits_khw.unbind()
    for plane in others:
        highest = torch.maximum(highest, plane)
    total = torch.zeros_like(highest)
    for plane in logits_khw:
        total += ((plane - highest) / temperature).exp_()
    on_cpu: npt.NDArray[np.int32] = (one / total).nan_to_num_(0).round_().int().cpu().numpy()
    return on_cpu


def counts(logits_nkhw: Tensor, onehot_nkhw: Tensor) -> Tensor:
    """`confusion.count` of the classes, int64 (K, K), on the device of the logits: nothing waits for a GPU."""
    num_classes = onehot_nkhw.shape[1]
    labelled, truth = onehot_nkhw.max(dim=1)
    _, highest = logits_nkhw.max(dim=1)
    cells = torch.where(labelled > 0, truth * num_classes + highest, num_classes**2).flatten()
    size = num_classes**2 + 1  # the last cell is void
    pixels = torch.bincount(cells, minlength=size) if cells.device.type == "cpu" else _tally(cells, size)
    return pixels[:-1].view(num_classes, num_classes)


def _tally(cells: Tensor, size: int) -> Tensor:
    """`torch.bincount`, int64 (size,), which on a GPU makes the host wait for the largest value; this does not."""
    return torch.searchsorted(cells.sort().values, torch.arange(size + 1, device=cells.device)).diff()


def classes_at(logits_khw: Tensor, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The classes of one image at another size: logits (K, H, W) resized bilinearly, then argmax: uint8."""
    logits_nkhw = logits_khw[None]
    if logits_khw.shape[1:] != (height, width):  # torch would compute every value even for the same size
        logits_nkhw = F.interpolate(logits_nkhw, size=(height, width), mode="bilinear", align_corners=False)
    labels: npt.NDArray[np.uint8] = classes(logits_nkhw)[0]
    return labels


def cost(network: nn.Module, channels: int, height: int, width: int) -> dict[str, int]:
    """Parameters, and multiply-adds of one image (convolutions and matrix products; half of torch's FLOP count)."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter:
        logits(network, torch.zeros(1, channels, height, width, device=device))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"parameters": parameters, "multiply_adds": counter.get_total_flops() // 2}
