"""Schedules have their shapes; the moving average is the recurrence computed by hand."""

import pytest
import torch
from torch import nn

from segline.training import optim

STEPS, RATE = 50, 0.2


def rates(name: str, steps: int = STEPS) -> list[float]:
    optimizer = optim.optimizer("adam", nn.Linear(1, 1).parameters(), RATE, 0.0)
    schedule = optim.lr_schedule(name, optimizer, RATE, steps)
    values = []
    for _ in range(steps):
        values.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return values


def test_poly_falls_with_the_power_of_nine_tenths():
    assert [RATE * (1 - step / STEPS) ** 0.9 for step in range(STEPS)] == pytest.approx(rates("poly"))


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "poly"])
def test_every_schedule_reaches_the_full_rate_and_ends_near_0(name):
    values = rates(name)

    assert RATE == pytest.approx(max(values), rel=0.01)
    assert values[-1] < 0.05 * RATE


def test_one_cycle_over_fewer_than_four_steps_is_constant():
    """Its rates would otherwise be a millionth of the one asked for."""
    assert [RATE] * 3 == rates("one_cycle", 3)
    assert RATE > rates("one_cycle", 4)[0]


def network(value: float) -> nn.Module:
    """One weight, and batch statistics with a count."""
    norm = nn.BatchNorm2d(1)
    with torch.no_grad():
        norm.weight.fill_(value)
        norm.running_mean.fill_(-value)
        norm.num_batches_tracked.fill_(round(value))
    return norm


def test_the_average_is_the_recurrence_by_hand():
    kept, decay, mean = network(0.0), 0.35, 0.0
    for step, value in enumerate([7.0, 3.0, 8.0, -2.0, 5.0, 1.0]):
        optim.average(kept, network(value), decay, step)
        now = [1 / 10, 2 / 11, 3 / 12, 4 / 13, 0.35, 0.35][step]
        mean = now * mean + (1 - now) * value

    assert mean == pytest.approx(kept.weight.item())
    assert -mean == pytest.approx(kept.running_mean.item())
    assert 1 == kept.num_batches_tracked.item()
