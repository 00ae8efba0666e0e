"""The loop learns, repeats itself bit for bit, and stops when it must."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from segline.core.errors import ParameterError, TrainingError
from segline.dataset.history import Epoch
from segline.model import batches, forward, randomness
from segline.networks import small_unet, unet
from segline.training import loop, losses
from segline.training.augmentation import plan
from segline.training.augmentation.samples import Augmented
from segline.training.state import State
from tests import tiny

K = 3
WEIGHTS = (1.0, 0.75, 1.5)
EVERYTHING: dict[str, Any] = {
    "loss": ["cross_entropy", "weighted_cross_entropy", "dice", "focal"],
    "label_smoothing": 0.1,
    "clip_norm": 0.5,
    "ema": 0.8,
    "frozen_epochs": 1,
    "encoder_rate": 0.5,
}
SECTION = loop.Section(
    seed=4,
    epochs=3,
    batch_size=4,
    shards=1,
    sampling="uniform",
    loss=["cross_entropy"],
    label_smoothing=0.0,
    optimizer="adamw",
    learning_rate=0.01,
    weight_decay=0.01,
    schedule="one_cycle",
    clip_norm=0.0,
    ema=0.0,
    start_from=None,
    frozen_epochs=0,
    encoder_rate=1.0,
    patience=0,
    precision="float32",
    compile=False,
    keep="best",
)


def samples(count: int, seed: int = 0, owned: np.ndarray | None = None) -> batches.Samples:
    """Images whose brightness is their class, in vertical thirds: easy to learn."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, size=(count, 1, 3)).repeat(8, axis=1).repeat(4, axis=2)
    images = (labels[..., None] * 100 + rng.integers(0, 20, size=(*labels.shape, 1))).astype(np.uint8)
    packed = (1 << labels)[..., None].astype(np.uint8)
    return batches.load(images, packed, K, torch.device("cpu"), owned)


def shown(count: int) -> Augmented:
    """Samples with every augmentation off."""
    return Augmented(samples(count), plan.Section(**tiny.PARAMETERS["augment"]))


def with_(**changes: Any) -> loop.Section:
    return SECTION.model_copy(update=changes)


def begin(section: loop.Section, count: int = 10, dropout: float = 0.2) -> State:
    randomness.deterministic(section.seed)
    network = unet.build(unet.Section(width=4, depth=1, norm="batch", dropout=dropout), 1, K)
    return loop.start(network.to(memory_format=torch.channels_last), section, count, class_weights=WEIGHTS)


def go_on(state: State, section: loop.Section) -> State:
    list(loop.fit(state, section, shown(10), samples(5, seed=1)))
    return state


def run(section: loop.Section) -> State:
    return go_on(begin(section), section)


def contents(network: nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in network.state_dict().values()]


def weights(state: State) -> list[bytes]:
    return contents(state.network)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle", "poly"])
def test_the_same_parameters_give_the_same_bytes(optimizer, schedule):
    section = with_(optimizer=optimizer, schedule=schedule)
    one, other = run(section), run(section)

    assert weights(one) == weights(other)
    assert one.history == other.history


def test_another_seed_gives_different_weights():
    assert weights(run(SECTION)) != weights(run(with_(seed=5)))


def test_it_learns_an_easy_task():
    section = with_(epochs=30, learning_rate=0.05, batch_size=2)
    history = run(section).history

    assert history[-1].train_loss < 0.3 * history[0].train_loss
    assert history[-1].val_miou > 0.9


def test_a_run_that_stops_and_continues_equals_one_that_did_not_stop():
    """The state of a run is one value, and every draw depends only on (seed, epoch or step)."""
    stopped = begin(SECTION)
    epochs: Iterator[Epoch] = loop.fit(stopped, SECTION, shown(10), samples(5, seed=1))
    next(epochs)
    epochs.close()
    torch.manual_seed(999)
    go_on(stopped, SECTION)

    assert weights(run(SECTION)) == weights(stopped)
    assert run(SECTION).history == stopped.history


@pytest.mark.parametrize("changes", [{"ema": 0.9}, EVERYTHING], ids=["ema", "everything"])
def test_two_epochs_and_two_of_a_copy_are_four(changes):
    """With one_cycle and dropout; training the original further does not change the copy."""
    section = with_(epochs=4, **changes)
    original = begin(section)
    epochs = loop.fit(original, section, shown(10), samples(5, seed=1))
    next(epochs)
    next(epochs)
    copied = copy.deepcopy(original)
    list(epochs)
    go_on(copied, section)
    at_once = run(section)

    for state in (original, copied):
        assert weights(at_once) == weights(state)
        assert contents(at_once.kept) == contents(state.kept)
        assert at_once.history == state.history
        assert all(torch.equal(tensor, state.best[name]) for name, tensor in at_once.best.items())


def test_the_first_of_equally_good_epochs_is_kept():
    state = run(SECTION)
    best = max(epoch.val_miou for epoch in state.history)

    assert state.best_epoch.epoch == [epoch.val_miou for epoch in state.history].index(best) + 1


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_best_weights_are_those_of_the_best_epoch(ema):
    state = begin(section := with_(ema=ema))
    seen = {}
    for epoch in loop.fit(state, section, shown(10), samples(5, seed=1)):
        seen[epoch.epoch] = [tensor.clone() for tensor in state.kept.state_dict().values()]

    assert all(torch.equal(a, b) for a, b in zip(seen[state.best_epoch.epoch], state.best.values(), strict=True))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.01, 0.01, 0.01]),
        ("cosine", [0.01, 0.0075, 0.0025]),
        ("poly", [0.01, 0.01 * (2 / 3) ** 0.9, 0.01 * (1 / 3) ** 0.9]),
    ],
)
def test_the_rate_follows_its_schedule(schedule, expected):
    state = run(with_(schedule=schedule))

    assert [epoch.learning_rate for epoch in state.history] == pytest.approx(expected)


def test_one_cycle_rises_to_the_full_rate_and_ends_near_0():
    state = run(with_(epochs=20))
    rates = [epoch.learning_rate for epoch in state.history]

    assert rates[0] == pytest.approx(0.01 / 25)
    assert max(rates) == pytest.approx(0.01, rel=0.02)
    assert rates[-1] < 0.02 * max(rates)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    section = with_(schedule="constant")
    state = begin(section)
    with torch.no_grad():
        state.network.head.weight[0, 0] = torch.nan

    with pytest.raises(TrainingError, match=r"loss is nan at step 1 of epoch 1; no model is written") as caught:
        list(loop.fit(state, section, shown(10), samples(5)))

    assert str(caught.value).endswith(". Lower train.learning_rate.")


def test_float32_is_a_remedy_only_if_it_is_not_in_use():
    """bfloat16 needs no special hardware here: the first loss is not finite on any."""
    section = with_(precision="bfloat16")
    state = begin(section)
    with torch.no_grad():
        state.network.head.weight[0, 0] = torch.nan

    with pytest.raises(TrainingError, match=r"Lower train.learning_rate, or use float32\.$"):
        go_on(state, section)


def test_a_val_loss_that_is_not_finite_stops_it_too():
    """The loss of the step was finite, but val loss after it is not."""
    section = with_(schedule="constant")
    state = begin(section)
    epochs = loop.fit(state, section, shown(10), samples(5))
    state.network.head.register_forward_hook(
        lambda module, _, out: out if module.training else torch.full_like(out, torch.inf)
    )

    with pytest.raises(TrainingError, match=r"val loss is nan after epoch 1; no model is written"):
        next(epochs)

    assert state.history == []


def test_every_step_is_counted():
    steps = []
    list(loop.fit(begin(SECTION), SECTION, shown(10), samples(5), lambda: steps.append(1)))

    assert SECTION.epochs * loop.num_steps(SECTION, 10) == len(steps)


def test_val_scores_are_those_of_the_whole_split_whatever_the_batch_size():
    one = run(with_(epochs=1))
    section = with_(epochs=1, batch_size=10)
    other = begin(section)
    other.network.load_state_dict(one.network.state_dict())

    first, scores = loop._validate(one, SECTION, samples(5, seed=1))
    second, same = loop._validate(other, section, samples(5, seed=1))

    assert first == pytest.approx(second)
    assert scores.accuracy == same.accuracy


def test_on_val_a_pixel_counts_only_in_the_sample_that_owns_it():
    """Loss and scores are those of masks whose other pixels are void."""
    owned = np.array([(0, 8, 0, 5), (2, 3, 0, 12), (0, 8, 5, 12), (4, 8, 1, 2), (0, 8, 0, 12)])
    parts, whole = samples(5, seed=1, owned=owned), samples(5, seed=1)
    void = whole.packed.clone()
    for row, (top, bottom, left, right) in enumerate(owned):
        void[row, :top] = void[row, bottom:] = void[row, :, :left] = void[row, :, right:] = 0
    state = run(with_(epochs=1))
    section = with_(loss=["cross_entropy", "dice"])

    counted, expected, everything = (
        loop._validate(state, section, each) for each in (parts, replace(whole, packed=void), whole)
    )

    assert repr(expected) == repr(counted)
    assert everything[0] != counted[0]
    assert everything[1].accuracy != counted[1].accuracy


def test_the_only_class_is_that_of_the_pixels_that_count():
    """A network that predicts class 1 on the left and 2 on the right, and samples that own their left or right part."""
    state = begin(section := with_(keep="last"))

    def halves(_module: nn.Module, _inputs: object, logits: torch.Tensor) -> torch.Tensor:
        fixed = torch.zeros_like(logits)
        fixed[:, 1, :, :6] = fixed[:, 2, :, 6:] = 1.0
        return fixed

    state.network.head.register_forward_hook(halves)
    data = samples(5, seed=1)

    assert 1 == loop.only_class(state, section, replace(data, owned=np.array([(0, 8, 0, 6)] * 5)))
    assert 2 == loop.only_class(state, section, replace(data, owned=np.array([(0, 8, 6, 12)] * 5)))
    assert loop.only_class(state, section, data) is None


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no bfloat16")
def test_bfloat16_repeats_itself_and_stays_near_float32():
    section = with_(precision="bfloat16")

    assert weights(run(section)) == weights(run(section))
    assert run(section).history[0].train_loss == pytest.approx(run(SECTION).history[0].train_loss, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERYTHING["loss"])
def test_every_loss_learns_an_easy_task(name):
    history = run(with_(epochs=20, learning_rate=0.05, batch_size=2, loss=[name])).history

    assert history[-1].train_loss < 0.5 * history[0].train_loss
    assert max(epoch.val_miou for epoch in history) > 0.8


def test_val_loss_is_the_loss_that_is_trained_on():
    section = with_(**EVERYTHING, epochs=1, batch_size=10)
    state = run(section)
    images, onehot = next(batches.in_order(samples(5, seed=1), 10, batches.MEAN, batches.STD))
    criterion = losses.criterion(section.loss, section.label_smoothing, torch.tensor(WEIGHTS))

    assert criterion(forward.logits(state.kept, images), onehot).item() == pytest.approx(state.history[0].val_loss)


def gradient_norms(section: loop.Section) -> list[float]:
    """The norm of the gradient at each step of an epoch."""
    state, norms = begin(section), []

    def note() -> None:
        gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
        norms.append(nn.utils.get_total_norm(gradients).item())

    loop.one_pass(state, section, shown(10), 1, note)
    return norms


def test_a_large_gradient_is_scaled_to_the_norm_and_a_small_one_is_left():
    free = gradient_norms(SECTION)
    limit = sorted(free)[1]

    assert pytest.approx(min(free[0], limit), rel=1e-4) == gradient_norms(with_(clip_norm=limit))[0]
    assert max(gradient_norms(with_(clip_norm=0.01))) == pytest.approx(0.01, rel=1e-3)
    assert free == gradient_norms(with_(clip_norm=1e9))


def test_the_average_is_validated_and_kept_and_the_network_trains_on_unchanged():
    """Averaging does not affect training: the weights are those of a run without it."""
    section = with_(ema=0.9)
    averaged, plain = run(section), run(SECTION)
    of_average, _ = loop._validate(averaged, section, samples(5, seed=1))
    of_network, _ = loop._validate(replace(averaged, kept=averaged.network), section, samples(5, seed=1))

    assert weights(plain) == weights(averaged)
    assert plain.kept is plain.network
    assert averaged.history[-1].val_loss == of_average != of_network
    assert [e.train_loss for e in plain.history] == [e.train_loss for e in averaged.history]


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_that_many_epochs_after_the_best(patience):
    """With so small a rate nothing improves after the first epoch."""
    section = with_(epochs=9, learning_rate=1e-12, weight_decay=0.0, schedule="constant", ema=0.0, patience=patience)
    state = begin(section)
    for module in state.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    go_on(state, section)

    assert 1 == state.best_epoch.epoch
    assert 1 + patience == len(state.history)
    assert [] == list(loop.fit(state, section, shown(10), samples(5, seed=1)))


def test_patience_starts_again_after_a_better_epoch():
    state = begin(SECTION)
    scores = [0.1, 0.3, 0.2, 0.3, 0.4]
    since = []
    for number, score in enumerate(scores, 1):
        state.history.append(Epoch(number, 0.01, 1.0, 1.0, 0.5, score))
        since.append(state.epochs_since_best)

    assert [0, 0, 1, 2, 0] == since


def test_frozen_epochs_leave_the_encoder_as_it_is():
    """Its weights and batch statistics; the rest learns, and later the encoder does too."""
    section = with_(frozen_epochs=2, ema=0.5)
    state = begin(section)
    epochs = loop.fit(state, section, shown(10), samples(5, seed=1))
    before = copy.deepcopy(state.network)

    for _ in range(2):
        next(epochs)
        assert contents(before.encoder) == contents(state.network.encoder) == contents(state.kept.encoder)
    assert not set(contents(before.head)) & set(contents(state.network.head))

    next(epochs)
    unchanged = zip(contents(before.encoder), contents(state.network.encoder), strict=True)
    assert not any(old == new for old, new in unchanged)


@pytest.mark.parametrize(("key", "value", "without"), [("frozen_epochs", 1, "0"), ("encoder_rate", 0.1, "1.0")])
def test_an_encoder_is_asked_for_where_the_network_has_none(key, value, without):
    network = small_unet.build(small_unet.Section(width=2), 1, K)

    with pytest.raises(ParameterError) as caught:
        loop.start(network, with_(**{key: value}), 10)

    assert str(caught.value) == (
        f"params.yaml: train.{key}: {value}, but the network has no part named encoder. "
        f"Write {without}, or choose another model.name."
    )


def test_an_encoder_with_a_small_rate_moves_less_than_the_rest():
    """One step of Adam moves every weight by about the rate of its group."""
    section = with_(encoder_rate=0.01, epochs=1, batch_size=10, schedule="constant", weight_decay=0.0)
    state = begin(section)
    before = copy.deepcopy(state.network)
    loop.one_pass(state, section, shown(10), 1)
    pairs = zip(before.named_parameters(), state.network.parameters(), strict=True)
    moved = {name: float((new.detach() - old.detach()).abs().max()) for (name, old), new in pairs}
    rates = {name: 1e-4 if name.startswith("encoder.") else 1e-2 for name in moved}

    assert rates == pytest.approx(moved, rel=0.01)


def test_the_history_has_the_rate_of_the_rest():
    section = with_(encoder_rate=0.1, schedule="constant")

    assert [0.01] * 3 == [epoch.learning_rate for epoch in run(section).history]


def tiny_images(count: int) -> Augmented:
    """2x2 pixels, which are a single one after a pool."""
    full = shown(count)
    small = batches.Samples(full.samples.images[:, :2, :2], full.samples.packed[:, :2, :2], K)
    return replace(full, samples=small)


def test_a_single_value_per_channel_is_reported_with_the_parameter_to_change():
    with pytest.raises(TrainingError, match=r"^params.yaml: train.batch_size: a batch of 1 leaves batch normalisation"):
        loop.one_pass(begin(SECTION), SECTION, tiny_images(5), 1)

    loop.one_pass(begin(SECTION), SECTION, tiny_images(6), 1)


def test_another_value_error_is_not_mistaken_for_it():
    state = begin(SECTION)
    state.network.head.register_forward_pre_hook(lambda *_: int("x"))

    with pytest.raises(ValueError, match="invalid literal"):
        loop.one_pass(state, SECTION, shown(4), 1)


class Reads(TorchDispatchMode):
    """Counts the tensors whose values the host reads: on a GPU each read waits for everything queued."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device():
    section = with_(**EVERYTHING)
    state = begin(section, dropout=0.0)  # on a CPU dropout reads its seed, on a GPU it does not
    counts = []
    with Reads() as reads:
        loop.one_pass(state, section, shown(10), 1, lambda: counts.append(reads.count))
        float(torch.ones(1))

    assert [0, 0, 0] == counts
    assert reads.count > 0


@pytest.mark.parametrize("owned", [None, np.array([(0, 8, 0, 6)] * 10)], ids=["images", "tiles"])
def test_validation_waits_for_the_device_only_at_its_end(owned):
    state = begin(SECTION)
    with Reads() as reads:
        loop._validate(state, SECTION, samples(10, owned=owned))

    assert 0 == reads.count


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch built for CUDA")
@pytest.mark.parametrize("stream", [False, True], ids=["on the device", "streamed"])
def test_no_step_waits_for_a_gpu(stream):
    """With everything on; torch raises if something waits. An epoch before it does what happens only once."""
    section = with_(**EVERYTHING)
    randomness.deterministic(section.seed)
    network = unet.build(unet.Section(width=4, depth=1, norm="batch", dropout=0.2), 1, K).cuda()
    state = loop.start(network, section, 10, class_weights=WEIGHTS)
    data, there = samples(10), torch.device("cuda")
    arrays = data.images.numpy(), data.packed.numpy()
    placed = batches.Streamed(*arrays, K, there) if stream else batches.load(*arrays, K, there)
    train = Augmented(placed, plan.Section(**tiny.PARAMETERS["augment"] | {"cut_mix": 0.5, "noise": 5.0}))
    loop.one_pass(state, section, train, 1)
    steps = []

    def step_done() -> None:
        steps.append(1)
        if len(steps) == loop.num_steps(section, 10):
            torch.cuda.set_sync_debug_mode("default")

    torch.cuda.set_sync_debug_mode("error")
    try:
        loop.one_pass(state, section, train, 2, step_done)
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert 3 == len(steps)
