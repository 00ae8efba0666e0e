"""Processed arrays -> tensors on the device, in batches.

N images, H x W pixels, C channels, K classes. Images and masks stay bytes until a batch needs them. A split that fits
on a GPU is kept there; else it stays in its memory map, and its batches are read while earlier ones are computed. Both
give the same output bytes.
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
from segline.dataset.parts import Rows
from segline.model import device

Int64 = npt.NDArray[np.int64]

# What training scales bytes 0..255 by, to -1..1. The model file records both; whoever uses a model reads them there.
MEAN = 127.5
STD = 127.5
# The largest share of a GPU's free memory for one split: train and val leave over half of it to the network.
SHARE = 0.25
# Batches that are read ahead.
AHEAD = 2


@dataclass(frozen=True)
class Samples:
    """Samples on the device: images uint8 (N, H, W, C), packed one-hot uint8 (N, H, W, ceil(K / 8)).

    `owned` is the part of each that `in_order` counts, int64 (N, 4) on the host: top, bottom, left and right, the ends
    exclusive. None if each owns all of itself.
    """

    images: Tensor
    packed: Tensor
    num_classes: int
    owned: Int64 | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """The device that both tensors are on."""
        return self.images.device

    def picked(self, picks: Iterable[Int64]) -> Iterator["Samples"]:
        """The rows of each pick, in its order."""
        for rows in picks:
            index = on(rows, self.device)
            yield Samples(self.images[index], self.packed[index], self.num_classes)


@dataclass(frozen=True)
class Streamed:
    """A split that stays in its memory map; the rows picked are copied to `device`. Otherwise like `Samples`."""

    images: Rows
    packed: Rows
    num_classes: int
    device: torch.device
    owned: Int64 | None = None

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


def load(images: Rows, packed: Rows, num_classes: int, target: torch.device, owned: Int64 | None = None) -> Samples:
    """The arrays of a split as tensors on `target`."""
    shown, classes = (torch.from_numpy(np.array(rows)).to(target) for rows in (images, packed))
    return Samples(shown, classes, num_classes, owned)


def place(images: Rows, packed: Rows, num_classes: int, target: torch.device, owned: Int64 | None = None) -> AnySamples:
    """The arrays of a split: on a GPU if they take at most `SHARE` of its free memory, else streamed to `target`.

    On a CPU a copy would be no faster than the map. `owned` is left out if every sample owns all of itself.
    """
    whole = 0, packed.shape[1], 0, packed.shape[2]
    parts = None if owned is None or (owned == whole).all() else owned
    if target.type == "cuda" and images.nbytes + packed.nbytes <= SHARE * device.free_memory(target):
        return load(images, packed, num_classes, target, parts)
    return Streamed(images, packed, num_classes, target, parts)


def on(array: npt.NDArray[Any], target: torch.device) -> Tensor:
    """The array on the device. A copy from page-locked memory does not make the host wait for the GPU."""
    return _page_locked(array, target).to(target, non_blocking=True)


def _page_locked(array: npt.NDArray[Any], target: torch.device) -> Tensor:
    """The array on the host; if `target` is a GPU, in memory that the GPU can copy from by itself."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if target.type == "cuda" else tensor


def inputs(images: Tensor, mean: float, std: float) -> Tensor:
    """What a network sees: uint8 (n, H, W, C) -> float32 (n, C, H, W), (x - mean) / std, channels last in memory."""
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def onehot(packed: Tensor, num_classes: int) -> Tensor:
    """Unpacked targets: uint8 (n, H, W, ceil(K / 8)) -> float32 (n, K, H, W) of 0 and 1; void is all 0.

    Class by class in memory, not pixel by pixel: the losses, which sum over pixels, then take half the time.
    """
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)  # int64 here would make the shifted bits int64
    bits = (packed.permute(0, 3, 1, 2)[:, :, None] >> places.view(8, 1, 1)).bitwise_and_(1)
    return bits.flatten(1, 2)[:, :num_classes].float()


def portions(rows: Int64, size: int) -> list[Int64]:
    """The rows in groups of `size`; the last may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def in_order(
    samples: AnySamples, size: int, mean: float, std: float, part: slice = slice(None)
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, one-hot) of up to `size` samples, as stored; `inputs` takes `mean` and `std`.

    With `part` some of the batches: `[1::2]` is every other.

    What a sample does not own is void in its one-hot, so a pixel that several samples show counts once.
    """
    picks = portions(np.arange(len(samples)), size)[part]
    for rows, batch in zip(picks, samples.picked(picks), strict=True):
        packed = batch.packed
        if samples.owned is not None:
            packed = packed * inside(on(samples.owned[rows], batch.device), *packed.shape[1:3])[..., None]
        yield inputs(batch.images, mean, std), onehot(packed, batch.num_classes)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in the box of their sample: int64 (n, 4) of top, bottom, left, right -> bool (n, H, W)."""
    top, bottom, left, right = boxes[:, :, None, None].unbind(dim=1)
    y = torch.arange(height, device=boxes.device).view(-1, 1)
    x = torch.arange(width, device=boxes.device).view(1, -1)
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)
