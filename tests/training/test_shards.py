"""Shards: the bytes of a training do not depend on how many workers compute them, and its gradients are right."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from segline.core.errors import ParameterError, TrainingError
from segline.model import batches, randomness
from segline.networks import unet
from segline.training import loop, losses, shards
from segline.training.augmentation import plan, samples
from segline.training.augmentation.samples import Augmented
from segline.training.group import ALONE, Group
from segline.training.state import State
from tests import tiny
from tests.training import test_loop, together
from tests.training.test_loop import EVERYTHING, WEIGHTS, K, with_

LEVELS = st.integers(0, 5)
BATCH_NORM: dict[str, Any] = {"width": 4, "depth": 1, "norm": "batch", "dropout": 0.2}
PLAIN = {**BATCH_NORM, "norm": "none", "dropout": 0.0}
# Name -> parameters of the training, network, number of samples.
TRAININGS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "shards of one sample": ({}, BATCH_NORM, 8),
    "everything": (EVERYTHING, BATCH_NORM, 10),
    "without batch normalisation": (EVERYTHING, PLAIN, 10),
    "an uneven last batch": ({"batch_size": 7}, BATCH_NORM, 13),
    "a last batch of one, so three empty shards": ({"batch_size": 8}, BATCH_NORM, 9),
    "a split smaller than the workers": ({}, BATCH_NORM, 1),
    "bfloat16": ({"precision": "bfloat16"}, BATCH_NORM, 8),
}


def shown(count: int) -> Augmented:
    """Samples that are changed at random, every third of them void."""
    stored = test_loop.samples(count)
    packed = stored.packed.clone()
    packed[2::3] = 0
    changes = {"rotation": 20.0, "cut_mix": 0.5}
    return Augmented(replace(stored, packed=packed), plan.Section(**tiny.PARAMETERS["augment"] | changes))


def begin(section: loop.Section, network: dict[str, Any], count: int) -> State:
    randomness.deterministic(section.seed)
    built = unet.build(unet.Section(**network), 1, K).to(memory_format=torch.channels_last)
    return loop.start(built, section, count, class_weights=WEIGHTS)


def trained(name: str, together: Group) -> State:
    changes, network, count = TRAININGS[name]
    section = with_(**{"shards": 4, "epochs": 2, **changes})
    state = begin(section, network, count)
    list(loop.fit(state, section, shown(count), test_loop.samples(5, seed=1), group=together))
    return state


def digests(together: Group) -> dict[str, tuple[str, Any]]:
    """What each training ends with."""
    found = {}
    for name in TRAININGS:
        state = trained(name, together)
        content = b"".join(test_loop.contents(state.network) + test_loop.contents(state.kept))
        found[name] = hashlib.sha256(content).hexdigest(), state.history
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, tuple[str, Any]]:
    torch.set_num_threads(1)
    return digests(ALONE)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_workers_gives_the_same_bytes(alone, size):
    assert [alone] * size == together.results(size, digests)


@pytest.mark.gpu
@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_gpus_gives_the_same_bytes(size):
    """Over NCCL."""
    if torch.cuda.device_count() < size:
        pytest.skip(f"needs {size} GPUs")
    cuda = torch.device("cuda")
    [[expected]] = [together.results(1, digests_on_gpu, cuda)]

    assert [expected] * size == together.results(size, digests_on_gpu, cuda)


def digests_on_gpu(together: Group) -> str:
    changes, network, count = TRAININGS["everything"]
    section = with_(**{"shards": 4, "epochs": 2, **changes})
    state = begin(section, network, count)
    state = loop.start(state.network.cuda(), section, count, class_weights=WEIGHTS)
    there = replace(shown(count), samples=moved(shown(count).samples))
    list(loop.fit(state, section, there, moved(test_loop.samples(5, seed=1)), group=together))
    return hashlib.sha256(b"".join(test_loop.contents(state.kept.cpu()))).hexdigest()


def moved(stored: batches.Samples) -> batches.Samples:
    return replace(stored, images=stored.images.cuda(), packed=stored.packed.cuda())


@given(LEVELS.flatmap(lambda level: st.lists(st.floats(-1e3, 1e3, width=32), min_size=2**level, max_size=2**level)))
def test_a_tree_sum_adds_neighbours_level_by_level(values):
    leaves = [torch.tensor([value]) for value in values]
    while len(leaves) > 1:
        leaves = [one + other for one, other in zip(leaves[::2], leaves[1::2], strict=True)]

    assert torch.equal(leaves[0], shards.tree_sum(lambda number: torch.tensor([values[number]]), len(values)))


def leaf(number: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(number).normal(size=99).astype(np.float32))


def sums(together: Group) -> tuple[bytes, list[int]]:
    """Of eight vectors along the tree, and of the ranks."""
    own = together.part(8)
    total = together.tree_sum(shards.tree_sum(leaf, own.stop - own.start, own.start))
    return total.numpy().tobytes(), together.exact_sum(torch.tensor([together.rank, 1])).tolist()


@pytest.mark.slow
def test_workers_add_along_the_same_tree():
    expected = shards.tree_sum(leaf, 8).numpy().tobytes()
    one_by_one = sum(leaf(number) for number in range(8)).numpy().tobytes()

    assert expected != one_by_one
    assert [(expected, [6, 4])] * 4 == together.results(4, sums)


def differing(together: Group) -> str:
    same, other, cpu = "00" * 32, "ff" * 32, torch.device("cpu")
    together.require_same(same, cpu)
    try:
        together.require_same(other if together.rank == 1 else same, cpu)
    except TrainingError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_workers_that_start_from_different_states_all_say_so():
    for line in together.results(2, differing):
        assert line.startswith("train: the workers differ in their machine, their code, their data or the saved state")


def one_step(section: loop.Section, network: dict[str, Any], data: Augmented) -> tuple[State, float]:
    state = begin(section, network, len(data))
    return state, loop.one_pass(state, section, data, number=1)


def gradients(state: State) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in state.network.parameters()])


@pytest.mark.parametrize("name", ["cross_entropy", "weighted_cross_entropy", "focal"])
@pytest.mark.parametrize("count", [8, 7, 3])
def test_shards_have_the_gradients_and_the_loss_of_the_whole_batch(name, count):
    """Up to rounding, where nothing depends on the other samples of a shard; with void, and empty shards."""
    section = with_(loss=[name], batch_size=8, label_smoothing=0.1)
    whole, loss = one_step(section, PLAIN, shown(count))
    cut, sharded_loss = one_step(section.model_copy(update={"shards": 4}), PLAIN, shown(count))

    assert loss == pytest.approx(sharded_loss, rel=1e-5)
    torch.testing.assert_close(gradients(whole), gradients(cut), rtol=1e-3, atol=1e-6)


def parts(data: Augmented, section: loop.Section) -> list[tuple[Tensor, Tensor]]:
    """The shards of the first batch of epoch 1."""
    [images], [onehot] = zip(*samples.shuffled(data, len(data), section.seed, 1), strict=True)
    numbers = np.array_split(np.arange(min(len(data), section.batch_size)), section.shards)
    return [(images[rows], onehot[rows]) for rows in numbers if len(rows)]


def test_dice_is_the_mean_over_the_shards_with_labelled_pixels():
    section = with_(loss=["dice"], shards=4)
    data = replace(shown(4), section=plan.Section(**tiny.PARAMETERS["augment"]))
    _, loss = one_step(section, PLAIN, data)
    network = begin(section, PLAIN, 4).network
    terms = [losses.dice(network(images).log_softmax(dim=1), onehot) for images, onehot in parts(data, section)]
    labelled = [bool(onehot.any()) for _, onehot in parts(data, section)]

    assert 3 == sum(labelled)
    assert loss == pytest.approx(sum(term.item() for term in terms) / 3, rel=1e-5)


def test_running_statistics_move_once_to_the_mean_of_the_shards():
    """Batch means and unbiased variances, as torch computes them for each shard alone."""
    section = with_(batch_size=7, shards=4)
    network = {**BATCH_NORM, "dropout": 0.0}
    state, _ = one_step(section, network, shown(7))
    seen = []
    for images, _ in parts(shown(7), section):
        alone = begin(section, network, 7).network
        [norm, *_] = shards.norms(alone)
        norm.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
        alone(images)
    values = [each.transpose(0, 1).flatten(1) for each in seen]
    [norm, *_] = shards.norms(state.network)

    assert 4 == len(values)
    mean = sum(each.mean(dim=1) for each in values) / 4
    variance = sum(each.var(dim=1, unbiased=True) for each in values) / 4
    torch.testing.assert_close(0.1 * mean, norm.running_mean)
    torch.testing.assert_close(0.9 + 0.1 * variance, norm.running_var)
    assert (1, 0.1) == (int(norm.num_batches_tracked), norm.momentum)


def test_every_shard_has_draws_of_its_own(monkeypatch):
    keys: list[tuple[int, ...]] = []
    monkeypatch.setattr(randomness, "reseed", lambda *key: keys.append(key))
    section = with_(batch_size=4, shards=2)
    one_step(section, PLAIN, shown(8))

    assert [(4, 0, 0), (4, 0, 1), (4, 1, 0), (4, 1, 1)] == keys


def test_a_shard_of_the_same_sample_is_drawn_anew():
    masks = []
    for key in [(1, 2), (1, 2, 1), (1, 2, 2)]:
        randomness.reseed(*key)
        masks.append(torch.rand(4).tolist())

    assert 3 == len({tuple(mask) for mask in masks})


@pytest.mark.parametrize("count", [3, 12, 0])
def test_the_number_of_shards_is_a_power_of_two_and_at_most_the_samples_of_a_batch(count):
    with pytest.raises(ValueError, match=r"power of two|at most the 8 samples|greater than or equal to 1"):
        loop.Section.model_validate(test_loop.SECTION.model_dump() | {"shards": count, "batch_size": 8})


def test_more_shards_than_samples_in_a_batch_are_refused():
    with pytest.raises(ValueError, match="expected at most the 2 samples of a batch"):
        loop.Section.model_validate(test_loop.SECTION.model_dump() | {"shards": 4, "batch_size": 2})


class Counting(nn.Module):
    """A layer with a statistic of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("constant", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        self.largest.copy_(images.max())
        return images * self.constant


def on_meta(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), *layers).to("meta").train()


def require_fit(network: nn.Module) -> None:
    shards.require_fit(network, torch.empty(1, 1, 8, 8, device="meta"))


def test_other_statistics_than_those_of_normalisation_are_refused():
    require_fit(on_meta(nn.BatchNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True)))

    with pytest.raises(ParameterError, match=r"train.shards: 1.largest of the network changes in training"):
        require_fit(on_meta(Counting()))


def test_shards_too_small_for_batch_normalisation_are_refused():
    require_fit(on_meta(nn.AdaptiveAvgPool2d(1)))

    with pytest.raises(TrainingError, match=r"a shard of 1 leaves batch normalisation one value per channel"):
        require_fit(on_meta(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2)))
