"""Samples changed at random, image and mask together, in batches on the device.

The host draws a few numbers a sample for the whole epoch and rounds them to integers (`segline.draws`); the device
computes in integers only (`segline.pixels`). So what a sample becomes depends on (seed, epoch, its row) alone, and is
the same bytes on every device, in any batch. n samples in a batch, h x w pixels each, C channels, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segline import batches, draws, pixels, randomness
from segline.batches import Samples
from segline.draws import Int64, Plan


@dataclass(frozen=True)
class Augmented:
    """Samples, and how they may be changed each time that they are shown."""

    samples: Samples
    section: draws.Section

    def __len__(self) -> int:
        return len(self.samples)


def epoch_plan(augmented: Augmented, seed: int, epoch: int) -> Plan:
    """What becomes of every sample in the epoch of (seed, epoch)."""
    count, height, width, _ = augmented.samples.images.shape
    partners = randomness.generator(seed, randomness.PARTNER, epoch).permutation(count)
    drawn = draws.draw(seed, epoch, count)
    return draws.plan(augmented.section, height, width, drawn, partners)


def views(samples: Samples, planned: Plan, rows: Int64) -> tuple[Tensor, Tensor]:
    """Samples `rows` as planned: images uint8 (n, h, w, C) and packed one-hot uint8 (n, h, w, ceil(K / 8)).

    What comes from outside a picture is mid-gray and void. A box shows its partner as that one is without its box.
    """
    mixing = np.flatnonzero(planned.partners[rows] >= 0)
    images, packed = _alone(samples, planned, np.concatenate([rows, planned.partners[rows[mixing]]]))
    if not len(mixing):
        return images, packed
    others = np.arange(len(rows))
    others[mixing] = len(rows) + np.arange(len(mixing))
    shown, boxes = (_on(samples, array) for array in (others, planned.boxes[rows]))
    return pixels.pasted(images, shown, boxes), pixels.pasted(packed, shown, boxes)


def _alone(samples: Samples, planned: Plan, rows: Int64) -> tuple[Tensor, Tensor]:
    index, outside = _on(samples, rows), None
    if planned.affine is None:
        images, packed = samples.images[index], samples.packed[index]
    else:
        affine = _on(samples, planned.affine[rows])
        images, packed, outside = pixels.moved(samples.images, samples.packed, index, affine, planned.size)
    if planned.colours is not None:
        keys, colours = (_on(samples, array[rows]) for array in (planned.keys, planned.colours))
        noise = pixels.noise(keys, images.shape[1:], planned.noise) if planned.noise else 0
        images = pixels.recoloured(images, colours, noise)
    return images if outside is None else images.masked_fill_(outside[..., None], pixels.GREY), packed


def _on(samples: Samples, array: Int64) -> Tensor:
    """The array beside the samples. From page-locked memory, for else the host would wait for the GPU."""
    tensor = torch.from_numpy(array)
    device = samples.images.device
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def shuffled(augmented: Augmented, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, one-hot) of up to `size` samples in the order of (seed, epoch); every sample comes once."""
    planned = epoch_plan(augmented, seed, epoch)
    order = randomness.permutation(seed, epoch, len(augmented))
    for start in range(0, len(order), size):
        images, packed = views(augmented.samples, planned, order[start : start + size])
        yield batches.inputs(images), batches.onehot(packed, augmented.samples.num_classes)
