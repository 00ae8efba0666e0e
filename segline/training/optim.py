"""Optimisers, schedules of the learning rate, and the moving average of the weights."""

from typing import Any, Literal

from torch import nn, optim
from torch.optim import lr_scheduler

Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine", "one_cycle", "poly"]

SHORTEST_CYCLE = 4  # steps
POWER = 0.9  # of the poly schedule. Source: Chen et al. 2017 (DeepLab), sec. 4.1.2


def optimizer(name: Optimizer, groups: list[dict[str, Any]], weight_decay: float) -> optim.Optimizer:
    """The named optimiser, in its fused form, for `groups` of parameters."""
    kind = optim.Adam if name == "adam" else optim.AdamW
    return kind(groups, weight_decay=weight_decay, fused=True)


def groups(network: nn.Module, rate: float, encoder_rate: float) -> list[dict[str, Any]]:
    """The parameters, and the learning rate of each group: those of `network.encoder` learn at `encoder_rate` times
    `rate`, and come last. With a factor of 1 there is one group, and the network needs no encoder.
    """
    if encoder_rate == 1:
        return [{"params": list(network.parameters()), "lr": rate}]
    encoder = list(network.get_submodule("encoder").parameters())
    inside = {id(parameter) for parameter in encoder}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in inside]
    return [{"params": rest, "lr": rate}, {"params": encoder, "lr": rate * encoder_rate}]


def lr_schedule(name: Schedule, of: optim.Optimizer, steps: int) -> lr_scheduler.LRScheduler:
    """The rate of each group over `steps` steps: its own at the highest and, unless it is constant, near 0 at the end.

    With fewer than four steps one_cycle would stay close to 0; the rate is constant then too.
    """
    if name == "one_cycle" and steps >= SHORTEST_CYCLE:
        # Smith and Topin 2018: up to the full rate in the first 30 % of the steps, then down to almost 0.
        highest = [group["lr"] for group in of.param_groups]
        return lr_scheduler.OneCycleLR(of, highest, total_steps=steps, cycle_momentum=False)
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
