"""What is stored as bytes becomes what a network takes."""

import numpy as np
import torch

from segline import batches, encode

K = 11


def samples(count: int, height: int = 3, width: int = 4) -> tuple[batches.Samples, np.ndarray]:
    rng = np.random.default_rng(count)
    masks = rng.choice([*range(K), 99], size=(count, height, width)).astype(np.uint8)
    classes = encode.class_table(K, 99, void_is_class=False)
    packed = encode.pack(masks, encode.packed_table(classes, K))
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


def test_in_order_means_as_stored():
    data, _ = samples(7, 1, 1)
    rows = torch.cat([images for images, _ in batches.in_order(data, 3)])

    assert torch.equal(batches.inputs(data.images), rows)
