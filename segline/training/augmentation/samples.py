"""Samples changed at random, image and mask together, in batches on the device.

The host draws a few numbers per sample for the whole epoch and rounds them to integers (`plan`); the device computes in
integers only (`transforms`). The result therefore depends only on (seed, epoch, row of the sample), and has the same
bytes on every device and in any batch. n samples in a batch, h x w pixels each, C channels, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from segline.model import batches, randomness
from segline.model.batches import AnySamples, Int64, Samples
from segline.training.augmentation import plan, transforms
from segline.training.augmentation.plan import Plan


@dataclass(frozen=True)
class Augmented:
    """Samples, and how much they may be changed each time they are used."""

    samples: AnySamples
    section: plan.Section

    def __len__(self) -> int:
        return len(self.samples)


def epoch_plan(augmented: Augmented, seed: int, epoch: int) -> Plan:
    """How every sample is changed in an epoch, a function of (seed, epoch)."""
    count, height, width, _ = augmented.samples.images.shape
    partners = randomness.generator(seed, randomness.PARTNER, epoch).permutation(count)
    drawn = plan.draw(seed, epoch, count)
    return plan.plan(augmented.section, height, width, drawn, partners)


def views(samples: AnySamples, planned: Plan, picks: Sequence[Int64]) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of each pick as planned: images uint8 (n, h, w, C) and packed one-hot uint8 (n, h, w, ceil(K / 8)).

    Pixels from outside an image are mid-gray and void. A box shows its partner as it is without a box of its own.
    """
    shown = [_with_partners(planned, rows) for rows in picks]
    for rows, together, stored in zip(picks, shown, samples.picked(shown), strict=True):
        yield _pasted(planned, rows, *_alone(stored, planned, together))


def _with_partners(planned: Plan, rows: Int64) -> Int64:
    """The rows, followed by the partners of those that have one."""
    partners = planned.partners[rows]
    return np.concatenate([rows, partners[partners >= 0]])


def _alone(stored: Samples, planned: Plan, rows: Int64) -> tuple[Tensor, Tensor]:
    """The samples of `rows`, which are `stored`, changed as planned but without their boxes."""
    images, packed, outside = stored.images, stored.packed, None
    if planned.affine is not None:
        affine = batches.on(planned.affine[rows], stored.device)
        images, packed, outside = transforms.moved(images, packed, affine, planned.size)
    if planned.colours is not None:
        keys, colours = (batches.on(array[rows], stored.device) for array in (planned.keys, planned.colours))
        noise = transforms.noise(keys, images.shape[1:], planned.noise) if planned.noise else 0
        images = transforms.recoloured(images, colours, noise)
    return images if outside is None else images.masked_fill_(outside[..., None], transforms.GREY), packed


def _pasted(planned: Plan, rows: Int64, images: Tensor, packed: Tensor) -> tuple[Tensor, Tensor]:
    """The samples of `rows` with their boxes pasted in; `images` and `packed` have those of the partners at the end."""
    mixing = np.flatnonzero(planned.partners[rows] >= 0)
    if not len(mixing):
        return images, packed
    others = np.arange(len(rows))
    others[mixing] = len(rows) + np.arange(len(mixing))
    shown, boxes = (batches.on(array, images.device) for array in (others, planned.boxes[rows]))
    return transforms.pasted(images, shown, boxes), transforms.pasted(packed, shown, boxes)


def first_epoch(augmented: Augmented, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first `count` samples, or all if fewer, as they are in epoch 1: `views` of them."""
    rows = np.arange(min(count, len(augmented)))
    [shown] = views(augmented.samples, epoch_plan(augmented, seed, epoch=1), [rows])
    return shown


def shuffled(augmented: Augmented, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, one-hot) of up to `size` samples in the order of (seed, epoch); every sample once."""
    planned = epoch_plan(augmented, seed, epoch)
    picks = batches.portions(randomness.permutation(seed, epoch, len(augmented)), size)
    for images, packed in views(augmented.samples, planned, picks):
        yield batches.inputs(images, batches.MEAN, batches.STD), batches.onehot(packed, augmented.samples.num_classes)
