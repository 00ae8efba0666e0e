"""The loss agrees with torch's own where both are defined, and void teaches nothing."""

import pytest
import torch
import torch.nn.functional as F

from segline import losses

K = 5


def example(seed: int, void: float = 0.3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, K, 7, 6, generator=generator)
    labels = torch.randint(0, K, (2, 7, 6), generator=generator)
    labels[torch.rand(2, 7, 6, generator=generator) < void] = 255
    onehot = torch.zeros_like(logits)
    for k in range(K):
        onehot[:, k][labels == k] = 1
    return logits, onehot, labels


@pytest.mark.parametrize("seed", range(5))
def test_cross_entropy_agrees_with_torch(seed):
    logits, onehot, labels = example(seed)

    expected = F.cross_entropy(logits, labels, ignore_index=255)

    torch.testing.assert_close(losses.cross_entropy(logits, onehot), expected)


def test_void_pixels_get_no_gradient():
    logits, onehot, labels = example(0)
    logits.requires_grad_()

    losses.cross_entropy(logits, onehot).backward()

    void = (labels == 255)[:, None].expand_as(logits)
    assert void.any()
    assert not logits.grad[void].any()
    assert logits.grad[~void].all()


def test_a_batch_of_nothing_but_void_costs_0():
    logits, onehot, _ = example(0, void=1.1)
    logits.requires_grad_()

    loss = losses.cross_entropy(logits, onehot)
    loss.backward()

    assert loss.item() == 0
    assert not logits.grad.any()


def test_bfloat16_logits_are_summed_in_float32():
    logits, onehot, _ = example(1)

    assert losses.cross_entropy(logits.bfloat16(), onehot).dtype == torch.float32
