"""One optimiser step of a U-Net at 128x128, in a plain loop and in this project's.

    python -m benchmarks.loops NAME     # serves turns to `training_step`

The network has 34.5M parameters and dropout (0.3 in eight places); it is that of S1, a published Keras project that
this one grew from. Training: Adam, cross entropy over 12 classes, batches of 16 random images.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import ceiling, turns
from segline.model import batches, device, randomness
from segline.networks import unet
from segline.training import loop
from segline.training.augmentation import plan
from segline.training.augmentation.samples import Augmented

Precision = Literal["float32", "bfloat16"]

NETWORK = unet.Section(width=64, depth=4, norm="none", dropout=0.3)
BATCH, SIZE, NUM_CLASSES = 16, 128, 12
OFF = dict.fromkeys(plan.Section.model_fields, 0.0) | {"zoom": 1.0, "crop": 1.0}


def samples(target: torch.device, count: int = BATCH, height: int = SIZE, width: int = SIZE) -> batches.Samples:
    """Random pixels and classes."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (count, height, width, 3), np.uint8)
    labels = random.integers(0, NUM_CLASSES, (count, height, width))
    packed = np.stack([(1 << labels) & 255, (1 << labels) >> 8], axis=-1).astype(np.uint8)
    return batches.load(images, packed, NUM_CLASSES, target)


def plain(data: batches.Samples) -> Callable[[], None]:
    """One epoch of one step, as in a tutorial: float32, NCHW, a DataLoader, torch's dropout, unfused Adam."""
    network = unet.build(NETWORK, 3, NUM_CLASSES)
    network.dropout = nn.Dropout(NETWORK.dropout)
    optimizer = optim.Adam(network.parameters(), lr=1e-3, fused=False)
    labels = batches.onehot(data.packed, NUM_CLASSES).argmax(dim=1)
    inputs = batches.inputs(data.images, batches.MEAN, batches.STD).contiguous()
    loader = DataLoader(TensorDataset(inputs, labels), BATCH, shuffle=True)

    def step() -> None:
        network.train()
        for images, truth in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(images), truth).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    return step


def section(precision: Precision, batch: int) -> loop.Section:
    """S1's optimiser and loss, with more epochs than anything here runs."""
    return loop.Section(
        seed=1,
        epochs=1_000,
        batch_size=batch,
        shards=1,
        sampling="uniform",
        loss=["cross_entropy"],
        label_smoothing=0.0,
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="constant",
        clip_norm=0.0,
        ema=0.0,
        start_from=None,
        frozen_epochs=0,
        encoder_rate=1.0,
        patience=0,
        precision=precision,
        compile=False,
        keep="last",
    )


def project(network: nn.Module, data: batches.Samples, precision: Precision, batch: int) -> Callable[[], None]:
    """One epoch of the project's own loop, including unpacking and reseeding of dropout; waits for the device."""
    network.to(data.images.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    trained = section(precision, batch)
    state = loop.start(network, trained, len(data))
    shown = Augmented(data, plan.Section(**OFF))

    def step() -> None:
        loop.one_pass(state, trained, shown, 1)

    return step


def ours(data: batches.Samples, precision: Precision) -> Callable[[], None]:
    """One epoch of one step, as in `stages.train`."""
    randomness.deterministic(1)
    device.keep_memory()
    return project(unet.build(NETWORK, 3, NUM_CLASSES), data, precision, BATCH)


def turn(name: str) -> Callable[[], Any]:
    """What the loop of that name does in a turn: a timed step, or for a ceiling the times at its levels."""
    if name.startswith("ceiling "):
        randomness.deterministic(1)
        device.keep_memory()
        return ceiling.convolutions(getattr(torch, name.split()[1]), BATCH)
    data = samples(torch.device("cpu"))  # on CUDA the plain loss has no deterministic form
    return partial(turns.timed, plain(data) if name == "plain" else ours(data, name))  # type: ignore[arg-type]


if __name__ == "__main__":
    turns.serve(turn(sys.argv[1]))
