"""U-Net of any width and depth, with or without batch norm and dropout.

At width 64, depth 4, no norm, 3 channels and 12 classes it has the 34,514,060 parameters of system S1, the Keras
notebook of Ayush-Mi/Image-Segmentation-Using-U-Net (2023). Source: Ronneberger et al. 2015.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from segline.core import params
from segline.networks import blocks


class Section(params.Section):
    """`width` channels at full resolution, doubled at each of `depth` pools; `dropout` after each pool and concat."""

    width: int = Field(ge=1, le=512)
    depth: int = Field(ge=1, le=6)
    norm: blocks.Norm
    dropout: float = Field(ge=0, lt=1)


class UNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, K, H, W), any H and W."""

    def __init__(self, section: Section, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [section.width << level for level in range(section.depth + 1)]
        inputs = [channels, *widths[:-1]]
        pairs = list(zip(inputs, widths, strict=True))
        self.encoder = nn.ModuleList(blocks.double_convolution(i, o, section.norm) for i, o in pairs[:-1])
        self.bottleneck = blocks.double_convolution(*pairs[-1], section.norm)
        self.upward = nn.ModuleList(blocks.doubling(2 * width, width) for width in reversed(widths[:-1]))
        self.decoder = nn.ModuleList(
            blocks.double_convolution(2 * width, width, section.norm) for width in reversed(widths[:-1])
        )
        self.head = nn.Conv2d(section.width, outputs, 1)
        self.pool = nn.MaxPool2d(2)
        self.dropout = blocks.Dropout(section.dropout)
        self.stride = 1 << section.depth
        blocks.initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(self.stride, images, self._forward)

    def _forward(self, features: Tensor) -> Tensor:
        skips = []
        for block in self.encoder:
            skips.append(block(features))
            features = self.dropout(self.pool(skips[-1]))
        features = self.bottleneck(features)
        for enlarge, block in zip(self.upward, self.decoder, strict=True):
            features = torch.cat([enlarge(features), skips.pop()], dim=1)
            features = block(self.dropout(features))
        logits: Tensor = self.head(features)
        return logits


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    return UNet(section, channels, outputs)
