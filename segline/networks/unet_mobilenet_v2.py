"""U-Net whose encoder is MobileNetV2, as in system S4: from scratch, or with weights trained on ImageNet.

The encoder has the names and shapes of torchvision's `mobilenet_v2`, without its dense layer.
Source: Sandler et al. 2018, table 2; Ronneberger et al. 2015; S4 is an article series on transfer learning for
segmentation.
"""

from pydantic import Field
from torch import Tensor, nn

from segline.core import params
from segline.networks import blocks

# Expansion, output channels, blocks, stride of the first of them.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280

# Where the features are last seen at 1/2, 1/4, 1/8 and 1/16 of the size, and their channels.
SKIPS = {1: 16, 3: 24, 6: 32, 13: 96}


class Section(params.Section):
    """`decoder_width` channels at full resolution; `weights` is a file for the encoder ("" for none) and its sha256."""

    decoder_width: int = Field(ge=1, le=512)
    weights: str
    weights_sha256: str = Field(pattern="^([0-9a-f]{64})?$")


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolve = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Widened, convolved each channel by itself, narrowed without activation; added to the input where shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        widen = [] if expansion == 1 else [_convolution(inputs, width, 1)]
        narrow = [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*widen, _convolution(width, width, 3, stride, groups=width), *narrow)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        narrowed: Tensor = self.conv(features)
        return features + narrowed if self.residual else narrowed


class Encoder(nn.Module):
    """Images (N, C, H, W) -> features at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(channels, FIRST, 3, stride=2)]
        inputs = FIRST
        for expansion, outputs, count, stride in STAGES:
            for number in range(count):
                layers.append(InvertedResidual(inputs, outputs, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, _convolution(inputs, LAST, 1))

    def forward(self, features: Tensor) -> list[Tensor]:
        stages = []
        for number, layer in enumerate(self.features):
            features = layer(features)
            if number in SKIPS:
                stages.append(features)
        return [*stages, features]


class UNetMobileNetV2(nn.Module):
    """Images (N, C, H, W) in -1..1 -> logits (N, K, H, W), any H and W."""

    def __init__(self, section: Section, channels: int, outputs: int) -> None:
        super().__init__()
        self.scaling = blocks.ImageNetScaling(channels)
        self.encoder = Encoder(channels)
        self.decoder = blocks.Decoder([0, *SKIPS.values()], LAST, section.decoder_width)  # none at full resolution
        self.head = nn.Conv2d(section.decoder_width, outputs, 1)
        blocks.initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(32, images, self._forward)

    def _forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(self.scaling(images))))
        return logits


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    return UNetMobileNetV2(section, channels, outputs)
