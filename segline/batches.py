"""Processed arrays -> tensors on the device, in batches.

N images, H x W pixels, C channels, K classes. What is stored stays bytes until a batch needs it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Bytes 0..255 become -1..1, as in S1. A model file carries these two numbers.
MEAN = 127.5
STD = 127.5


@dataclass(frozen=True)
class Samples:
    """A split on the device: images uint8 (N, H, W, C), packed one-hot uint8 (N, H, W, ceil(K / 8))."""

    images: Tensor
    packed: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.images)


def load(
    images: npt.NDArray[np.uint8], packed: npt.NDArray[np.uint8], num_classes: int, device: torch.device
) -> Samples:
    """The arrays of a split as tensors on `device`."""
    return Samples(torch.tensor(images, device=device), torch.tensor(packed, device=device), num_classes)


def inputs(images: Tensor) -> Tensor:
    """What a network sees: uint8 (n, H, W, C) -> float32 (n, C, H, W) in -1..1, channels last in memory."""
    return ((images.float() - MEAN) / STD).permute(0, 3, 1, 2)


def onehot(packed: Tensor, num_classes: int) -> Tensor:
    """Unpacked targets: uint8 (n, H, W, ceil(K / 8)) -> float32 (n, K, H, W) of 0 and 1; void is all 0."""
    classes = torch.arange(num_classes, device=packed.device)
    bits = (packed[..., classes // 8] >> (classes % 8)) & 1
    return bits.float().permute(0, 3, 1, 2)


def in_order(samples: Samples, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, one-hot) of up to `size` samples, as stored."""
    for start in range(0, len(samples), size):
        rows = slice(start, start + size)
        yield inputs(samples.images[rows]), onehot(samples.packed[rows], samples.num_classes)
