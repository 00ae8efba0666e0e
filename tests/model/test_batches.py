"""Stored bytes become the inputs and targets of a network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset.onehot import VOID, pack
from segline.model import batches, device

K = 11
SCALING = batches.MEAN, batches.STD


def samples(
    count: int, height: int = 3, width: int = 4, owned: np.ndarray | None = None
) -> tuple[batches.Samples, np.ndarray]:
    rng = np.random.default_rng(count)
    masks = rng.choice([*range(K), 99], size=(count, height, width)).astype(np.uint8)
    packed = pack(np.where(masks == 99, VOID, masks).astype(np.uint8), K)
    images = np.zeros((count, height, width, 3), np.uint8)
    images[:] = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return batches.load(images, packed, K, torch.device("cpu"), owned), masks


def test_bytes_become_minus_one_to_one_channels_last():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 4, 5, 3).contiguous()
    inputs = batches.inputs(images, *SCALING)

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
    rows = torch.cat([images for images, _ in batches.in_order(data, 3, *SCALING)])

    assert torch.equal(batches.inputs(data.images, *SCALING), rows)


def streamed(data: batches.Samples) -> batches.Streamed:
    """The same samples, streamed; read-only, like a memory map."""
    arrays = [tensor.numpy().copy() for tensor in (data.images, data.packed)]
    for array in arrays:
        array.flags.writeable = False
    return batches.Streamed(*arrays, data.num_classes, torch.device("cpu"), data.owned)


@given(st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=9))
def test_streamed_samples_equal_those_on_the_device(picks):
    data, _ = samples(7)
    rows = [np.array(pick, np.int64) for pick in picks]

    for expected, actual in zip(data.picked(rows), streamed(data).picked(rows), strict=True):
        assert torch.equal(expected.images, actual.images)
        assert torch.equal(expected.packed, actual.packed)
        assert expected.num_classes == actual.num_classes


@pytest.mark.parametrize("size", [1, 3, 7, 99])
def test_streamed_batches_come_in_order_too(size):
    data, _ = samples(7)

    for expected, actual in zip(
        batches.in_order(data, size, *SCALING), batches.in_order(streamed(data), size, *SCALING), strict=True
    ):
        assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))


def test_some_batches_are_those_of_all():
    data, _ = samples(7)
    every, odd = (list(batches.in_order(data, 2, *SCALING, part)) for part in (slice(None), slice(1, None, 2)))

    assert 2 == len(odd)
    for expected, actual in zip(every[1::2], odd, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))


BOXES = [(0, 6, 0, 5), (1, 4, 2, 3), (0, 1, 0, 1), (0, 0, 0, 5), (5, 6, 0, 5)]


@pytest.mark.parametrize("kind", ["on the device", "streamed"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_in_order_what_a_sample_does_not_own_is_void(kind, size):
    """Against a loop over pixels; the inputs and, for training, the picked rows stay whole."""
    data, masks = samples(5, 6, 5, np.array(BOXES))
    placed = data if kind == "on the device" else streamed(data)
    inputs, onehot = (torch.cat(parts) for parts in zip(*batches.in_order(placed, size, *SCALING), strict=True))
    [picked] = placed.picked([np.arange(5)])

    for n, y, x in np.ndindex(*masks.shape):
        top, bottom, left, right = BOXES[n]
        owns = top <= y < bottom and left <= x < right
        assert [float(owns and masks[n, y, x] == k) for k in range(K)] == onehot[n, :, y, x].tolist()
    assert torch.equal(batches.inputs(data.images, *SCALING), inputs)
    assert torch.equal(data.packed, picked.packed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch built for CUDA")
@pytest.mark.parametrize("kind", ["on the device", "streamed"])
def test_leaving_out_what_a_sample_does_not_own_makes_no_gpu_wait(kind):
    data, _ = samples(5, 6, 5, np.array(BOXES))
    arrays, there = (data.images.numpy(), data.packed.numpy()), torch.device("cuda")
    load = batches.load if kind == "on the device" else batches.Streamed
    placed = load(*arrays, K, there, data.owned)
    expected = [onehot for _, onehot in batches.in_order(data, 2, *SCALING)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        actual = [onehot for _, onehot in batches.in_order(placed, 2, *SCALING)]
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert all(torch.equal(one, other.cpu()) for one, other in zip(expected, actual, strict=True))


def test_parts_are_left_out_if_every_sample_owns_all_of_itself():
    """So that images which are not tiles cost nothing."""
    data, _ = samples(2, 6, 5)
    arrays = data.images.numpy(), data.packed.numpy()
    parts = [np.array(boxes) for boxes in ([BOXES[0], BOXES[0]], [BOXES[0], BOXES[1]])]
    whole, cut = (batches.place(*arrays, K, torch.device("cpu"), owned) for owned in parts)

    assert whole.owned is None
    assert cut.owned is parts[1]


def test_no_more_batches_are_read_ahead_than_ahead_says():
    """Otherwise a split larger than memory would fill it."""
    data, _ = samples(7)
    taken = []
    stream = streamed(data).picked(taken.append(n) or np.array([n % 7]) for n in range(100))
    for number in range(20):
        next(stream)
        assert len(taken) <= number + 1 + batches.AHEAD
    stream.close()


def test_a_failed_read_raises_when_its_batch_is_used():
    data, _ = samples(7)
    stream = streamed(data).picked([np.array([0]), np.array([7])])
    next(stream)

    with pytest.raises(IndexError, match="out of bounds"):
        next(stream)


def test_a_split_is_streamed_to_a_cpu_and_to_a_gpu_with_less_than_its_share_of_memory(monkeypatch):
    data, _ = samples(4)
    arrays = data.images.numpy(), data.packed.numpy()
    free = sum(array.nbytes for array in arrays) / batches.SHARE
    monkeypatch.setattr(batches, "load", lambda *_: data)
    kinds = []
    for name, memory in (("cpu", free), ("cuda", free), ("cuda", free - 1)):
        monkeypatch.setattr(device, "free_memory", lambda _, memory=memory: memory)
        kinds.append(type(batches.place(*arrays, K, torch.device(name))))

    assert [batches.Streamed, batches.Samples, batches.Streamed] == kinds
