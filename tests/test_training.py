"""The loop learns, repeats itself bit for bit, and stops where it must."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from segline import augmentation, batches, draws, randomness, training
from segline.errors import TrainingError
from segline.networks import unet
from tests import tiny

K = 3
SECTION = training.Section(
    seed=4,
    epochs=3,
    batch_size=4,
    optimizer="adamw",
    learning_rate=0.01,
    weight_decay=0.01,
    schedule="one_cycle",
    precision="float32",
    keep="best",
)


def samples(count: int, seed: int = 0) -> batches.Samples:
    """Images whose brightness is their class, in vertical thirds: easy to learn."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, size=(count, 1, 3)).repeat(8, axis=1).repeat(4, axis=2)
    images = (labels[..., None] * 100 + rng.integers(0, 20, size=(*labels.shape, 1))).astype(np.uint8)
    packed = (1 << labels)[..., None].astype(np.uint8)
    return batches.load(images, packed, K, torch.device("cpu"))


def shown(count: int) -> augmentation.Augmented:
    """Samples with every augmentation off."""
    return augmentation.Augmented(samples(count), draws.Section(**tiny.PARAMETERS["augment"]))


def begin(section: training.Section, count: int = 10) -> training.State:
    randomness.deterministic(section.seed)
    network = unet.build(unet.Section(width=4, depth=1, norm="batch", dropout=0.2), 1, K)
    return training.start(network.to(memory_format=torch.channels_last), section, count)


def run(section: training.Section) -> training.State:
    state = begin(section)
    list(training.fit(state, section, shown(10), samples(5, seed=1)))
    return state


def weights(state: training.State) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in state.network.state_dict().values()]


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_the_same_parameters_give_the_same_bytes(optimizer, schedule):
    section = SECTION.model_copy(update={"optimizer": optimizer, "schedule": schedule})
    one, other = run(section), run(section)

    assert weights(one) == weights(other)
    assert one.history == other.history


def test_another_seed_gives_other_weights():
    assert weights(run(SECTION)) != weights(run(SECTION.model_copy(update={"seed": 5})))


def test_it_learns_an_easy_task():
    section = SECTION.model_copy(update={"epochs": 30, "learning_rate": 0.05, "batch_size": 2})
    history = run(section).history

    assert history[-1].train_loss < 0.3 * history[0].train_loss
    assert history[-1].val_miou > 0.9


def test_a_run_that_stops_and_goes_on_is_the_run_that_did_not_stop():
    """The whole state of a run is one value, and every draw depends on (seed, epoch or step) alone."""
    stopped = begin(SECTION)
    loop: Iterator[training.Epoch] = training.fit(stopped, SECTION, shown(10), samples(5, seed=1))
    next(loop)
    loop.close()
    torch.manual_seed(999)
    list(training.fit(stopped, SECTION, shown(10), samples(5, seed=1)))

    assert weights(run(SECTION)) == weights(stopped)
    assert run(SECTION).history == stopped.history


def test_the_first_of_equally_good_epochs_is_kept():
    state = run(SECTION)
    best = max(epoch.val_miou for epoch in state.history)

    assert state.best_epoch.epoch == [epoch.val_miou for epoch in state.history].index(best) + 1


def test_the_best_weights_are_those_of_the_best_epoch():
    state = begin(SECTION)
    seen = {}
    for epoch in training.fit(state, SECTION, shown(10), samples(5, seed=1)):
        seen[epoch.epoch] = [tensor.clone() for tensor in state.network.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(seen[state.best_epoch.epoch], state.best.values(), strict=True))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.01, 0.01, 0.01]), ("cosine", [0.01, 0.0075, 0.0025])],
)
def test_the_rate_follows_its_schedule(schedule, expected):
    state = run(SECTION.model_copy(update={"schedule": schedule}))

    assert [epoch.learning_rate for epoch in state.history] == pytest.approx(expected)


def test_one_cycle_rises_to_the_full_rate_and_ends_at_nothing():
    state = run(SECTION.model_copy(update={"epochs": 20}))
    rates = [epoch.learning_rate for epoch in state.history]

    assert rates[0] == pytest.approx(0.01 / 25)
    assert max(rates) == pytest.approx(0.01, rel=0.02)
    assert rates[-1] < 0.02 * max(rates)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    section = SECTION.model_copy(update={"schedule": "constant"})
    state = begin(section)
    with torch.no_grad():
        state.network.head.weight[0, 0] = torch.nan

    with pytest.raises(TrainingError, match=r"loss is nan at step 1 of epoch 1; no model is written") as caught:
        list(training.fit(state, section, shown(10), samples(5)))

    assert "Lower train.learning_rate" in str(caught.value)


def test_a_val_loss_that_is_not_finite_stops_it_too():
    """One huge step: its own loss was finite, what it led to is not."""
    section = SECTION.model_copy(update={"schedule": "constant"})
    state = begin(section)
    loop = training.fit(state, section, shown(10), samples(5))
    state.network.head.register_forward_hook(
        lambda module, _, out: out if module.training else torch.full_like(out, torch.inf)
    )

    with pytest.raises(TrainingError, match=r"val loss is nan after epoch 1; no model is written"):
        next(loop)

    assert state.history == []


def test_every_step_is_counted():
    steps = []
    list(training.fit(begin(SECTION), SECTION, shown(10), samples(5), lambda: steps.append(1)))

    assert SECTION.epochs * training.num_steps(SECTION, 10) == len(steps)


def test_val_scores_are_those_of_the_whole_split_whatever_the_batch_size():
    one = run(SECTION.model_copy(update={"epochs": 1}))
    section = SECTION.model_copy(update={"epochs": 1, "batch_size": 10})
    other = begin(section)
    other.network.load_state_dict(one.network.state_dict())

    first, scores = training._validate(one.network, SECTION, samples(5, seed=1))
    second, same = training._validate(other.network, section, samples(5, seed=1))

    assert first == pytest.approx(second)
    assert scores.accuracy == same.accuracy


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no bfloat16")
def test_bfloat16_repeats_itself_and_stays_near_float32():
    section = SECTION.model_copy(update={"precision": "bfloat16"})

    assert weights(run(section)) == weights(run(section))
    assert run(section).history[0].train_loss == pytest.approx(run(SECTION).history[0].train_loss, rel=0.05)
