"""Predictions do not depend on the rest of the batch; counts and costs agree with counts by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from segline.dataset.onehot import VOID, pack
from segline.model import batches, forward, randomness
from segline.networks import unet
from segline.scoring import confusion

SECTION = unet.Section(width=4, depth=2, norm="batch", dropout=0.5)


def network() -> nn.Module:
    randomness.deterministic(1)
    return unet.build(SECTION, 3, 5)


def test_an_image_has_the_same_logits_alone_and_in_a_batch():
    """Batch normalisation uses its running statistics, and dropout is off, whatever mode the network was left in."""
    model, images = network().train(), torch.randn(3, 3, 16, 20)
    together = forward.logits(model, images)

    torch.testing.assert_close(together[1:2], forward.logits(model, images[1:2]))
    assert torch.equal(together, forward.logits(model, images))


def test_classes_are_the_highest_logits_as_bytes():
    logits = torch.tensor([[[[0.0, 3.0]], [[1.0, 2.0]], [[-1.0, 9.0]]]])

    assert forward.classes(logits).tolist() == [[[1, 2]]]
    assert forward.classes(logits).dtype == "uint8"


def test_a_single_output_is_the_logit_of_class_1_against_0():
    images = torch.randn(2, 1, 5, 6)
    logits = forward.logits(nn.Identity(), images)

    assert torch.equal(torch.cat([torch.zeros_like(images), images], dim=1), logits)
    assert ((images[:, 0] > 0).numpy() == forward.classes(logits)).all()


def test_the_first_of_equal_logits_wins_as_in_argmax():
    logits = torch.randint(0, 3, (2, 7, 40, 50), generator=torch.Generator().manual_seed(1)).float()

    assert (logits.numpy().argmax(axis=1) == forward.classes(logits)).all()


def labelled(num_classes: int, seed: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Truth with every class and void, the same as one-hot, and logits with ties."""
    rng = np.random.default_rng([num_classes, seed])
    truth = rng.choice([*range(num_classes), VOID], size=(3, 5, 7)).astype(np.uint8)
    onehot = batches.onehot(torch.from_numpy(pack(truth, num_classes)), num_classes)
    return truth, onehot, torch.from_numpy(rng.integers(0, 4, (3, num_classes, 5, 7))).float()


@given(st.integers(1, 20), st.integers(0, 99))
def test_counts_are_those_of_the_classes(num_classes, seed):
    """Against `confusion.count`, which is tested against a double loop."""
    truth, onehot, logits = labelled(num_classes, seed)
    expected = confusion.count(truth, forward.classes(logits), num_classes)
    counts = forward.counts(logits, onehot)

    assert torch.int64 == counts.dtype
    assert expected.tolist() == counts.tolist()


@given(st.lists(st.integers(0, 9)), st.integers(10, 12))
def test_the_tally_for_gpus_equals_bincount(values, size):
    cells = torch.tensor(values, dtype=torch.int64)

    assert torch.bincount(cells, minlength=size).tolist() == forward._tally(cells, size).tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch built for CUDA")
def test_a_gpu_counts_the_same_without_waiting():
    _, onehot, logits = labelled(12, 0)
    there = logits.cuda(), onehot.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        counts = forward.counts(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert forward.counts(logits, onehot).tolist() == counts.tolist()


def test_resizing_to_the_same_size_changes_no_class():
    logits = torch.randn(5, 9, 7)

    assert (forward.classes(logits[None])[0] == forward.classes_at(logits, 9, 7)).all()


def test_logits_are_resized_before_the_argmax():
    """Interpolating logits moves the border between two classes; interpolating classes would invent a third."""
    logits = torch.randn(4, 6, 6)
    expected = F.interpolate(logits[None], size=(13, 11), mode="bilinear", align_corners=False)[0].argmax(0)

    assert (expected.numpy() == forward.classes_at(logits, 13, 11)).all()


def test_the_cost_of_one_convolution_is_inputs_times_outputs_times_9_times_pixels():
    convolution = nn.Conv2d(3, 8, 3, padding=1)

    assert forward.cost(convolution, 3, 10, 12) == {"parameters": 3 * 8 * 9 + 8, "multiply_adds": 3 * 8 * 9 * 120}


def test_the_cost_of_s1_is_about_12_billion_multiply_adds_at_128():
    """S1 is the Keras notebook that Segline grew from. Training costs 3 x 2 x this: the 48 GFLOP of docs/results.md."""
    with torch.device("meta"):
        model = unet.build(unet.Section(width=64, depth=4, norm="none", dropout=0.3), 3, 12)
        cost = forward.cost(model, 3, 128, 128)

    assert cost["parameters"] == 34_514_060
    assert 11e9 < cost["multiply_adds"] < 14e9
