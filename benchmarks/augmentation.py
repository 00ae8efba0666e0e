"""The time to augment a batch, as a share of the optimiser step that uses it, both measured in one run.

    python -m benchmarks.augmentation

Every kind of augmentation is on, at realistic strength. The batch (16 images of 128x128, 12 classes) and the step
(U-Net of 34.5M parameters, in bfloat16 if the CPU has it) are those of `loops`. The goal is a share of at most 15 %.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from benchmarks import loops
from segline.model import randomness
from segline.monitoring import console
from segline.training.augmentation import plan, samples

STRENGTHS = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "rotation": 15.0,
    "zoom": 1.25,
    "shift": 0.1,
    "crop": 1.0,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.3,
    "noise": 5.0,
    "cut_mix": 0.5,
}
ROUNDS = 3


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call in seconds."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table. Step and augmentation take turns, so that a busy machine slows both."""
    console.parser(__doc__).parse_args(argv)
    data = loops.samples(torch.device("cpu"))
    precision: Literal["bfloat16", "float32"] = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    step = loops.ours(data, precision)
    shown = samples.Augmented(data, plan.Section(**STRENGTHS))
    rows = np.arange(len(data))
    calls: dict[str, Callable[[], object]] = {
        f"step, {precision}": step,
        "augmentation": lambda: next(samples.views(data, samples.epoch_plan(shown, 1, 1), [rows])),
    }
    randomness.deterministic(1)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(ROUNDS + 1):
        for name, call in calls.items():
            elapsed = seconds(call)
            if round_:  # the first round warms up
                times[name].append(elapsed)
    medians = [statistics.median(series) for series in times.values()]
    console.say("| what | ms a batch | share of the step |\n|---|---|---|")
    for name, median in zip(times, medians, strict=True):
        console.say(f"| {name} | {1000 * median:.0f} | {median / medians[0]:.1%} |")


if __name__ == "__main__":
    console.run(main)
