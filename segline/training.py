"""`fit`: the training loop. It knows no file, no MLflow and no clock: it yields one `Epoch` after another.

All that a run is made of lies in one `State`; the loop goes on from whatever state it is given.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from segline import augmentation, batches, confusion, encode, losses, params, predict, randomness
from segline.augmentation import Augmented
from segline.batches import Samples
from segline.errors import TrainingError


class Section(params.Section):
    """`keep: best` keeps the epoch of highest mIoU on val (the first of equals). Rates are per step."""

    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=1, le=4096)
    optimizer: Literal["adam", "adamw"]
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(ge=0, le=1)
    schedule: Literal["constant", "cosine", "one_cycle"]
    precision: Literal["float32", "bfloat16"]
    keep: Literal["best", "last"]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training samples came to, counted from 1.

    Losses are in nats, scores those on val at the working resolution; the rate is that of the first step.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_miou: float


@dataclass
class State:
    """Everything a run is made of. `best` holds the weights of the best epoch so far."""

    network: nn.Module
    optimizer: optim.Optimizer
    schedule: lr_scheduler.LRScheduler
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def best_epoch(self) -> Epoch:
        """The epoch of highest val mIoU, the first of equals."""
        return max(self.history, key=lambda epoch: epoch.val_miou)


def num_steps(section: Section, num_samples: int) -> int:
    """Optimiser steps of one epoch."""
    return -(-num_samples // section.batch_size)


def start(network: nn.Module, section: Section, num_samples: int) -> State:
    """The state before the first step. `network` must be on its device already."""
    optimizer = _optimizer(network, section)
    total = section.epochs * num_steps(section, num_samples)
    return State(network, optimizer, _schedule(optimizer, section, total))


def _optimizer(network: nn.Module, section: Section) -> optim.Optimizer:
    kind = optim.Adam if section.optimizer == "adam" else optim.AdamW
    return kind(network.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay, fused=True)


def _schedule(optimizer: optim.Optimizer, section: Section, total: int) -> lr_scheduler.LRScheduler:
    if section.schedule == "one_cycle":
        # Smith and Topin 2018: up to the full rate over the first 30 % of the steps, then down to nothing.
        return lr_scheduler.OneCycleLR(optimizer, section.learning_rate, total_steps=total, cycle_momentum=False)
    if section.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, T_max=total)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def fit(
    state: State, section: Section, train: Augmented, val: Samples, step_done: Callable[[], None] = lambda: None
) -> Iterator[Epoch]:
    """Trains `state` in place up to `section.epochs`, yielding each epoch when it is complete.

    Raises TrainingError at the first loss that is not finite, and names the step.
    """
    for number in range(len(state.history) + 1, section.epochs + 1):
        learning_rate = float(state.schedule.get_last_lr()[0])
        train_loss = one_pass(state, section, train, number, step_done)
        val_loss, scores = _validate(state.network, section, val)
        if not math.isfinite(val_loss):
            raise _diverged(f"val loss is {val_loss} after epoch {number}")
        epoch = Epoch(number, learning_rate, train_loss, val_loss, scores.accuracy, scores.miou)
        state.history.append(epoch)
        if state.best_epoch is epoch:
            state.best = {name: tensor.detach().clone() for name, tensor in state.network.state_dict().items()}
        yield epoch


def one_pass(
    state: State, section: Section, train: Augmented, number: int, step_done: Callable[[], None] = lambda: None
) -> float:
    """One optimiser step for each batch of epoch `number`, in place; returns the mean loss a valid pixel."""
    state.network.train()
    step_losses, weights = [], []
    first_step = (number - 1) * num_steps(section, len(train))
    for step, (images, onehot) in enumerate(augmentation.shuffled(train, section.batch_size, section.seed, number)):
        randomness.reseed(section.seed, first_step + step)
        with _autocast(section, images):
            logits = state.network(images)
        loss = losses.cross_entropy(logits, onehot)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        state.optimizer.step()
        state.schedule.step()
        step_losses.append(loss.detach())
        weights.append(losses.num_valid(onehot))
        step_done()
    return _mean_loss(torch.stack(step_losses), torch.stack(weights), number)


def _mean_loss(step_losses: Tensor, weights: Tensor, number: int) -> float:
    if not bool(step_losses.isfinite().all()):
        step = int((~step_losses.isfinite()).nonzero()[0])
        raise _diverged(f"loss is {step_losses[step].item()} at step {step + 1} of epoch {number}")
    return float((step_losses * weights).sum() / weights.sum().clamp(min=1))


def _diverged(found: str) -> TrainingError:
    return TrainingError("train", f"{found}; no model is written", "Lower train.learning_rate, or use float32.")


def _validate(network: nn.Module, section: Section, val: Samples) -> tuple[float, confusion.Scores]:
    total, valid, predictions = 0.0, 0.0, []
    for images, onehot in batches.in_order(val, section.batch_size):
        with _autocast(section, images):
            logits = predict.logits(network, images)
        weight = float(losses.num_valid(onehot))
        total += float(losses.cross_entropy(logits, onehot)) * weight
        valid += weight
        predictions.append(predict.classes(logits))
    truth = encode.unpack(val.packed.cpu().numpy(), val.num_classes)
    counts = confusion.count(truth, np.concatenate(predictions), val.num_classes)
    return total / max(valid, 1.0), confusion.scores(counts)


def _autocast(section: Section, images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=section.precision == "bfloat16")
