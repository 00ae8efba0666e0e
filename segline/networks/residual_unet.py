"""U-Net of residual blocks, for high accuracy at low cost; designed for the CamVid presets.

The encoder halves by strided convolutions; the decoder doubles by transposed ones and adds the encoder's features.
Sources: Ronneberger et al. 2015 (the U); He et al. 2015 (residual blocks of two 3x3 convolutions); Howard et al. 2017
(depthwise-separable convolutions); Liu et al. 2022, fig. 4 (depthwise, then wide, then narrow); Shi et al. 2016 (pixels
to channels in the stem, and back in the head).
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from segline.core import params
from segline.networks import blocks


class Section(params.Section):
    """`stem` x `stem` pixels make one position of level 0. Level l has `widths[l]` channels, `blocks[l]` blocks on the
    way down and one on the way up, each `expand` times as wide inside. `dropout` acts at the bottom. Separable blocks
    need fewer multiplications, full ones less time on matrix units.
    """

    stem: Literal[1, 2, 4]
    widths: Annotated[list[Annotated[int, Field(ge=1, le=2048)]], Field(min_length=2, max_length=7)]
    blocks: list[Annotated[int, Field(ge=0, le=32)]]
    block: Literal["full", "separable"]
    expand: int = Field(ge=1, le=8)
    dropout: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _one_for_each_level(self) -> "Section":
        if len(self.blocks) != len(self.widths):
            raise ValueError(f"blocks has {len(self.blocks)} levels, widths has {len(self.widths)}")
        return self


class Block(nn.Module):
    """x + f(x), where f ends with a batch norm whose weight starts at 0."""

    def __init__(self, *layers: nn.Module, width: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(width)
        nn.init.zeros_(norm.weight)  # so that a block starts as the identity: Goyal et al. 2017, sec. 5.1
        self.layers = nn.Sequential(*layers, norm)

    def forward(self, features: Tensor) -> Tensor:
        added: Tensor = self.layers(features)
        return features + added


def separable(width: int, expand: int) -> Block:
    """3x3 depthwise, batch norm, 1x1 to `expand` times the width, ReLU, 1x1 back."""
    return Block(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, expand * width, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(expand * width, width, 1, bias=False),
        width=width,
    )


def full(width: int, expand: int) -> Block:
    """3x3 to `expand` times the width, batch norm, ReLU, 3x3 back."""
    widen = nn.Conv2d(width, expand * width, 3, padding=1, bias=False)
    narrow = nn.Conv2d(expand * width, width, 3, padding=1, bias=False)
    return Block(widen, nn.BatchNorm2d(expand * width), nn.ReLU(inplace=True), narrow, width=width)


class ResidualUNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, K, H, W), any H and W."""

    def __init__(self, section: Section, channels: int, outputs: int) -> None:
        super().__init__()
        widths, area = section.widths, section.stem**2
        pairs = list(pairwise(widths))
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(section.stem), blocks.convolution(area * channels, widths[0], "batch")
        )
        self.downward = nn.ModuleList(_halving(i, o) for i, o in pairs)
        self.encoder = nn.ModuleList(
            _level(section, width, count) for width, count in zip(widths, section.blocks, strict=True)
        )
        self.dropout = blocks.Dropout(section.dropout)
        self.upward = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, stride=2) for i, o in reversed(pairs))
        self.decoder = nn.ModuleList(_level(section, width, 1) for width in reversed(widths[:-1]))
        self.head = nn.Sequential(nn.Conv2d(widths[0], area * outputs, 1), nn.PixelShuffle(section.stem))
        self.stride = section.stem << len(pairs)
        blocks.initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(self.stride, images, self._forward)

    def _forward(self, images: Tensor) -> Tensor:
        features = self.encoder[0](self.stem(images))
        skips = []
        for halve, level in zip(self.downward, self.encoder[1:], strict=True):
            skips.append(features)
            features = level(halve(features))
        features = self.dropout(features)
        for double, level in zip(self.upward, self.decoder, strict=True):
            features = level(double(features) + skips.pop())
        logits: Tensor = self.head(features)
        return logits


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    convolve = nn.Conv2d(inputs, outputs, 2, stride=2, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _level(section: Section, width: int, count: int) -> nn.Sequential:
    block = full if section.block == "full" else separable
    return nn.Sequential(*(block(width, section.expand) for _ in range(count)))


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    return ResidualUNet(section, channels, outputs)
