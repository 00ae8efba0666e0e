"""U-Net with a VGG16 encoder, from scratch or with weights trained on ImageNet.

The encoder has the names and shapes of torchvision's `vgg16`, without its dense layers.
Sources: Simonyan and Zisserman 2015, table 1, column D; Ronneberger et al. 2015. It is the network of system S4, an
article series on transfer learning for segmentation.
"""

from torch import Tensor, nn

from segline.networks import blocks

Section = blocks.EncoderSection

# Output channels of the 3x3 convolutions, stage by stage; each stage ends with a 2x2 max pool.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Encoder(nn.Module):
    """Images (N, C, H, W) -> the features before each of the five pools and after the last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for widths in STAGES:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> list[Tensor]:
        stages = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                stages.append(features)
            features = layer(features)
        return [*stages, features]


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    widths, encoder = [stage[-1] for stage in STAGES], Encoder(channels)
    decoder = blocks.Decoder(widths, widths[-1], section.decoder_width)
    return blocks.EncoderUNet(encoder, decoder, section.decoder_width, channels, outputs)
