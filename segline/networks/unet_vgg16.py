"""U-Net whose encoder is VGG16, as in system S4: from scratch, or with weights trained on ImageNet.

The encoder has the names and shapes of torchvision's `vgg16`, without its dense layers.
Source: Simonyan and Zisserman 2015, table 1, column D; Ronneberger et al. 2015; S4 is an article series on transfer
learning for segmentation.
"""

from pydantic import Field
from torch import Tensor, nn

from segline.core import params
from segline.networks import blocks

# Output channels of the 3x3 convolutions, stage by stage; a 2x2 max pool ends each.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Section(params.Section):
    """`decoder_width` channels at full resolution; `weights` is a file for the encoder ("" for none) and its sha256."""

    decoder_width: int = Field(ge=1, le=512)
    weights: str
    weights_sha256: str = Field(pattern="^([0-9a-f]{64})?$")


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


class UNetVGG16(nn.Module):
    """Images (N, C, H, W) in -1..1 -> logits (N, K, H, W), any H and W."""

    def __init__(self, section: Section, channels: int, outputs: int) -> None:
        super().__init__()
        widths = [stage[-1] for stage in STAGES]
        self.scaling = blocks.ImageNetScaling(channels)
        self.encoder = Encoder(channels)
        self.decoder = blocks.Decoder(widths, widths[-1], section.decoder_width)
        self.head = nn.Conv2d(section.decoder_width, outputs, 1)
        blocks.initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return blocks.at_multiple_of(32, images, self._forward)

    def _forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(self.scaling(images))))
        return logits


def build(section: Section, channels: int, outputs: int) -> nn.Module:
    """The network for C channels and K outputs, weights drawn from torch's global generator."""
    return UNetVGG16(section, channels, outputs)
