"""Images a second of one optimiser step of the 34.5M U-Net at 128x128: the plain loop against ours, in one run.

    python -m benchmarks.training_step

All three train the same network with its dropout (0.3 in eight places), Adam, cross entropy over 12 classes,
in batches of 16 made-up images. (a) is float32, NCHW, torch's own dropout and unfused Adam; (b) is this project in
float32; (c) in bfloat16. The goal is (c) at 2.5 times (a) or more.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim

from segline import augmentation, batches, cli, draws, predict, randomness, training
from segline.networks import unet

NETWORK = unet.Section(width=64, depth=4, norm="none", dropout=0.3)
BATCH, SIZE, NUM_CLASSES = 16, 128, 12
ROUNDS = 3
OFF = dict.fromkeys(draws.Section.model_fields, 0.0) | {"zoom": 1.0, "crop": 1.0}


def samples(target: torch.device) -> batches.Samples:
    """One batch of noise, each pixel of some class."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    labels = random.integers(0, NUM_CLASSES, (BATCH, SIZE, SIZE))
    packed = np.stack([(1 << labels) & 255, (1 << labels) >> 8], axis=-1).astype(np.uint8)
    return batches.load(images, packed, NUM_CLASSES, target)


def plain(data: batches.Samples) -> Callable[[], None]:
    """(a): what one writes first."""
    network = unet.build(NETWORK, 3, NUM_CLASSES).to(data.images.device)
    network.dropout = nn.Dropout(NETWORK.dropout)
    optimizer = optim.Adam(network.parameters(), lr=1e-3, fused=False)
    images = batches.inputs(data.images).contiguous()
    labels = batches.onehot(data.packed, NUM_CLASSES).argmax(dim=1)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network.train()(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def ours(data: batches.Samples, precision: Literal["float32", "bfloat16"]) -> Callable[[], None]:
    """(b) and (c): one epoch of one step of the project's own loop, batches unpacked and dropout reseeded as there."""
    section = training.Section(
        seed=1,
        epochs=1_000,
        batch_size=BATCH,
        loss=["cross_entropy"],
        label_smoothing=0.0,
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        clip_norm=0.0,
        ema=0.0,
        frozen_epochs=0,
        patience=0,
        precision=precision,
        compile=False,
        keep="last",
    )
    network = unet.build(NETWORK, 3, NUM_CLASSES).to(data.images.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    state = training.start(network, section, BATCH)

    shown = augmentation.Augmented(data, draws.Section(**OFF))

    def step() -> None:
        training.one_pass(state, section, shown, 1)

    return step


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table: the three take turns, so that a busy machine slows all of them."""
    cli.parser(__doc__).parse_args(argv)
    target = torch.device("cpu")  # on CUDA the plain loss has no deterministic form, and nothing here waits for it
    data = samples(target)
    steps = {"a. float32, NCHW, unfused": plain(data), "b. ours, float32": ours(data, "float32")}
    if torch.cpu._is_avx512_bf16_supported():
        steps["c. ours, bfloat16"] = ours(data, "bfloat16")
    rates: dict[str, list[float]] = {name: [] for name in steps}
    randomness.deterministic(1)
    for round_ in range(ROUNDS + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if round_:  # the first round warms up
                rates[name].append(BATCH / (time.perf_counter() - began))
    multiply_adds = predict.cost(unet.build(NETWORK, 3, NUM_CLASSES), 3, SIZE, SIZE)["multiply_adds"]
    first = statistics.median(next(iter(rates.values())))
    cli.say("| loop | images/s | GFLOP/s | ratio |\n|---|---|---|---|")
    for name, series in rates.items():
        rate = statistics.median(series)
        # Forward and backward are three passes of two operations a multiply-add.
        cli.say(f"| {name} | {rate:.2f} | {rate * multiply_adds * 6 / 1e9:.0f} | {rate / first:.2f} |")


if __name__ == "__main__":
    cli.run(main)
