"""A share of an epoch's samples is drawn for rare classes, a function of (seed, epoch); without it nothing changes."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.onehot import VOID
from segline.model import batches
from segline.training import loop, sampling
from segline.training.augmentation import plan
from segline.training.augmentation import samples as augmentation
from tests import tiny
from tests.training import rows

PLAIN = tiny.PARAMETERS["augment"]
N, K = 60, 11


def masks() -> np.ndarray:
    """Classes 0 and 1 share all but a few pixels; 8 is in rows 0 to 3 and 9 in row 7 alone; others have no pixel."""
    drawn = np.random.default_rng(1).integers(0, 2, size=(N, 8, 8)).astype(np.uint8)
    drawn[:4, 2, 2:5] = 8
    drawn[7, 5, 1] = 9
    drawn[3, 5, 1] = VOID
    return drawn


@cache
def half() -> sampling.RareClasses:
    found = sampling.rare_classes(sampling.Rare(rare=0.5), rows.split(masks(), K))
    assert found is not None
    return found


def rare(share: float = 0.5) -> sampling.RareClasses:
    return replace(half(), share=share)


def test_rare_classes_have_pixels_but_less_than_an_even_share_of_them():
    found = rare()

    assert (8, 9) == found.classes
    assert [0, 1, 2, 3] == found.rows(8).tolist()
    assert [7] == found.rows(9).tolist()


@given(st.integers(2, 20), st.integers(0, 999))
def test_rare_classes_and_their_rows_are_those_of_a_loop(num_classes, seed):
    rng = np.random.default_rng(seed)
    drawn = rng.choice([*range(num_classes), VOID], size=(5, 2, 3)).astype(np.uint8)
    pixels = [(drawn == k).sum() for k in range(num_classes)]
    expected = {
        k: [row for row in range(5) if (drawn[row] == k).any()]
        for k in range(num_classes)
        if 0 < pixels[k] < sum(pixels) / num_classes
    }
    found = sampling.rare_classes(sampling.Rare(rare=0.3), rows.split(drawn, num_classes))

    assert expected == ({k: found.rows(k).tolist() for k in found.classes} if found else {})


def test_a_tile_shows_a_class_whose_pixels_it_does_not_own():
    """Samples are whole tiles. The middle of the image is in all four, and one of them owns it."""
    mask = np.zeros((96, 96), np.uint8)
    mask[46:48, 46:48] = 1
    found = sampling.rare_classes(sampling.Rare(rare=0.3), rows.split([mask], 2, rows.TILES))

    assert [0, 1, 2, 3] == found.rows(1).tolist()


def test_pixels_that_several_tiles_show_count_once():
    """Class 1 has 40 of 96 lines, but 68 of the 128 lines of the tiles, which share the 32 in the middle."""
    mask = np.zeros((96, 64), np.uint8)
    mask[20:60] = 1
    found = sampling.rare_classes(sampling.Rare(rare=0.3), rows.split([mask], 2, rows.TILES))

    assert (1,) == found.classes


@pytest.mark.parametrize("how", ["uniform", sampling.Rare(rare=0.5)])
def test_without_a_rare_class_every_row_is_shown_once(how):
    even = rows.split(np.array([[[0, 1, 2, VOID]]] * 5, np.uint8), 3)

    assert sampling.rare_classes(how, even) is None
    assert list(range(5)) == sampling.rows(5, 1, 1, None).tolist()


@given(st.integers(0, 2**32 - 1), st.integers(1, 1000), st.floats(0, 1, exclude_min=True))
def test_the_share_is_drawn_for_rare_classes_and_the_others_are_rows_once_each(seed, epoch, share):
    shown = sampling.rows(N, seed, epoch, rare(share))
    own = shown == np.arange(N)

    assert N == len(shown)
    assert (~own).sum() <= max(1, round(share * N))
    assert {0, 1, 2, 3, 7} >= {*shown[~own].tolist()}
    assert shown.tolist() == sampling.rows(N, seed, epoch, rare(share)).tolist()


def test_classes_are_drawn_evenly_and_then_their_rows():
    """Although class 8 has four rows and class 9 one: half of the draws go to row 7, and an eighth to each other."""
    drawn = Counter(np.concatenate([sampling.rows(N, 1, epoch, rare(1.0)) for epoch in range(1, 201)]).tolist())
    shares = {row: count / (200 * N) for row, count in drawn.items()}

    assert shares == pytest.approx({0: 1 / 8, 1: 1 / 8, 2: 1 / 8, 3: 1 / 8, 7: 1 / 2}, abs=0.015)


@pytest.mark.parametrize(("share", "expected"), [(0.001, 1), (0.33, 20), (0.34, 20)])
def test_the_share_is_rounded_to_samples_and_is_at_least_one(share, expected):
    """The last row alone shows the class, so all samples drawn for it show that row, and it may be its own turn too."""
    present = (np.arange(N) == N - 1).astype(np.uint8)[:, None]
    epochs = [sampling.rows(N, 1, epoch, sampling.RareClasses(share, (0,), present)) for epoch in range(1, 9)]

    assert expected == max((shown != np.arange(N)).sum() for shown in epochs)


def test_any_sample_may_be_drawn_and_epochs_and_seeds_differ():
    epochs = [sampling.rows(N, 1, epoch, rare()) for epoch in range(1, 31)]
    replaced = np.array([shown != np.arange(N) for shown in epochs])

    assert replaced.any(axis=0).all()
    assert not replaced.all(axis=0).any()
    assert 30 == len({shown.tobytes() for shown in epochs})
    assert sampling.rows(N, 2, 1, rare()).tolist() != epochs[0].tolist()


def shown(split: rows.Split, found: sampling.RareClasses | None, **strengths: float) -> augmentation.Augmented:
    placed = batches.load(split.images, split.onehot, len(split.index.classes), torch.device("cpu"))
    return augmentation.Augmented(placed, plan.Section(**PLAIN | strengths), found)


def epoch(augmented: augmentation.Augmented, size: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, onehot = zip(*augmentation.shuffled(augmented, size, 1, 1), strict=True)
    return torch.cat(inputs), torch.cat(onehot)


def test_an_epoch_is_made_of_these_rows_in_the_order_of_the_seed():
    """Rare samples are spread over the epoch; the others stay where they are with uniform sampling."""
    split = rows.split(masks(), K)
    uniform, forced = (epoch(shown(split, found))[1] for found in (None, rare()))
    order = [
        int(row) for row in np.random.Generator(np.random.Philox(np.random.SeedSequence((1, 0, 1)))).permutation(N)
    ]
    places = sampling.rows(N, 1, 1, rare())

    for place, number in enumerate(order):
        expected = batches.onehot(torch.tensor(split.onehot[places[number]][None]), K)
        assert torch.equal(expected[0], forced[place])
        if places[number] == number:
            assert torch.equal(uniform[place], forced[place])
    assert forced[:, 9].sum() > 5 * uniform[:, 9].sum()


@pytest.mark.parametrize("size", [1, 7, 99])
def test_a_rare_epoch_depends_neither_on_the_batch_size_nor_on_streaming(size):
    split = rows.split(masks(), K)
    strengths = {"rotation": 20.0, "noise": 5.0, "cut_mix": 0.5}
    resident = shown(split, rare(), **strengths)
    streamed = batches.Streamed(split.images, split.onehot, K, torch.device("cpu"))
    other = augmentation.Augmented(streamed, resident.section, resident.rare)

    for expected, actual, again in zip(epoch(resident), epoch(resident, size), epoch(other, size), strict=True):
        assert torch.equal(expected, actual)
        assert torch.equal(expected, again)


def test_a_row_that_is_shown_several_times_is_changed_differently_each_time():
    split = rows.split(masks(), K)
    augmented = shown(split, rare(1.0), noise=20.0)
    planned = augmentation.epoch_plan(augmented, 1, 1)
    numbers = np.flatnonzero(planned.rows == 7)
    [(images, _)] = augmentation.views(augmented.samples, planned, [numbers])

    assert len(numbers) > 20
    assert len(numbers) == len({image.numpy().tobytes() for image in images})


def test_the_samples_that_are_not_drawn_for_a_class_are_changed_as_with_uniform_sampling():
    split = rows.split(masks(), K)
    strengths = {"rotation": 20.0, "crop": 0.5, "noise": 5.0}
    uniform, forced = (shown(split, found, **strengths) for found in (None, rare()))
    own = np.flatnonzero(augmentation.epoch_plan(forced, 1, 1).rows == np.arange(N))
    plans = [augmentation.epoch_plan(each, 1, 1) for each in (uniform, forced)]
    [expected], [actual] = (list(augmentation.views(uniform.samples, each, [own])) for each in plans)

    assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))


@pytest.mark.parametrize("value", ["unifrom", None, True, 0.3, [], {}, {"rare": 0.0}, {"rare": 1.1}, {"rare": "0.3"}])
def test_another_value_is_one_problem(value):
    document = {"train": tiny.PARAMETERS["train"] | {"sampling": value}}

    with pytest.raises(ParameterError) as caught:
        params.section(document, "train", loop.Section)

    assert str(caught.value) == (
        "params.yaml: train.sampling: expected uniform, or {rare: share} with a share above 0 and up to 1, "
        f"got {value!r}. Fix the value."
    )


@pytest.mark.parametrize("value", ["uniform", {"rare": 0.33}, {"rare": 1}])
def test_a_value_is_written_as_it_was_read(value):
    adapter = TypeAdapter(sampling.Sampling)

    assert value == adapter.dump_python(adapter.validate_python(value))
