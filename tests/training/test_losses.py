"""Each loss agrees with a loop over pixels and with torch's own if there is one; void has no gradient."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from segline.training import losses

K = 5
WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0, 0.25])
NAMES = ("cross_entropy", "weighted_cross_entropy", "dice", "focal")
SETS = [names for size in (1, 2, 4) for names in itertools.combinations(NAMES, size)]


def example(
    seed: int, void: float = 0.3, size: tuple[int, ...] = (2, K, 7, 6)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, one-hot targets, and the same as labels, 255 for void."""
    generator = torch.Generator().manual_seed(seed)
    count, num_classes, height, width = size
    logits = torch.randn(size, generator=generator)
    labels = torch.randint(0, num_classes, (count, height, width), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < void] = 255
    onehot = torch.stack([labels == k for k in range(num_classes)], dim=1).float()
    return logits, onehot, labels


def log_p(logits: torch.Tensor) -> torch.Tensor:
    return F.log_softmax(logits, dim=1)


def pixels(logits: torch.Tensor, labels: torch.Tensor) -> list[tuple[list[float], int]]:
    """Probabilities and label of each valid pixel."""
    valid = []
    for n, y, x in np.ndindex(*labels.shape):
        if (label := int(labels[n, y, x])) != 255:
            raised = [math.exp(z) for z in logits[n, :, y, x].tolist()]
            valid.append(([e / sum(raised) for e in raised], label))
    return valid


def slow_cross_entropy(valid, smoothing, weights):
    total = weight = 0.0
    for p, label in valid:
        for k in range(K):
            q = (1 - smoothing) * (k == label) + smoothing / K
            total -= weights[k] * q * math.log(p[k])
        weight += weights[label]
    return total / weight


def slow_dice(valid):
    terms = []
    for k in range(K):
        truth = sum(label == k for _, label in valid)
        if truth:
            both = sum(p[k] for p, label in valid if label == k)
            terms.append(1 - 2 * both / (sum(p[k] for p, _ in valid) + truth))
    return sum(terms) / len(terms)


def slow_focal(valid):
    return sum(-((1 - p[label]) ** 2) * math.log(p[label]) for p, label in valid) / len(valid)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_agrees_with_torch_and_with_a_loop(seed, weights, smoothing):
    logits, onehot, labels = example(seed)
    loss = losses.cross_entropy(log_p(logits), onehot, smoothing, weights)

    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=255, label_smoothing=smoothing)
    by_hand = slow_cross_entropy(pixels(logits, labels), smoothing, [1.0] * K if weights is None else weights.tolist())

    torch.testing.assert_close(loss, expected)
    assert by_hand == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_dice_agrees_with_a_loop(seed):
    logits, onehot, labels = example(seed)

    assert slow_dice(pixels(logits, labels)) == pytest.approx(losses.dice(log_p(logits), onehot).item(), rel=1e-5)


def test_dice_is_the_mean_over_the_classes_of_the_batch():
    """A class without a true pixel is not a term, even though it has probability."""
    logits, onehot, labels = example(0)
    labels[labels == 2] = 255
    onehot[:, 2] = 0

    assert slow_dice(pixels(logits, labels)) == pytest.approx(losses.dice(log_p(logits), onehot).item(), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_focal_agrees_with_a_loop(seed):
    logits, onehot, labels = example(seed)

    assert slow_focal(pixels(logits, labels)) == pytest.approx(losses.focal(log_p(logits), onehot).item(), rel=1e-5)


def test_a_perfect_answer_costs_nothing_and_a_wrong_one_the_most():
    _, onehot, _ = example(0)
    right, wrong = 100 * onehot, 100 * onehot.roll(1, dims=1)

    for loss in (losses.cross_entropy, losses.dice, losses.focal):
        assert 0 == pytest.approx(loss(log_p(right), onehot).item(), abs=1e-6)
    assert 1 == pytest.approx(losses.dice(log_p(wrong), onehot).item())
    assert 100 == pytest.approx(losses.cross_entropy(log_p(wrong), onehot).item())
    assert 100 == pytest.approx(losses.focal(log_p(wrong), onehot).item())


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_several_losses_are_summed(names):
    logits, onehot, _ = example(3)
    parts = [losses.criterion([name], 0.1, WEIGHTS)(logits, onehot) for name in names]

    torch.testing.assert_close(losses.criterion(names, 0.1, WEIGHTS)(logits, onehot), sum(parts))


def test_smoothing_and_weights_reach_the_losses_that_take_them():
    logits, onehot, _ = example(4)
    expected = {
        "cross_entropy": losses.cross_entropy(log_p(logits), onehot, 0.2),
        "weighted_cross_entropy": losses.cross_entropy(log_p(logits), onehot, 0.2, WEIGHTS),
        "dice": losses.dice(log_p(logits), onehot),
        "focal": losses.focal(log_p(logits), onehot),
    }

    assert expected == {name: losses.criterion([name], 0.2, WEIGHTS)(logits, onehot) for name in NAMES}


@given(
    size=st.tuples(st.integers(1, 3), st.integers(2, 5), st.integers(1, 5), st.integers(1, 5)),
    void=st.sampled_from([0.0, 0.4, 0.9, 1.1]),
    smoothing=st.sampled_from([0.0, 0.3]),
    names=st.sampled_from(SETS),
    seed=st.integers(0, 2**32),
)
def test_void_costs_nothing_and_gets_no_gradient(size, void, smoothing, names, seed):
    """Exactly none; if all pixels are void, or of classes with weight 0, the loss is exactly 0."""
    logits, onehot, labels = example(seed, void, size)
    logits.requires_grad_()
    loss = losses.criterion(names, smoothing, WEIGHTS[: size[1]])(logits, onehot)
    loss.backward()

    assert loss.isfinite()
    assert loss >= 0
    assert logits.grad.isfinite().all()
    assert not logits.grad[(labels == 255)[:, None].expand_as(logits)].any()
    if (labels == 255).all():
        assert loss.item() == 0
    elif names != ("weighted_cross_entropy",):
        assert loss.item() > 0


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_logits_at_void_pixels_change_nothing(names):
    logits, onehot, labels = example(5)
    other = torch.where((labels == 255)[:, None], 50 * torch.randn_like(logits), logits)
    criterion = losses.criterion(names, 0.1, WEIGHTS)

    assert criterion(logits, onehot) == criterion(other, onehot)


def test_only_classes_of_weight_0_cost_nothing():
    """A val batch may contain only classes that the train split lacks."""
    logits, onehot, labels = example(6)
    onehot *= (labels == 2)[:, None]
    logits.requires_grad_()
    loss = losses.cross_entropy(log_p(logits), onehot, 0.1, WEIGHTS)
    loss.backward()

    assert onehot.any()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    logits, onehot, _ = example(7, size=(1, K, 2, 3))
    criterion = losses.criterion([name], 0.1, WEIGHTS)
    logits.requires_grad_()
    criterion(logits, onehot).backward()
    step = 1e-2
    with torch.no_grad():
        for place in np.ndindex(*logits.shape):
            there = torch.zeros_like(logits)
            there[place] = step
            slope = (criterion(logits + there, onehot) - criterion(logits - there, onehot)) / (2 * step)
            assert slope.item() == pytest.approx(logits.grad[place].item(), abs=2e-4)


@pytest.mark.parametrize("names", SETS, ids="+".join)
def test_bfloat16_logits_are_summed_in_float32(names):
    logits, onehot, _ = example(1)
    loss = losses.criterion(names, 0.1, WEIGHTS)(logits.bfloat16(), onehot)

    assert loss.dtype == torch.float32
    assert loss == losses.criterion(names, 0.1, WEIGHTS)(logits.bfloat16().float(), onehot)
