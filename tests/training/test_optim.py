"""Schedules have their shapes; the moving average is the recurrence computed by hand."""

import pytest
import torch
from torch import nn

from segline.networks import unet
from segline.training import optim

STEPS, RATE = 50, 0.2


def rates(name: str, steps: int = STEPS) -> list[float]:
    optimizer = optim.optimizer("adam", optim.groups(nn.Linear(1, 1), RATE, 1.0), 0.0)
    schedule = optim.lr_schedule(name, optimizer, steps)
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


@pytest.mark.parametrize("name", optim.Schedule.__args__)
def test_the_encoder_learns_at_its_share_of_the_rate_at_every_step(name):
    network = nn.ModuleDict({"head": nn.Linear(1, 1), "encoder": nn.Linear(1, 1)})
    optimizer = optim.optimizer("adamw", optim.groups(network, RATE, 0.1), 0.0)
    schedule = optim.lr_schedule(name, optimizer, STEPS)
    for step in range(STEPS):
        of_the_rest, of_the_encoder = schedule.get_last_lr()

        assert 0.1 * of_the_rest == pytest.approx(of_the_encoder)
        assert rates(name)[step] == of_the_rest
        optimizer.step()
        schedule.step()


def test_every_parameter_is_in_one_group():
    network = unet.build(unet.Section(width=4, depth=1, norm="batch", dropout=0.0), 3, 2)
    rest, encoder = (group["params"] for group in optim.groups(network, RATE, 0.1))

    assert [id(each) for each in network.encoder.parameters()] == [id(each) for each in encoder]
    assert {id(each) for each in network.parameters()} == {id(each) for each in [*rest, *encoder]}
    assert len(list(network.parameters())) == len(rest) + len(encoder)


def test_a_factor_of_1_is_one_group_and_needs_no_encoder():
    network = nn.Linear(1, 1)

    assert [{"params": list(network.parameters()), "lr": RATE}] == optim.groups(network, RATE, 1.0)


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
