"""The U-Net, at any size; system S1 (the Keras notebook that Segline grew from) parameter for parameter."""

import pytest
import torch

from segline.model import randomness
from segline.networks import blocks, unet

S1 = unet.Section(width=64, depth=4, norm="none", dropout=0.3)
TINY = unet.Section(width=4, depth=2, norm="batch", dropout=0.1)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def formula(width: int, depth: int, channels: int, classes: int) -> int:
    """Parameters of the plain U-Net, added up by hand: weights and biases of every convolution."""

    def conv(inputs: int, outputs: int, size: int = 3) -> int:
        return inputs * outputs * size**2 + outputs

    widths = [width * 2**level for level in range(depth + 1)]
    down = sum(conv(i, o) + conv(o, o) for i, o in zip([channels, *widths[:-1]], widths, strict=True))
    up = sum(conv(2 * w, w) + conv(2 * w, w) + conv(w, w) for w in widths[:-1])
    return down + up + conv(width, classes, 1)


def test_s1_has_exactly_34_514_060_parameters():
    with torch.device("meta"):
        network = unet.build(S1, channels=3, outputs=12)

    assert 34_514_060 == count(network)


@pytest.mark.parametrize(("width", "depth", "channels", "classes"), [(64, 4, 3, 12), (8, 3, 1, 2), (5, 1, 3, 21)])
def test_parameters_follow_the_formula(width, depth, channels, classes):
    section = unet.Section(width=width, depth=depth, norm="none", dropout=0.0)

    assert formula(width, depth, channels, classes) == count(unet.build(section, channels, classes))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (16, 16), (17, 31), (33, 20)])
def test_any_size_comes_back_at_its_own_size(size):
    network = unet.build(TINY, channels=3, outputs=5).eval()

    assert network(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


def test_every_parameter_receives_a_gradient():
    network = unet.build(TINY, channels=1, outputs=3)
    network(torch.randn(2, 1, 16, 16)).square().sum().backward()

    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_same_seed_gives_the_same_weights_and_another_seed_different_ones():
    def weights(seed: int) -> torch.Tensor:
        randomness.deterministic(seed)
        return torch.cat([p.flatten() for p in unet.build(TINY, 3, 4).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_initial_weights_are_he_normal():
    """Variance 2 / fan-in, fan-in = inputs x 9 for a 3x3 convolution, and no bias."""
    randomness.deterministic(0)
    first = unet.build(S1, 3, 12).encoder[1][0][0]

    assert first.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)
    assert not first.bias.any()


def test_dropout_follows_each_pool_and_each_concat():
    """Eight places at depth 4, as in S1."""
    network = unet.build(unet.Section(width=2, depth=4, norm="none", dropout=0.3), 3, 12)
    calls = []
    network.dropout.register_forward_hook(lambda *_: calls.append(1))
    network(torch.zeros(1, 3, 16, 16))

    assert 8 == len(calls)


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(probability):
    torch.manual_seed(0)
    ones = torch.ones(4, 32, 64, 64)
    dropped = blocks.Dropout(probability).train()(ones)

    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / (1 - probability))]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_dropout_drops_alike_in_every_precision(dtype):
    """An odd number of values. What is kept is scaled; a probability near 1 keeps almost nothing."""
    torch.manual_seed(0)
    ones = torch.ones(3, 7, 31, 33, dtype=dtype)
    dropped = blocks.Dropout(0.3).train()(ones)

    assert dtype == dropped.dtype
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert {0.0, (1 / torch.tensor(0.7, dtype=torch.float64)).to(dtype).item()} == set(dropped.unique().tolist())
    assert (blocks.Dropout(1 - 1e-9).train()(ones) == 0).float().mean() > 0.999


def test_dropout_masks_depend_on_the_seed_and_differ_from_call_to_call():
    layer, ones = blocks.Dropout(0.5).train(), torch.ones(1, 8, 9, 7)

    def two(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(seed)
        return layer(ones), layer(ones)

    assert torch.equal(two(1)[0], two(1)[0])
    assert not torch.equal(two(1)[0], two(2)[0])
    assert not torch.equal(*two(1))


def test_dropout_passes_gradients_where_it_passes_values():
    torch.manual_seed(0)
    features = torch.ones(1, 4, 8, 8, requires_grad=True)
    out = blocks.Dropout(0.5).train()(features)
    out.sum().backward()

    assert torch.equal(features.grad, out.detach())


def test_dropout_does_nothing_in_eval_mode():
    features = torch.randn(1, 4, 3, 3)

    assert torch.equal(features, blocks.Dropout(0.9).eval()(features))
