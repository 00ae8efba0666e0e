"""The speed limit set by a network's convolutions: 3x3, forward and backward, at the shapes of its levels.

Channels last in memory, as in training. A level is a resolution; its operations are those of all its convolutions.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.turns import timed

LEVELS = {128: 64, 64: 128, 32: 256, 16: 512, 8: 1024}  # height and width -> channels of the U-Net in `loops`
PASSES = 6  # operations of a training step for each multiply-add of one forward: two operations, three passes


def multiply_adds(network: nn.Module, channels: int, size: int) -> Counter[int]:
    """Multiply-adds for one image, by the height of the layer's output; of its input for transposed convolutions."""
    work: Counter[int] = Counter()

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        height, width = (inputs[0] if module.transposed else output).shape[-2:]
        work[height] += module.weight.numel() * height * width

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]
    handles = [module.register_forward_hook(add) for module in convolutions]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, channels, size, size))
    for handle in handles:
        handle.remove()
    return work


def convolutions(precision: torch.dtype, batch: int) -> Callable[[], list[float]]:
    """A function that takes seconds for one convolution, forward and backward, at each of LEVELS."""

    def level(size: int, channels: int) -> Callable[[], object]:
        images, gradient, weight = (
            torch.randn(shape, dtype=precision).contiguous(memory_format=torch.channels_last)
            for shape in ((batch, channels, size, size), (batch, channels, size, size), (channels, channels, 3, 3))
        )
        images.requires_grad_()
        weight.requires_grad_()
        return lambda: torch.autograd.grad(F.conv2d(images, weight, padding=1), (images, weight), gradient)

    calls = [level(size, channels) for size, channels in LEVELS.items()]
    return lambda: [timed(call) for call in calls]


def rates(seconds: Sequence[float], batch: int) -> list[float]:
    """Operations a second at each of LEVELS."""
    shapes = zip(LEVELS.items(), seconds, strict=True)
    return [PASSES * batch * channels * channels * 9 * size * size / time for (size, channels), time in shapes]


def images_a_second(levels: Sequence[float], work: Counter[int]) -> float:
    """Images a second if all multiply-adds ran at the rate of their level."""
    return 1 / sum(PASSES * work[size] / rate for size, rate in zip(LEVELS, levels, strict=True))
