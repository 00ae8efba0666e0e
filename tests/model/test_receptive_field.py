"""The measured margin against brute force: another image beyond an edge changes pixels within it, none farther in."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from segline.model import forward, receptive_field
from tests import tiny
from tests.networks.test_networks import NAMES, build

LIMIT = 351


def lively(name: str) -> nn.Module:
    """A small network in which every layer counts: norms with weights and statistics of their own."""
    network = build(name, channels=3, outputs=3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beyond_an_edge_changes_the_pixels_within_the_margin_alone(name, vertical):
    network = lively(name)
    margin = receptive_field.margin(network, 3, LIMIT)
    edge = 32 * -(-(margin + 1) // 32)
    before = torch.randn(1, 3, 32, 2 * edge)
    farthest = 0
    for beyond in (slice(edge), slice(edge, None)):
        after = before.clone()
        after[..., beyond] = 50 * torch.randn(after[..., beyond].shape)
        if vertical:
            pair = [forward.logits(network, image.transpose(2, 3)).transpose(2, 3) for image in (before, after)]
        else:
            pair = [forward.logits(network, image) for image in (before, after)]
        changed = (pair[0] != pair[1]).any(dim=1).any(dim=1)[0]
        columns = changed.nonzero().flatten()
        inside = columns - edge + 1 if beyond.start is None else edge - columns
        farthest = max(farthest, int(inside.max()))

    assert 0 < farthest <= margin
    assert farthest > 0.5 * margin


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_margin_of_a_convolution_is_half_its_kernel(kernel):
    assert kernel // 2 == receptive_field.margin(nn.Conv2d(2, 4, kernel, padding=kernel // 2), 2, 50)


def test_pooled_cells_end_at_the_edge_of_a_tile():
    """A pool of 4x4 looks up to 3 pixels away, but never across a multiple of 4."""
    network = nn.Sequential(nn.MaxPool2d(4), nn.Upsample(scale_factor=4))

    assert 0 == receptive_field.margin(network, 1, 50)


def test_the_farther_of_two_directions_counts():
    wide, high = (nn.Conv2d(1, 1, kernel, padding=(kernel[0] // 2, kernel[1] // 2)) for kernel in ((1, 7), (7, 1)))

    assert 3 == receptive_field.margin(wide, 1, 50) == receptive_field.margin(high, 1, 50)


class GlobalPool(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + images.mean(dim=(2, 3), keepdim=True)


def test_a_network_that_pools_globally_has_no_margin_and_neither_has_one_above_the_limit():
    assert receptive_field.margin(GlobalPool(), 3, 500) is None
    assert receptive_field.margin(nn.Conv2d(1, 1, 9, padding=4), 1, 3) is None
    assert 4 == receptive_field.margin(nn.Conv2d(1, 1, 9, padding=4), 1, 4)


def test_tiles_have_a_margin_below_half_their_longer_side_and_stretched_images_have_none():
    tile = replace(tiny.stretched(32, 64), fit="tile")
    network = nn.Conv2d(3, 2, 65, padding=32)

    assert 32 == receptive_field.of_tiles(network, tile)
    assert receptive_field.of_tiles(network, replace(tile, width=32)) is None
    assert receptive_field.of_tiles(network, tiny.stretched(32, 64)) is None


@pytest.mark.parametrize(
    ("margin", "expected"),
    [
        (32, "tiles overlap by 64 pixels and give what the whole image gives (margin of this network: 32)"),
        (
            109,
            "tiles overlap by 64 pixels; from 218 on they would give what the whole image gives "
            "(margin of this network: 109)",
        ),
        (
            113,
            "tiles overlap by 64 pixels; only larger tiles, with 226, would give what the whole image gives "
            "(margin of this network: 113)",
        ),
        (
            None,
            "tiles overlap by 64 pixels; this network sees too far for tiles of this size to give what the whole "
            "image gives",
        ),
    ],
)
def test_it_says_which_overlap_gives_what_the_whole_image_gives(margin, expected):
    assert expected == receptive_field.overlap_line(replace(tiny.stretched(256, 256), fit="tile"), margin)


def test_measuring_leaves_the_network_as_it_was():
    network = lively("unet").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    receptive_field.margin(network, 3, 50)

    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
