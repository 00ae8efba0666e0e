"""Draws are functions of their keys."""

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from segline.model import randomness

KEYS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4).map(tuple)


@given(KEYS)
def test_equal_keys_draw_equal_numbers_whatever_was_drawn_before(key):
    first = randomness.generator(*key).integers(0, 2**32, 5)
    randomness.generator(1, 2, 3).integers(0, 10, 100)
    np.random.default_rng(0).random(3)

    assert first.tolist() == randomness.generator(*key).integers(0, 2**32, 5).tolist()


@given(KEYS, KEYS)
@example((0,), (0, 0))
def test_different_keys_draw_different_numbers(one, other):
    """Except for trailing zeros, which numpy drops; the keys of a stream all have the same length."""
    if one + (0,) * (4 - len(one)) != other + (0,) * (4 - len(other)):
        draws = [randomness.generator(*key).integers(0, 2**63, 4).tolist() for key in (one, other)]
        assert draws[0] != draws[1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 1000), st.integers(0, 50))
def test_an_order_is_a_permutation(seed, epoch, count):
    assert sorted(randomness.permutation(seed, epoch, count).tolist()) == list(range(count))


def test_dropout_of_a_step_depends_only_on_seed_and_step():
    def draw(seed: int, step: int) -> list[float]:
        randomness.reseed(seed, step)
        return torch.rand(3).tolist()

    first = draw(1, 7)
    draw(1, 8)

    assert first == draw(1, 7)
    assert first != draw(2, 7)
    assert first != draw(1, 8)


def test_an_operation_without_a_deterministic_form_raises_instead_of_drifting():
    randomness.deterministic(0)

    assert torch.are_deterministic_algorithms_enabled()
