"""Fully convolutional network without skips: a VGG-like encoder and a mirrored decoder.

With 3 channels and 21 classes it has the 10,550,037 parameters of system S2, an introduction to segmentation of 2022.
Sources: after Long et al. 2015 and Simonyan and Zisserman 2015.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from segline.core import params
from segline.networks import blocks

# Output channels of each 3x3 convolution, stage by stage.
ENCODER = ((64, 64), (128, 128), (256, 256, 256))
MIDDLE = (512, 512, 512)
DECODER = ((256, 256, 256), (128, 128), (64, 64))


class Section(params.Section):
    """On CUDA deterministic `bilinear` upsampling is slow, `nearest` is not. `dropout` acts at the bottom."""

    upsampling: Literal["nearest", "bilinear"]
    dropout: float = Field(ge=0, lt=1)


class FCN(nn.Module):
    """Images (N, C, H, W) -> logits (N, K, H, W), any H and W."""

    def __init__(self, section: Section, channels: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for widths in ENCODER:
            layers += [*_convolutions(channels, widths), nn.MaxPool2d(2)]
            channels = widths[-1]
        layers += [*_convolutions(channels, MIDDLE), blocks.Dropout(section.dropout)]
        channels = MIDDLE[-1]
        for widths in DECODER:
            layers += [nn.Upsample(scale_factor=2, mode=section.upsampling), *_convolutions(channels, widths)]
            channels = widths[-1]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, outputs, 1))
        self.stride = 1 << len(ENCODER)
        blocks.initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(self.stride, images, self.layers)


def _convolutions(inputs: int, widths: Sequence[int]) -> list[nn.Module]:
    return [blocks.convolution(i, o, "none") for i, o in zip((inputs, *widths[:-1]), widths, strict=True)]


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    return FCN(section, channels, outputs)
