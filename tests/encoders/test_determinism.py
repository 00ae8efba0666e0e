"""The table of docs/networks.md: which architectures use an operation that torch refuses or slows down on CUDA.

Only with a GPU would torch raise. Here the operations of a training step are collected by name, and compared with what
torch's documentation of `use_deterministic_algorithms` lists.
"""

import re
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segline.networks import smp
from tests.contract.closure import ROOT
from tests.encoders.smallest import ARCHITECTURES, section

# The name of an operation, as the dispatcher sees it, that torch has no deterministic form of on CUDA -> what
# torch's documentation calls it.
REFUSED = {
    "_adaptive_avg_pool2d_backward": "AdaptiveAvgPool2d",
    "adaptive_max_pool2d_backward": "AdaptiveMaxPool2d",
    "upsample_bicubic2d_backward": "bicubic",
    "_upsample_bicubic2d_aa_backward": "bicubic",
    "_upsample_bilinear2d_aa_backward": "bilinear",
    "reflection_pad2d_backward": "ReflectionPad2d",
    "max_unpool2d": "MaxUnpool2d",
    "histc": "histc",
    "put_": "put_",
    "nll_loss2d_forward": "NLLLoss",
}
# Documented as refused; since torch 2.0 `interpolate` computes it by indexing instead, which is deterministic and slow.
SLOW = {"upsample_bilinear2d_backward": "bilinear"}
ENCODERS = ["resnet34", "mobilenet_v2", "mit_b0", "tu-convnext_atto", "tu-swin_tiny_patch4_window7_224"]


class Names(TorchDispatchMode):
    """Collects the names of the operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def verdict(made: smp.Section) -> str:
    """Of one step of training at a size that is not the encoder's own."""
    with torch.device("meta"):
        network = smp.build(made, 3, 2).train()
        with Names() as names:
            network(torch.empty(2, 3, 128, 160)).sum().backward()
    assert "convolution_backward" in names.seen
    refused = sorted({REFUSED[name] for name in names.seen & REFUSED.keys()})
    return f"refused: {', '.join(refused)}" if refused else "slow: bilinear" if names.seen & SLOW.keys() else "none"


def table() -> dict[str, str]:
    text = (ROOT / "docs/networks.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `([\w-]+)` \| (none|slow: [\w ]+|refused: [\w, ]+) \|", text, re.MULTILINE))


def test_the_table_has_every_architecture_and_some_encoders():
    assert {*ARCHITECTURES, *ENCODERS} == table().keys()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_table_says_what_an_architecture_uses(architecture):
    assert verdict(section(architecture)) == table()[architecture]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_table_says_what_an_encoder_uses(encoder):
    """Under a decoder that uses none of these operations."""
    assert verdict(section("unet", encoder)) == table()[encoder]


@pytest.mark.parametrize("name", sorted({*REFUSED.values(), *SLOW.values()}))
def test_torch_documents_each_operation(name):
    documented = torch.use_deterministic_algorithms.__doc__ or ""

    assert name in documented[documented.index("will throw a") :]


def test_an_operation_that_is_refused_would_be_found():
    with Names() as names:
        torch.nn.AdaptiveAvgPool2d(2)(torch.zeros(1, 1, 6, 6, requires_grad=True)).sum().backward()

    assert "_adaptive_avg_pool2d_backward" in names.seen
