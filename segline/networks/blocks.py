"""What networks share. N images, C channels, H x W pixels, K classes; tensors are (N, C, H, W)."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from segline.core import params

Norm = Literal["none", "batch"]

# Of ImageNet's R, G and B in 0..1: encoders trained on it expect (x - mean) / std.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def convolution(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """3x3 convolution that keeps the size, batch norm if asked for, then ReLU."""
    if norm == "none":
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True))
    convolve = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolve, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def double_convolution(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """Two such convolutions, the block of a U-Net. Source: Ronneberger et al. 2015, fig. 1."""
    return nn.Sequential(convolution(inputs, outputs, norm), convolution(outputs, outputs, norm))


def doubling(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """3x3 transposed convolution that doubles height and width exactly (Keras' `padding="same"`, stride 2)."""
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)


class Decoder(nn.Module):
    """An encoder's features, largest first, each half the size of the one before -> (N, width, H, W).

    Each level doubles the size, concatenates the encoder's features of that size and convolves twice with batch norm;
    the last level has nothing to concatenate if the encoder starts at half resolution. `width` is the number of
    channels at full resolution; it doubles with every level down, up to 512.
    """

    def __init__(self, skips: Sequence[int], bottom: int, width: int) -> None:
        super().__init__()
        widths = [min(width << level, 512) for level in reversed(range(len(skips)))]
        inputs = [bottom, *widths[:-1]]
        self.upward = nn.ModuleList(doubling(i, o) for i, o in zip(inputs, widths, strict=True))
        self.joins = nn.ModuleList(
            double_convolution(o + skip, o, "batch") for o, skip in zip(widths, reversed(skips), strict=True)
        )

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        *skips, features = stages
        for enlarge, join in zip(self.upward, self.joins, strict=True):
            features = join(torch.cat([enlarge(features), *skips[-1:]], dim=1))
            skips = skips[:-1]
        return features


class InputScaling(nn.Module):
    """Inputs in -1..1 -> (x - mean) / std by channel, where x is the input in 0..1.

    `mean` and `std` are those of R, G and B. With other than three channels, the means of the three numbers stand for
    every channel. `persistent` puts the scaling into the model file.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], channels: int, persistent: bool) -> None:
        super().__init__()
        means, stds = (torch.tensor(rgb).view(1, 3, 1, 1) for rgb in (mean, std))
        if channels != 3:
            means, stds = (rgb.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) for rgb in (means, stds))
        self.register_buffer("shift", 2 * means - 1, persistent)
        self.register_buffer("scale", 2 * stds, persistent)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.shift) / self.scale


class ImageNetScaling(InputScaling):
    """That of encoders trained on ImageNet; the network implies it, so it is not in the model file."""

    def __init__(self, channels: int) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD, channels, persistent=False)


class Dropout(nn.Module):
    """Inverted dropout: each value is 0 with `probability` (to within 1 / 65,536), else divided by 1 - probability.

    On a CPU torch draws masks value by value, which takes a quarter of a U-Net's step. Here the random bits of numpy's
    SFC64, seeded by one draw from torch's global generator, become 0 or 1 and then the mask, in place.
    `torch.compile` cannot use SFC64; it fuses torch's own draw into the kernel that needs it.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, features: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return features
        if features.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(features, self.probability)
        count, channels, height, width = features.shape
        integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[features.element_size()]
        least, most = torch.iinfo(integer).min, torch.iinfo(integer).max
        source = np.random.SFC64(int(torch.randint(2**62, ())))
        bits = torch.from_numpy(source.random_raw(-(-features.nbytes // 8))).view(integer)[: features.numel()]
        bits.ge_(min(least + round(self.probability * (most - least)), most))
        bits.mul_(int(torch.tensor(1 / (1 - self.probability), dtype=features.dtype).view(integer)))
        mask = bits.view(features.dtype).view(count, height, width, channels).permute(0, 3, 1, 2)
        return features * mask


def initialise(network: nn.Module) -> None:
    """He-normal weights, drawn from torch's global generator, and zero biases. Source: He et al. 2015, eq. 10."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def at_multiple_of(stride: int, images: Tensor, forward: Callable[[Tensor], Tensor], least: int = 0) -> Tensor:
    """`forward(images)` for any size: pads by repeating the edges, and crops the result.

    Height and width become multiples of `stride`, and at least `least`, itself a multiple.
    """
    height, width = images.shape[-2:]
    bottom, right = (max(least - side, -side % stride) for side in (height, width))
    if bottom == right == 0:
        return forward(images)
    padded = F.pad(images, (0, right, 0, bottom), mode="replicate")
    return forward(padded)[..., :height, :width]


class EncoderSection(params.Section):
    """`decoder_width` channels at full resolution; `weights` is a file for the encoder ("" for none) and its sha256."""

    decoder_width: int = Field(ge=1, le=512)
    weights: str
    weights_sha256: str = Field(pattern="^([0-9a-f]{64})?$")


class EncoderUNet(nn.Module):
    """U-Net whose encoder halves the size five times: images in -1..1 -> logits (N, K, H, W), any H and W.

    `encoder` returns its features, largest first; `decoder` turns them into `width` channels at full resolution.
    """

    def __init__(self, encoder: nn.Module, decoder: Decoder, width: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.scaling = ImageNetScaling(channels)
        self.encoder = encoder
        self.decoder = decoder
        self.head = nn.Conv2d(width, outputs, 1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        return at_multiple_of(32, images, self._forward)

    def _forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(self.scaling(images))))
        return logits
