"""Processed arrays -> tensors on the device, in batches.

N images, H x W pixels, C channels, K classes. What is stored stays bytes until a batch needs it. A split that fits
lies on the device; a larger one stays in its memory map, and every batch is read while those before it are computed.
Which of the two, no output byte can tell.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segline.core import parallel
from segline.model import device

Uint8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

# Bytes 0..255 become -1..1, as in S1. A model file carries these two numbers.
MEAN = 127.5
STD = 127.5
# Of the free memory, for one split: train and val leave over half of it to the network.
SHARE = 0.25
# Batches that are read before they are asked for.
AHEAD = 2


@dataclass(frozen=True)
class Samples:
    """Samples on the device: images uint8 (N, H, W, C), packed one-hot uint8 (N, H, W, ceil(K / 8))."""

    images: Tensor
    packed: Tensor
    num_classes: int

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Where they lie."""
        return self.images.device

    def picked(self, picks: Iterable[Int64]) -> Iterator["Samples"]:
        """The rows of each pick, in its order."""
        for rows in picks:
            index = on(rows, self.device)
            yield Samples(self.images[index], self.packed[index], self.num_classes)


@dataclass(frozen=True)
class Streamed:
    """A split that stays in its memory map; what is picked comes to `device`."""

    images: Uint8
    packed: Uint8
    num_classes: int
    device: torch.device

    def __len__(self) -> int:
        return len(self.images)

    def picked(self, picks: Iterable[Int64]) -> Iterator[Samples]:
        """The rows of each pick, in its order; a thread reads `AHEAD` picks ahead and no more."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            for tensors in parallel.ahead(pool, self._read, picks, AHEAD):
                images, packed = (tensor.to(self.device, non_blocking=True) for tensor in tensors)
                yield Samples(images, packed, self.num_classes)

    def _read(self, rows: Int64) -> list[Tensor]:
        return [_page_locked(array[rows], self.device) for array in (self.images, self.packed)]


AnySamples = Samples | Streamed


def load(images: Uint8, packed: Uint8, num_classes: int, target: torch.device) -> Samples:
    """The arrays of a split as tensors on `target`."""
    return Samples(torch.tensor(images, device=target), torch.tensor(packed, device=target), num_classes)


def place(images: Uint8, packed: Uint8, num_classes: int, target: torch.device) -> AnySamples:
    """The arrays of a split on `target` if they take at most `SHARE` of its free memory, else streamed to it."""
    if images.nbytes + packed.nbytes <= SHARE * device.free_memory(target):
        return load(images, packed, num_classes, target)
    return Streamed(images, packed, num_classes, target)


def on(array: npt.NDArray[Any], target: torch.device) -> Tensor:
    """The array on the device. From page-locked memory, for else the host would wait for the GPU."""
    return _page_locked(array, target).to(target, non_blocking=True)


def _page_locked(array: npt.NDArray[Any], target: torch.device) -> Tensor:
    """The array on the host, in memory that a GPU can copy from by itself if `target` is one."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if target.type == "cuda" else tensor


def inputs(images: Tensor) -> Tensor:
    """What a network sees: uint8 (n, H, W, C) -> float32 (n, C, H, W) in -1..1, channels last in memory."""
    return ((images.float() - MEAN) / STD).permute(0, 3, 1, 2)


def onehot(packed: Tensor, num_classes: int) -> Tensor:
    """Unpacked targets: uint8 (n, H, W, ceil(K / 8)) -> float32 (n, K, H, W) of 0 and 1; void is all 0.

    Class by class in memory, not pixel by pixel: the losses, which sum over pixels, take half the time so.
    """
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)  # in bytes, for else a shift makes int64 of all
    bits = (packed.permute(0, 3, 1, 2)[:, :, None] >> places.view(8, 1, 1)).bitwise_and_(1)
    return bits.flatten(1, 2)[:, :num_classes].float()


def portions(rows: Int64, size: int) -> list[Int64]:
    """The rows in groups of `size`; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def in_order(samples: AnySamples, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, one-hot) of up to `size` samples, as stored."""
    for batch in samples.picked(portions(np.arange(len(samples)), size)):
        yield inputs(batch.images), onehot(batch.packed, batch.num_classes)
