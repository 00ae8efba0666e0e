"""A training on `smp` starts from an earlier one with other classes and bands, as one on the other networks does."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from segline.dataset.preparation import Bands
from segline.model import checkpoint
from tests.encoders.smallest import section
from tests.training.test_start_from import OLD, assert_equal, described, drawn, images, started

SMALL, TRESNET = "resnet18", "tu-tresnet_m"
FIRST = "encoder.model.body_conv1.conv.weight"  # of TResNet


def on(
    encoder: str, classes: Sequence[str], bands: Bands = "rgb", architecture: str = "unet"
) -> checkpoint.Description:
    parameters = section(architecture, encoder).model_dump()
    return replace(described("unet", classes, bands), network="smp", parameters=parameters)


@pytest.mark.parametrize("architecture", ["unet", "fpn", "segformer"])
@torch.inference_mode()
def test_classes_that_both_have_keep_their_logits(architecture):
    new = ("tree", "wall", "road")
    old, model = (on(SMALL, classes, architecture=architecture) for classes in (OLD, new))
    earlier, network, lines = started(old, model)
    was, now = earlier(images(3)), network(images(3))

    for label in ("tree", "road"):
        assert_equal(was[:, OLD.index(label)], now[:, new.index(label)])
    assert [
        "starts from old.safetensors: classes taken over: tree, road; drawn anew: wall; left out: sky, car"
    ] == lines


@pytest.mark.parametrize("encoder", [SMALL, "tu-test_resnet"])
@torch.inference_mode()
def test_bands_that_both_have_keep_their_part_and_a_new_one_has_none_yet(encoder):
    earlier, network, lines = started(on(encoder, OLD, (4, 1, 2, 5)), on(encoder, OLD, (1, 2, 7, 4, 5)))
    shown = images(5)

    assert_equal(earlier(shown[:, [3, 0, 1, 4]]), network(shown))
    assert ["bands taken over: 1, 2, 4, 5; starting at 0: 7"] == lines[1:]


def test_bands_whose_entries_alternate_are_drawn_anew_and_that_is_said():
    """TResNet moves 4 x 4 pixels of all bands into channels: r, g, b, r, g, b, ... and not 16 of each."""
    old, new = on(TRESNET, OLD, "rgb"), on(TRESNET, OLD, (1, 2, 3, 8))
    earlier, network, lines = started(old, new)
    was, now, fresh = (each.state_dict() for each in (earlier, network, drawn(new, seed=2)))

    assert [FIRST] == [key for key in now if "scaling" not in key and not torch.equal(now[key], was[key])]
    assert torch.equal(now[FIRST], fresh[FIRST])
    assert ["bands drawn anew: 1, 2, 3, 8; left out: red, green, blue", f"weights drawn anew: {FIRST}"] == lines[1:]


def test_the_same_bands_keep_such_a_convolution():
    earlier, network, lines = started(on(TRESNET, OLD), on(TRESNET, OLD[:2]))

    assert torch.equal(earlier.state_dict()[FIRST], network.state_dict()[FIRST])
    assert 1 == len(lines)
