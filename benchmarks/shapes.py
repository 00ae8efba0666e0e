"""Each convolution of each preset in bfloat16 and float32, forward and backward: is bfloat16 faster, and correct?

    python -m benchmarks.shapes [PRESET ...]

torch 2.13 has shapes at which bfloat16 is many times slower on CPUs (its issue 183815: dilated, grouped) or wrong
(163347: outputs one pixel wide). Here every convolution runs alone, as its network calls it, on random values. Printed
are those that are slower than in float32, or differ from it by more than rounding to 8 bits explains.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.turns import timed
from segline.commands import presets
from segline.core import params, plugins
from segline.monitoring import console
from segline.preprocessing import pairs

ROOT = Path(__file__).parents[1]
BATCH, ROUNDS = 4, 3
FAR = 0.02  # of the largest value; rounding of inputs and outputs to 8 bits gives about 0.004


class Call(NamedTuple):
    """A convolution as a network calls it: on (N, C, H, W), with or without a gradient for its input."""

    module: nn.Conv2d | nn.ConvTranspose2d
    shape: tuple[int, ...]

    @property
    def title(self) -> str:
        """What distinguishes it from others."""
        m = self.module
        kind = f"{'transposed ' if m.transposed else ''}{m.kernel_size[0]}x{m.kernel_size[1]}/{m.stride[0]}"
        groups = f" in {m.groups} groups" if m.groups > 1 else ""
        return f"{kind} {m.in_channels} -> {m.out_channels}{groups} at {self.shape[2]}x{self.shape[3]}"


def calls(preset: str) -> Iterator[Call]:
    """Every convolution of the preset's network in one forward pass."""
    document = params.load(ROOT / presets.FOLDER / f"{preset}.yaml")
    name = params.text(document, "model.name")
    module = plugins.choose("segline.networks", name, "model.name")
    section = params.section(document, f"model.{name}", module.Section)
    size = pairs.preparation(params.section(document, "preprocess", pairs.Section))
    network: nn.Module = module.build(section, size.channels, 12)
    calls: list[Call] = []

    def note(layer: nn.Module, inputs: tuple[Tensor], _: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        calls.append(Call(layer, (BATCH, *inputs[0].shape[1:])))

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, size.channels, size.height, size.width))
    for layer in network.modules():
        layer._forward_hooks.clear()
    yield from calls


def passes(call: Call, precision: torch.dtype) -> tuple[float, list[Tensor]]:
    """Seconds of the fastest forward and backward pass, and its output and gradients."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(call.shape, generator=generator).contiguous(memory_format=torch.channels_last)
    images = images.to(precision).requires_grad_()
    layer = call.module.to(precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    gradient = torch.randn(layer(images).shape, generator=generator).to(precision)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    results: list[Tensor] = []

    def once() -> None:
        output = layer(images)
        results[:] = [output, *torch.autograd.grad(output, (images, layer.weight), gradient)]

    once()
    return min(timed(once) for _ in range(ROUNDS)), [tensor.detach().float() for tensor in results]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table for each preset."""
    chosen = list(sys.argv[1:] if argv is None else argv) or presets.names(ROOT)
    console.say("| preset | convolutions | float32, ms | bfloat16, ms | ratio | slower or wrong in bfloat16 |")
    console.say("|---|---|---|---|---|---|")
    for preset in chosen:
        odd, totals = [], [0.0, 0.0]
        distinct = {call.title: call for call in calls(preset)}
        for title, call in distinct.items():
            (slow, right), (fast, actual) = (passes(call, kind) for kind in (torch.float32, torch.bfloat16))
            error = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(right, actual, strict=True))
            totals = [totals[0] + slow, totals[1] + fast]
            if fast > slow or error > FAR:
                odd.append(f"{title}: {slow / fast:.2f} times as fast, off by {error:.1%}")
        slow, fast = (1000 * total for total in totals)
        said = "; ".join(odd) or "-"
        console.say(f"| {preset} | {len(distinct)} | {slow:.0f} | {fast:.0f} | {slow / fast:.2f} | {said} |")


if __name__ == "__main__":
    console.run(main)
