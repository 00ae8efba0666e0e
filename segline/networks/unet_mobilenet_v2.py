"""U-Net with a MobileNetV2 encoder, from scratch or with weights trained on ImageNet.

The encoder has the names and shapes of torchvision's `mobilenet_v2`, without its dense layer.
Sources: Sandler et al. 2018, table 2; Ronneberger et al. 2015. It is the network of system S4, an article series on
transfer learning for segmentation.
"""

from torch import Tensor, nn

from segline.networks import blocks

Section = blocks.EncoderSection

# Expansion, output channels, number of blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FIRST, LAST = 32, 1280

# The last layer whose features are 1/2, 1/4, 1/8 and 1/16 of the size, and their channels.
SKIPS = {1: 16, 3: 24, 6: 32, 13: 96}


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolve = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, 1x1 projection without activation; added to the input if the shapes agree."""

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


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    encoder = Encoder(channels)
    decoder = blocks.Decoder([0, *SKIPS.values()], LAST, section.decoder_width)  # no skip at full resolution
    return blocks.EncoderUNet(encoder, decoder, section.decoder_width, channels, outputs)
