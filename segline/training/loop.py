"""`fit`: the training loop. It knows nothing of files, MLflow or clocks: it yields one `Epoch` after another.

Everything that a training consists of is in one `State`; the loop continues from whatever state it is given.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from torch import Tensor, nn

from segline.core import params
from segline.core.errors import ParameterError, TrainingError
from segline.dataset.history import Epoch
from segline.dataset.preparation import Preparation
from segline.model import batches, device, forward, randomness
from segline.model.batches import AnySamples
from segline.scoring import confusion
from segline.training import losses, optim, shards, start_from
from segline.training.augmentation import samples
from segline.training.augmentation.samples import Augmented
from segline.training.backward import Backward
from segline.training.group import ALONE, Group
from segline.training.sampling import Sampling
from segline.training.state import State


def _unique(names: list[losses.Name]) -> list[losses.Name]:
    if len(set(names)) != len(names):
        raise ValueError("duplicate loss")
    return names


class Section(params.Section):
    """`keep: best` keeps the epoch with the highest mIoU on val (the first of equals). Rates are per step.

    0 switches off: `label_smoothing` (of the cross entropies); `clip_norm`, the largest norm of the gradient; `ema`,
    the decay of a moving average of the weights, which is then validated and kept; `frozen_epochs`, the number of first
    epochs that leave the encoder as it is; `patience`, the number of epochs without a better mIoU on val after which
    training stops. The encoder learns at `encoder_rate` times the `learning_rate`. `start_from` names an earlier model.
    A batch is computed in `shards`, a power of two: see `segline.training.shards`; 1 leaves it whole.
    """

    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=1, le=100_000)
    batch_size: int = Field(ge=1, le=4096)
    shards: int = Field(ge=1)
    sampling: Sampling
    loss: Annotated[list[losses.Name], Field(min_length=1), AfterValidator(_unique)]
    label_smoothing: float = Field(ge=0, lt=1)
    optimizer: optim.Optimizer
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(ge=0, le=1)
    schedule: optim.Schedule
    clip_norm: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    start_from: start_from.StartFrom
    frozen_epochs: int = Field(ge=0, le=100_000)
    encoder_rate: float = Field(gt=0, le=10)
    patience: int = Field(ge=0, le=100_000)
    precision: device.Precision | Literal["auto"]
    compile: bool
    keep: Literal["best", "last"]

    @field_validator("shards")
    @classmethod
    def _cut(cls, count: int, info: ValidationInfo) -> int:
        if count & (count - 1):
            raise ValueError("expected a power of two")
        if count > (most := info.data.get("batch_size", count)):
            raise ValueError(f"expected at most the {most} samples of a batch")
        return count


def num_steps(section: Section, num_samples: int) -> int:
    """Optimiser steps of one epoch."""
    return -(-num_samples // section.batch_size)


def require_encoder(network: nn.Module, section: Section) -> None:
    """Raises ParameterError if the encoder is to be frozen, or to learn at a rate of its own, but there is none."""
    if isinstance(getattr(network, "encoder", None), nn.Module):
        return
    for key, without in (("frozen_epochs", 0), ("encoder_rate", 1.0)):
        if (value := getattr(section, key)) != without:
            problem = f"{value}, but the network has no part named encoder"
            raise ParameterError(
                f"params.yaml: train.{key}", problem, f"Write {without}, or choose another model.name."
            )


def require_shards(network: nn.Module, section: Section, prepared: Preparation) -> None:
    """Raises as `shards.require_fit`, for a network on the meta device, unless batches stay whole."""
    if section.shards > 1:
        set_modes(network, section, section.epochs)
        images = section.batch_size // section.shards, prepared.channels, prepared.height, prepared.width
        shards.require_fit(network, torch.empty(images, device="meta"))


def start(network: nn.Module, section: Section, num_samples: int, class_weights: Sequence[float] = ()) -> State:
    """The state before the first step. `network` must already be on its device.

    weighted_cross_entropy needs `class_weights`. Raises ParameterError as `require_encoder` does.
    """
    require_encoder(network, section)
    target = next(network.parameters()).device
    total = section.epochs * num_steps(section, num_samples)
    groups = optim.groups(network, section.learning_rate, section.encoder_rate)
    optimizer = optim.optimizer(section.optimizer, groups, section.weight_decay)
    return State(
        network=network,
        kept=copy.deepcopy(network) if section.ema else network,
        optimizer=optimizer,
        lr_schedule=optim.lr_schedule(section.schedule, optimizer, total),
        class_weights=torch.tensor(class_weights, device=target),
        precision=device.precision(target, section.precision),
    )


def fit(
    state: State,
    section: Section,
    train: Augmented,
    val: AnySamples,
    step_done: Callable[[], None] = lambda: None,
    *,
    group: Group = ALONE,
) -> Iterator[Epoch]:
    """Trains `state` in place up to `section.epochs`, yielding each epoch when it is complete.

    Stops earlier if patience runs out. Raises TrainingError for the first loss that is not finite, naming the step.
    Every worker of a group does the same; with more than one, a batch must have as many shards at least.
    """
    for number in range(len(state.history) + 1, section.epochs + 1):
        if 0 < section.patience <= state.epochs_since_best:
            return
        learning_rate = float(state.lr_schedule.get_last_lr()[0])  # of all but the encoder, if its own differs
        train_loss = one_pass(state, section, train, number, step_done, group=group)
        val_loss, scores = _validate(state, section, val, group)
        epoch = Epoch(number, learning_rate, train_loss, val_loss, scores.accuracy, scores.miou)
        state.history.append(epoch)
        if state.best_epoch is epoch:
            state.best = {name: tensor.detach().clone() for name, tensor in state.kept.state_dict().items()}
        yield epoch


def one_pass(
    state: State,
    section: Section,
    train: Augmented,
    number: int,
    step_done: Callable[[], None] = lambda: None,
    *,
    group: Group = ALONE,
) -> float:
    """One optimiser step for each batch of epoch `number`, in place; returns the mean loss.

    Nothing waits for the device before the last step.
    """
    set_modes(state.network, section, number)
    count = num_steps(section, len(train))
    # One tensor for all steps: a small one a step, kept for an epoch, would keep its batch from being freed.
    weighted = torch.zeros(count, 2, device=train.samples.device)
    gradients = _gradients(state, section, train, number, group)
    for step, (row, pair) in enumerate(zip(weighted, gradients, strict=True), start=(number - 1) * count):
        if section.clip_norm:
            nn.utils.clip_grad_norm_(state.network.parameters(), section.clip_norm)
        state.optimizer.step()
        state.lr_schedule.step()
        if section.ema:
            optim.average(state.kept, state.network, section.ema, step)
        row.copy_(pair)
        step_done()
    pairs = weighted.tolist()
    for step, (value, _) in enumerate(pairs, 1):
        if not math.isfinite(value):
            raise _diverged(state, f"loss is {value} at step {step} of epoch {number}")
    return _mean(pairs)


def _gradients(state: State, section: Section, train: Augmented, number: int, group: Group) -> Iterator[Tensor]:
    """For each batch of epoch `number` its loss and weight, float32 (2,). Its gradients are then in the network."""
    criterion = losses.criterion(section.loss, section.label_smoothing, state.class_weights)
    # Compiled for these passes only: validation, copies and the model file use the network itself. torch caches the
    # compiled code from one epoch to the next.
    forward = torch.compile(state.network, dynamic=False) if section.compile else state.network
    first_step = (number - 1) * num_steps(section, len(train))
    if section.shards > 1:
        own = group.part(section.shards)
        cut = samples.sharded(train, section.batch_size, section.seed, number, shards=section.shards, own=own)
        backward = Backward(state, forward, criterion, "shard")
        yield from shards.gradients(
            backward, cut, group, num_classes=train.samples.num_classes, seed=section.seed, first_step=first_step
        )
        return
    backward = Backward(state, forward, criterion)
    shuffled = samples.shuffled(train, section.batch_size, section.seed, number)
    for step, (images, onehot) in enumerate(shuffled, start=first_step):
        randomness.reseed(section.seed, step)
        yield _with_weight(backward(images, onehot), onehot)


def set_modes(network: nn.Module, section: Section, number: int) -> None:
    """Training mode; in the frozen epochs the encoder gets no gradients and keeps its batch statistics."""
    network.train()
    if section.frozen_epochs:
        frozen = number <= section.frozen_epochs
        network.encoder.train(not frozen).requires_grad_(not frozen)  # type: ignore[union-attr]


def _with_weight(loss: Tensor, onehot: Tensor) -> Tensor:
    return torch.stack([loss.detach(), losses.num_valid(onehot)])


def _mean(pairs: list[list[float]]) -> float:
    """The weighted mean of pairs (loss, weight)."""
    return sum(loss * weight for loss, weight in pairs) / max(sum(weight for _, weight in pairs), 1.0)


def _diverged(state: State, problem: str) -> TrainingError:
    remedy = "Lower train.learning_rate" + (", or use float32." if state.precision != "float32" else ".")
    return TrainingError("train", f"{problem}; no model is written", remedy)


def _validate(state: State, section: Section, val: AnySamples, group: Group = ALONE) -> tuple[float, confusion.Scores]:
    """The workers share the batches: the loss of each, and its counts, are the same whoever computes them."""
    criterion = losses.criterion(section.loss, section.label_smoothing, state.class_weights)
    own = slice(group.rank, None, group.size)
    weighted = torch.zeros(num_steps(section, len(val)), 2, device=val.device)
    counts = torch.zeros(val.num_classes, val.num_classes, dtype=torch.int64, device=val.device)
    shown = batches.in_order(val, section.batch_size, batches.MEAN, batches.STD, own)
    for row, (images, onehot) in zip(weighted[own], shown, strict=True):
        with state.autocast(images):
            logits = forward.logits(state.kept, images)
        row.copy_(_with_weight(criterion(logits, onehot), onehot))
        counts += forward.counts(logits, onehot)
    loss = _mean(group.exact_sum(weighted).tolist())
    if not math.isfinite(loss):
        raise _diverged(state, f"val loss is {loss} after epoch {len(state.history) + 1}")
    return loss, confusion.scores(group.exact_sum(counts).cpu().numpy())


def only_class(state: State, section: Section, val: AnySamples) -> int | None:
    """The class that the trained model predicts for every labelled pixel of val; None if it predicts several.

    Leaves `state.kept` with the weights to keep. Most models predict several classes in the first batch, and only that
    is computed then.
    """
    if section.keep == "best":
        state.kept.load_state_dict(state.best)
    total = torch.zeros((), dtype=torch.int64)
    for images, onehot in batches.in_order(val, section.batch_size, batches.MEAN, batches.STD):
        with state.autocast(images):
            logits = forward.logits(state.kept, images)
        total = total + forward.counts(logits, onehot).cpu()
        if total.sum(dim=0).count_nonzero() > 1:
            return None
    return confusion.only_prediction(total.numpy())
