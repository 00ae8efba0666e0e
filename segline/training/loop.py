"""`fit`: the training loop. It knows no file, no MLflow and no clock: it yields one `Epoch` after another.

All that a run is made of lies in one `State`; the loop goes on from whatever state it is given.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from segline.core import params
from segline.core.errors import ParameterError, TrainingError
from segline.dataset.history import Epoch
from segline.model import batches, forward, output_head, randomness
from segline.model.batches import AnySamples
from segline.scoring import confusion
from segline.training import losses, optim
from segline.training.augmentation import samples
from segline.training.augmentation.samples import Augmented
from segline.training.state import State


def _unique(names: list[losses.Name]) -> list[losses.Name]:
    if len(set(names)) != len(names):
        raise ValueError("a loss stands twice")
    return names


class Section(params.Section):
    """`keep: best` keeps the epoch of highest mIoU on val (the first of equals). Rates are per step.

    0 switches off: `label_smoothing` (of the cross entropies); `clip_norm`, the length that the gradient is cut to;
    `ema`, the decay of a moving average of the weights, which then is what is validated and kept; `frozen_epochs`, the
    first epochs, which leave the encoder as it is; `patience`, the epochs without a better mIoU on val that end it all.
    """

    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=1, le=4096)
    loss: Annotated[list[losses.Name], Field(min_length=1), AfterValidator(_unique)]
    label_smoothing: float = Field(ge=0, lt=1)
    optimizer: optim.Optimizer
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(ge=0, le=1)
    schedule: optim.Schedule
    clip_norm: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    frozen_epochs: int = Field(ge=0, le=100_000)
    patience: int = Field(ge=0, le=100_000)
    precision: Literal["float32", "bfloat16"]
    compile: bool
    keep: Literal["best", "last"]


def num_steps(section: Section, num_samples: int) -> int:
    """Optimiser steps of one epoch."""
    return -(-num_samples // section.batch_size)


def require_encoder(network: nn.Module, frozen_epochs: int) -> None:
    """Raises ParameterError if an encoder is to be frozen that the network does not have."""
    if frozen_epochs and not isinstance(getattr(network, "encoder", None), nn.Module):
        found = f"{frozen_epochs}, but the network has no part named encoder"
        raise ParameterError("params.yaml: train.frozen_epochs", found, "Write 0, or choose another model.name.")


def start(network: nn.Module, section: Section, num_samples: int, class_weights: Sequence[float] = ()) -> State:
    """The state before the first step. `network` must be on its device already.

    `class_weights` are needed for weighted_cross_entropy. Raises ParameterError if there is no encoder to freeze.
    """
    require_encoder(network, section.frozen_epochs)
    rate, total = section.learning_rate, section.epochs * num_steps(section, num_samples)
    optimizer = optim.optimizer(section.optimizer, network.parameters(), rate, section.weight_decay)
    return State(
        network=network,
        kept=copy.deepcopy(network) if section.ema else network,
        optimizer=optimizer,
        schedule=optim.schedule(section.schedule, optimizer, rate, total),
        class_weights=torch.tensor(class_weights, device=next(network.parameters()).device),
    )


def fit(
    state: State, section: Section, train: Augmented, val: AnySamples, step_done: Callable[[], None] = lambda: None
) -> Iterator[Epoch]:
    """Trains `state` in place up to `section.epochs`, yielding each epoch when it is complete.

    Ends before that when patience does. Raises TrainingError at the first loss that is not finite, and names the step.
    """
    for number in range(len(state.history) + 1, section.epochs + 1):
        if 0 < section.patience <= state.epochs_since_best:
            return
        learning_rate = float(state.schedule.get_last_lr()[0])
        train_loss = one_pass(state, section, train, number, step_done)
        val_loss, scores = _validate(state, section, val)
        epoch = Epoch(number, learning_rate, train_loss, val_loss, scores.accuracy, scores.miou)
        state.history.append(epoch)
        if state.best_epoch is epoch:
            state.best = {name: tensor.detach().clone() for name, tensor in state.kept.state_dict().items()}
        yield epoch


def one_pass(
    state: State, section: Section, train: Augmented, number: int, step_done: Callable[[], None] = lambda: None
) -> float:
    """One optimiser step for each batch of epoch `number`, in place; returns the mean loss.

    Nothing in it waits for the device before its last step.
    """
    criterion = losses.criterion(section.loss, section.label_smoothing, state.class_weights)
    _set_modes(state.network, section, number)
    found = []
    # A view of the network for these steps alone: what is validated, copied and written stays what it is. The programs
    # themselves are torch's to keep, from one epoch to the next.
    forward = torch.compile(state.network, dynamic=False) if section.compile else state.network
    first_step = (number - 1) * num_steps(section, len(train))
    shuffled = samples.shuffled(train, section.batch_size, section.seed, number)
    for step, (images, onehot) in enumerate(shuffled, start=first_step):
        randomness.reseed(section.seed, step)
        with _autocast(section, images), _enough_values(len(images)):
            logits = output_head.class_logits(forward(images))
        loss = criterion(logits, onehot)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if section.clip_norm:
            nn.utils.clip_grad_norm_(state.network.parameters(), section.clip_norm)
        state.optimizer.step()
        state.schedule.step()
        if section.ema:
            optim.average(state.kept, state.network, section.ema, step)
        found.append(_with_weight(loss, onehot))
        step_done()
    pairs = torch.stack(found).tolist()
    for step, (value, _) in enumerate(pairs, 1):
        if not math.isfinite(value):
            raise _diverged(section, f"loss is {value} at step {step} of epoch {number}")
    return _mean(pairs)


def _set_modes(network: nn.Module, section: Section, number: int) -> None:
    """All of it learns; in the frozen epochs the encoder gets no gradients and keeps its batch statistics."""
    network.train()
    if section.frozen_epochs:
        frozen = number <= section.frozen_epochs
        network.encoder.train(not frozen).requires_grad_(not frozen)  # type: ignore[union-attr]


@contextmanager
def _enough_values(num_images: int) -> Iterator[None]:
    """Turns batch normalisation's refusal of a single value a channel into a TrainingError."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        found = f"a batch of {num_images} leaves batch normalisation one value a channel, at its smallest feature map"
        remedy = "Choose one that leaves no single image over, or a larger preprocess.height and width."
        raise TrainingError("params.yaml: train.batch_size", found, remedy) from None


def _with_weight(loss: Tensor, onehot: Tensor) -> Tensor:
    return torch.stack([loss.detach(), losses.num_valid(onehot)])


def _mean(pairs: list[list[float]]) -> float:
    """The mean of the losses in (loss, weight)."""
    return sum(loss * weight for loss, weight in pairs) / max(sum(weight for _, weight in pairs), 1.0)


def _diverged(section: Section, found: str) -> TrainingError:
    remedy = "Lower train.learning_rate" + (", or use float32." if section.precision != "float32" else ".")
    return TrainingError("train", f"{found}; no model is written", remedy)


def _validate(state: State, section: Section, val: AnySamples) -> tuple[float, confusion.Scores]:
    criterion = losses.criterion(section.loss, section.label_smoothing, state.class_weights)
    found, counts = [], []
    for images, onehot in batches.in_order(val, section.batch_size):
        with _autocast(section, images):
            logits = forward.logits(state.kept, images)
        found.append(_with_weight(criterion(logits, onehot), onehot))
        counts.append(forward.counts(logits, onehot))
    loss = _mean(torch.stack(found).tolist())
    if not math.isfinite(loss):
        raise _diverged(section, f"val loss is {loss} after epoch {len(state.history) + 1}")
    return loss, confusion.scores(torch.stack(counts).sum(dim=0).cpu().numpy())


def _autocast(section: Section, images: Tensor) -> torch.autocast:
    return torch.autocast(images.device.type, torch.bfloat16, enabled=section.precision == "bfloat16")
