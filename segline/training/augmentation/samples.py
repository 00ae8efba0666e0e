"""Samples changed at random, image and mask together, in batches on the device.

The host draws a few numbers per sample for the whole epoch and rounds them to integers (`plan`); the device computes in
integers only (`transforms`). The result therefore depends only on (seed, epoch, number of the sample), and has the same
bytes on every device and in any batch. Sample i of an epoch shows row i of the split, unless it was drawn for a rare
class (`sampling`): a row that is shown twice is changed in two ways. n samples in a batch, h x w pixels each, C
channels, K classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from segline.model import batches, randomness
from segline.model.batches import AnySamples, Int64, Samples
from segline.training import sampling
from segline.training.augmentation import plan, transforms
from segline.training.augmentation.plan import Plan
from segline.training.sampling import RareClasses


@dataclass(frozen=True)
class Augmented:
    """Rows, how much they may be changed each time they are used, and which are used more often."""

    samples: AnySamples
    section: plan.Section
    rare: RareClasses | None = None

    def __len__(self) -> int:
        return len(self.samples)


def epoch_plan(augmented: Augmented, seed: int, epoch: int) -> Plan:
    """What every sample shows in an epoch and how it is changed, a function of (seed, epoch)."""
    count, height, width, _ = augmented.samples.images.shape
    partners = randomness.generator(seed, randomness.PARTNER, epoch).permutation(count)
    drawn = plan.draw(seed, epoch, count)
    rows = sampling.rows(count, seed, epoch, augmented.rare)
    return plan.plan(augmented.section, (height, width), drawn, rows, partners)


def views(samples: AnySamples, planned: Plan, picks: Sequence[Int64]) -> Iterator[tuple[Tensor, Tensor]]:
    """The samples of each pick as planned: images uint8 (n, h, w, C) and packed one-hot uint8 (n, h, w, ceil(K / 8)).

    Pixels from outside an image are mid-gray and void. A box shows its partner as it is without a box of its own.
    """
    shown = [_with_partners(planned, numbers) for numbers in picks]
    stored = samples.picked(planned.rows[numbers] for numbers in shown)
    for numbers, together, rows in zip(picks, shown, stored, strict=True):
        yield _pasted(planned, numbers, *_alone(rows, planned, together))


def _with_partners(planned: Plan, numbers: Int64) -> Int64:
    """The numbers of samples, followed by the partners of those that have one."""
    partners = planned.partners[numbers]
    return np.concatenate([numbers, partners[partners >= 0]])


def _alone(stored: Samples, planned: Plan, numbers: Int64) -> tuple[Tensor, Tensor]:
    """The samples of these numbers, whose rows are `stored`, changed as planned but without their boxes."""
    images, packed, outside = stored.images, stored.packed, None
    if planned.affine is not None:
        affine = batches.on(planned.affine[numbers], stored.device)
        images, packed, outside = transforms.moved(images, packed, affine, planned.size)
    if planned.colours is not None:
        keys, colours = (batches.on(array[numbers], stored.device) for array in (planned.keys, planned.colours))
        noise = transforms.noise(keys, images.shape[1:], planned.noise) if planned.noise else 0
        images = transforms.recoloured(images, colours, noise)
    return images if outside is None else images.masked_fill_(outside[..., None], transforms.GREY), packed


def _pasted(planned: Plan, numbers: Int64, images: Tensor, packed: Tensor) -> tuple[Tensor, Tensor]:
    """The samples with their boxes pasted in; `images` and `packed` have those of the partners at the end."""
    mixing = np.flatnonzero(planned.partners[numbers] >= 0)
    if not len(mixing):
        return images, packed
    others = np.arange(len(numbers))
    others[mixing] = len(numbers) + np.arange(len(mixing))
    shown, boxes = (batches.on(array, images.device) for array in (others, planned.boxes[numbers]))
    return transforms.pasted(images, shown, boxes), transforms.pasted(packed, shown, boxes)


def first_epoch(augmented: Augmented, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first `count` samples, or all if fewer, as they are in epoch 1: `views` of them."""
    numbers = np.arange(min(count, len(augmented)))
    [shown] = views(augmented.samples, epoch_plan(augmented, seed, epoch=1), [numbers])
    return shown


def sharded(
    augmented: Augmented, size: int, seed: int, epoch: int, *, shards: int, own: slice
) -> Iterator[list[tuple[Tensor, Tensor] | None]]:
    """The batches of `shuffled`, each cut into `shards` by the position of its samples: those of them that are in
    `own`, None for one without samples. Sizes differ by one at most; the first are the larger ones.
    """
    planned = epoch_plan(augmented, seed, epoch)
    whole = batches.portions(randomness.permutation(seed, epoch, len(augmented)), size)
    cut = [np.array_split(numbers, shards)[own] for numbers in whole]
    shown = views(augmented.samples, planned, [numbers for parts in cut for numbers in parts if len(numbers)])
    for parts in cut:
        yield [_ready(*next(shown), augmented.samples.num_classes) if len(numbers) else None for numbers in parts]


def shuffled(augmented: Augmented, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (inputs, one-hot) of up to `size` samples in the order of (seed, epoch); every sample once."""
    planned = epoch_plan(augmented, seed, epoch)
    picks = batches.portions(randomness.permutation(seed, epoch, len(augmented)), size)
    for images, packed in views(augmented.samples, planned, picks):
        yield _ready(images, packed, augmented.samples.num_classes)


def _ready(images: Tensor, packed: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    return batches.inputs(images, batches.MEAN, batches.STD), batches.onehot(packed, num_classes)
