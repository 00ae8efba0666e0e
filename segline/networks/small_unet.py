"""Small U-Net: one convolution per level, two poolings, 2x2 transposed convolutions.

At width 16, with one channel and one output, it has the 56,689 parameters of system S3, a handbook of computer vision.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from segline.core import params
from segline.networks import blocks


class Section(params.Section):
    """`width` channels at full resolution, doubled at each of the two poolings."""

    width: int = Field(ge=1, le=512)


class SmallUNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, K, H, W), any H and W."""

    def __init__(self, section: Section, channels: int, outputs: int) -> None:
        super().__init__()
        width = section.width
        self.first = blocks.convolution(channels, width, "none")
        self.second = blocks.convolution(width, 2 * width, "none")
        self.bottleneck = blocks.convolution(2 * width, 4 * width, "none")
        self.up_second = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.join_second = blocks.convolution(4 * width, 2 * width, "none")
        self.up_first = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join_first = blocks.convolution(2 * width, width, "none")
        self.head = nn.Conv2d(width, outputs, 1)
        self.pool = nn.MaxPool2d(2)
        blocks.initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(4, images, self._forward)

    def _forward(self, images: Tensor) -> Tensor:
        first = self.first(images)
        second = self.second(self.pool(first))
        features = self.bottleneck(self.pool(second))
        features = self.join_second(torch.cat([self.up_second(features), second], dim=1))
        features = self.join_first(torch.cat([self.up_first(features), first], dim=1))
        logits: Tensor = self.head(features)
        return logits


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    return SmallUNet(section, channels, outputs)
