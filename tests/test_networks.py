"""Every network takes any size and any number of channels, and those of the sources have their exact sizes."""

import pytest
import torch
from torch import nn

from segline import choice, randomness
from segline.networks import blocks, fcn, small_unet, unet

SECTIONS = {
    "unet": unet.Section(width=4, depth=2, norm="batch", dropout=0.1),
    "fcn": fcn.Section(upsampling="nearest", dropout=0.5),
    "small_unet": small_unet.Section(width=4),
}
NAMES = sorted(SECTIONS)


def build(name: str, channels: int, outputs: int) -> nn.Module:
    randomness.deterministic(1)
    return choice.choose("segline.networks", name, key="model.name").build(SECTIONS[name], channels, outputs)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_network_is_tested_here():
    assert NAMES == choice.names("segline.networks")


def test_s2_has_exactly_10_550_037_parameters():
    with torch.device("meta"):
        assert 10_550_037 == count(fcn.build(SECTIONS["fcn"], channels=3, outputs=21))


def test_s3_has_exactly_56_689_parameters():
    assert 56_689 == count(small_unet.build(small_unet.Section(width=16), channels=1, outputs=1))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 5), (8, 8), (17, 30)])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_comes_back_at_its_own_size(name, size):
    network = build(name, channels=3, outputs=5).eval()

    with torch.inference_mode():
        assert network(torch.zeros(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_receives_a_gradient(name, channels):
    network = build(name, channels, outputs=3)
    network(torch.randn(2, channels, 16, 16)).square().sum().backward()

    assert [] == [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_fcn_upsamples_as_its_parameter_says(mode):
    network = fcn.build(fcn.Section(upsampling=mode, dropout=0.0), 3, 2)

    assert {mode} == {layer.mode for layer in network.modules() if isinstance(layer, nn.Upsample)}


def test_padding_repeats_the_edge_and_is_cropped_away():
    """A network that adds nothing gives back its input, whatever the size."""
    images = torch.arange(30.0).reshape(1, 1, 5, 6)
    seen = []

    def identity(padded: torch.Tensor) -> torch.Tensor:
        seen.append(padded)
        return padded

    assert torch.equal(images, blocks.at_multiple_of(4, images, identity))
    assert seen[0].shape == (1, 1, 8, 8)
    assert torch.equal(seen[0][0, 0, 7], torch.tensor([24.0, 25, 26, 27, 28, 29, 29, 29]))
