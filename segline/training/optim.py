"""Optimisers, schedules of the learning rate, and the moving average of the weights."""

from collections.abc import Iterable
from typing import Literal

from torch import nn, optim
from torch.optim import lr_scheduler

Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine", "one_cycle", "poly"]

SHORTEST_CYCLE = 4  # steps
POWER = 0.9  # of the poly schedule. Source: Chen et al. 2017 (DeepLab), sec. 4.1.2


def optimizer(name: Optimizer, weights: Iterable[nn.Parameter], rate: float, weight_decay: float) -> optim.Optimizer:
    """The named optimiser, in its fused form."""
    kind = optim.Adam if name == "adam" else optim.AdamW
    return kind(weights, lr=rate, weight_decay=weight_decay, fused=True)


def lr_schedule(name: Schedule, of: optim.Optimizer, rate: float, steps: int) -> lr_scheduler.LRScheduler:
    """The rate over `steps` steps: `rate` at its highest and, unless it is constant, close to 0 at the end.

    With fewer than four steps one_cycle would stay close to 0; the rate is constant then too.
    """
    if name == "one_cycle" and steps >= SHORTEST_CYCLE:
        # Smith and Topin 2018: up to the full rate in the first 30 % of the steps, then down to almost 0.
        return lr_scheduler.OneCycleLR(of, rate, total_steps=steps, cycle_momentum=False)
    if name == "cosine":
        return lr_scheduler.CosineAnnealingLR(of, T_max=steps)
    if name == "poly":
        return lr_scheduler.PolynomialLR(of, total_iters=steps, power=POWER)
    return lr_scheduler.ConstantLR(of, factor=1.0, total_iters=0)


def average(kept: nn.Module, network: nn.Module, decay: float, steps_before: int) -> None:
    """Moves `kept` towards `network`, in place: an exponential moving average of its weights and batch statistics.

    The decay starts at 0.1 and rises to `decay`, because the average starts from random weights. Counts of batches are
    copied. Source: `num_updates` in TensorFlow's ExponentialMovingAverage.
    """
    share = 1 - min(decay, (1 + steps_before) / (10 + steps_before))
    for mean, value in zip(kept.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, share)
        else:
            mean.copy_(value)
