"""Batches hold every sample once, in an order that depends on (seed, epoch) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segline import batches, encode

K = 11


def samples(count: int, height: int = 3, width: int = 4) -> tuple[batches.Samples, np.ndarray]:
    rng = np.random.default_rng(count)
    masks = rng.choice([*range(K), 99], size=(count, height, width)).astype(np.uint8)
    packed = encode.pack(np.where(masks == 99, encode.VOID, masks).astype(np.uint8), K)
    images = np.zeros((count, height, width, 3), np.uint8)
    images[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return batches.load(images, packed, K, torch.device("cpu")), masks


def test_bytes_become_minus_one_to_one_channels_last():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 4, 5, 3).contiguous()
    inputs = batches.inputs(images)

    assert inputs.shape == (2, 3, 4, 5)
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert (inputs.min().item(), inputs.max().item()) == (-1.0, 1.0)


def test_unpacked_targets_are_the_one_hot_masks():
    """Against a loop over pixels; void is the zero vector."""
    data, masks = samples(2)
    onehot = batches.onehot(data.packed, K)

    for n, y, x in np.ndindex(*masks.shape):
        expected = [float(masks[n, y, x] == k) for k in range(K)]
        assert expected == onehot[n, :, y, x].tolist()


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 99), st.integers(1, 99))
def test_an_epoch_holds_every_sample_once(count, size, seed, epoch):
    data, _ = samples(count, 1, 1)
    rows = torch.cat([images for images, _ in batches.shuffled(data, size, seed, epoch)])

    assert sorted(rows[:, 0, 0, 0].tolist()) == sorted(batches.inputs(data.images)[:, 0, 0, 0].tolist())


@given(st.integers(1, 7), st.integers(1, 7))
def test_the_order_does_not_depend_on_the_batch_size(one, other):
    data, _ = samples(13, 1, 1)

    def order(size: int) -> list[float]:
        return torch.cat([images for images, _ in batches.shuffled(data, size, 5, 2)]).flatten().tolist()

    assert order(one) == order(other)


@pytest.mark.parametrize("other", [(6, 1), (5, 2)])
def test_another_seed_or_epoch_gives_another_order(other):
    data, _ = samples(50, 1, 1)

    def order(seed: int, epoch: int) -> list[float]:
        return torch.cat([images for images, _ in batches.shuffled(data, 50, seed, epoch)]).flatten().tolist()

    assert order(5, 1) != order(*other)


def test_images_and_targets_stay_together_when_shuffled():
    data, masks = samples(9)
    for images, onehot in batches.shuffled(data, 2, 1, 1):
        for image, target in zip(images, onehot, strict=True):
            row = round(image[0, 0, 0].item() * batches.STD + batches.MEAN)
            expected = np.where(masks[row] == 99, 0, 1)
            assert expected.tolist() == target.sum(dim=0).int().tolist()


def test_in_order_means_as_stored():
    data, _ = samples(7, 1, 1)
    rows = torch.cat([images for images, _ in batches.in_order(data, 3)])

    assert torch.equal(batches.inputs(data.images), rows)
