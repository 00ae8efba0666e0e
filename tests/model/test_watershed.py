"""Objects grown from their seeds, compared with a watershed of a few lines."""

import heapq
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segline.core.errors import DataError
from segline.model import watershed
from segline.model.watershed import ONE, Section

HERE = Path("cells.tif")
RULE = Section(smallest=1, seed=0.5)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=10)
EDGES = [(-1, 0), (1, 0), (0, -1), (0, 1)]


@st.composite
def images(draw):
    """Classes (H, W) of 0..2, and the probability of the inside of classes 1 and 2, in few levels: ties are common."""
    shape = draw(SHAPES)
    labels = draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 2)))
    levels = draw(arrays.arrays(np.uint16, (2, *shape), elements=st.integers(0, 4)))
    return labels, levels * np.uint16(ONE // 4)


def components(mask: np.ndarray, near: list[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Connected places of a mask."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        waiting = [min(left)]
        left.discard(waiting[0])
        found.append(set(waiting))
        while waiting:
            y, x = waiting.pop()
            new = {(y + dy, x + dx) for dy, dx in near} & left
            left -= new
            found[-1] |= new
            waiting += new
    return found


def flooded(mask: np.ndarray, inside: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The most probable pixel beside an object joins it, and of equals the one that was beside one first."""
    grown, waiting, age = seeds.copy(), [], 0
    for y, x in np.argwhere(seeds):
        waiting.append((-int(inside[y, x]), 0, int(y), int(x)))
    heapq.heapify(waiting)
    while waiting:
        _, _, y, x = heapq.heappop(waiting)
        for dy, dx in EDGES:
            place = y + dy, x + dx
            within = 0 <= place[0] < mask.shape[0] and 0 <= place[1] < mask.shape[1]
            if within and mask[place] and not grown[place]:
                age += 1
                grown[place] = grown[y, x]
                heapq.heappush(waiting, (-int(inside[place]), age, *place))
    return grown


@given(image=images())
def test_every_seed_is_one_object_of_pixels_of_its_class_that_it_reaches(image):
    labels, inside = image
    found = watershed.find(labels, inside, [1, 2], RULE, HERE)

    assert [*range(1, len(found.classes) + 1)] == np.unique(found.numbers[found.numbers > 0]).tolist()
    assert list(found.classes) == sorted(found.classes)
    for k, probability in zip((1, 2), inside, strict=True):
        seeds = components((labels == k) & (probability >= round(0.5 * ONE)), EDGES)
        owners = [{found.numbers[place] for place in seed} for seed in seeds]

        assert all(len(owner) == 1 for owner in owners)
        assert {number for owner in owners for number in owner} == set(np.flatnonzero(found.classes == k) + 1)
        for region in components(labels == k, EDGES):
            reached = any(seed <= region for seed in seeds)
            assert {found.numbers[place] > 0 for place in region} == {reached}
    assert not found.numbers[labels == 0].any()


@given(data=st.data())
def test_objects_grow_from_the_most_probable_pixels_on(data):
    """The levels of pixels differ, so the order in which they are taken is the only one."""
    shape = data.draw(SHAPES)
    order = data.draw(st.permutations(range(shape[0] * shape[1])))
    inside = (np.array(order, np.uint16).reshape(shape) + 1) * np.uint16(ONE // (len(order) + 1))
    labels = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, 1)))
    seeds = np.zeros(shape, np.int64)
    for number, seed in enumerate(components((labels == 1) & (inside >= round(0.5 * ONE)), EDGES), start=1):
        for place in seed:
            seeds[place] = number

    found = watershed.find(labels, inside[None], [1], RULE, HERE)

    np.testing.assert_array_equal(_by_first(flooded(labels == 1, inside, seeds)), _by_first(found.numbers))


def _by_first(numbers: np.ndarray) -> np.ndarray:
    """Renumbered by the first pixel of each."""
    order = {number: place for place, number in enumerate(dict.fromkeys(numbers[numbers > 0].tolist()), start=1)}
    return np.vectorize(lambda number: order.get(number, 0), otypes=[int])(numbers)


@given(image=images(), smallest=st.integers(1, 30))
def test_none_is_smaller_than_allowed_and_none_that_is_large_enough_is_lost(image, smallest):
    labels, inside = image
    every = watershed.find(labels, inside, [1, 2], RULE, HERE)
    found = watershed.find(labels, inside, [1, 2], Section(smallest=smallest, seed=0.5), HERE)
    areas = np.bincount(every.numbers.ravel(), minlength=1)[1:]

    assert (np.bincount(found.numbers.ravel(), minlength=1)[1:] >= smallest).all()
    assert (areas >= smallest).sum() == len(found.classes)
    for number in np.flatnonzero(areas >= smallest) + 1:
        assert len(np.unique(found.numbers[every.numbers == number])) == 1


@given(image=images())
def test_a_score_is_the_mean_probability_of_the_inside(image):
    labels, inside = image
    found = watershed.find(labels, inside, [1, 2], RULE, HERE)
    for number, (k, score) in enumerate(zip(found.classes, found.scores, strict=True), start=1):
        assert inside[k - 1][found.numbers == number].mean() / ONE == pytest.approx(score)


def test_two_cells_that_touch_are_two_objects_and_their_border_goes_to_the_nearer():
    """A row of a cell, its border, the border of the next, and that."""
    labels = np.ones((3, 9), np.uint8)
    inside = np.tile(np.array([9, 9, 9, 2, 1, 2, 9, 9, 9]) * (ONE // 10), (3, 1)).astype(np.uint16)

    found = watershed.find(labels, inside[None], [1], RULE, HERE)

    assert 2 == len(found.classes)
    assert [1, 1, 1, 1] == found.numbers[1, :4].tolist()
    assert [2, 2, 2, 2] == found.numbers[1, 5:].tolist()


def test_a_seed_that_is_too_small_leaves_its_pixels_to_its_neighbour():
    inside = np.array([[9, 9, 9, 1, 9]], np.uint16) * np.uint16(ONE // 10)

    found = watershed.find(np.ones((1, 5), np.uint8), inside[None], [1], Section(smallest=3, seed=0.5), HERE)

    assert [[1, 1, 1, 1, 1]] == found.numbers.tolist()


def test_an_object_that_is_large_enough_loses_no_pixel_when_others_give_way():
    """With seeds alone, the second flooding would reach pixels in another order."""
    levels = np.array([[0, 3, 1, 1, 1, 3, 1], [2, 1, 2, 3, 3, 0, 1]], np.uint16) * np.uint16(ONE // 3)
    every = watershed.find(np.ones((2, 7), np.uint8), levels[None], [1], RULE, HERE)
    found = watershed.find(np.ones((2, 7), np.uint8), levels[None], [1], Section(smallest=4, seed=0.5), HERE)

    assert [4, 5, 1, 4] == np.bincount(every.numbers.ravel())[1:].tolist()
    for number in (1, 2, 4):
        assert 1 == len(np.unique(found.numbers[every.numbers == number]))
    assert 3 == len(found.classes)


def test_more_objects_than_a_png_can_number_are_refused():
    labels = np.zeros((512, 514), np.uint8)
    labels[::2, ::2] = 1
    labels[1::2, 1::2] = 1
    inside = np.where(np.indices(labels.shape).sum(axis=0) % 2 == 0, ONE, 0).astype(np.uint16)

    with pytest.raises(DataError, match=r"cells\.tif: more than 65535 objects"):
        watershed.find(labels, inside[None], [1], RULE, HERE)


def test_an_image_without_objects_has_none():
    found = watershed.find(np.zeros((4, 5), np.uint8), np.zeros((1, 4, 5), np.uint16), [1], RULE, HERE)

    assert not found.numbers.any()
    assert (0, 0) == (len(found.classes), len(found.scores))


def test_too_large_an_image_is_refused_before_memory_is_taken():
    with pytest.raises(DataError, match=r"cells\.tif: 70000x1000 pixels, expected at most 67108864 in all for objects"):
        watershed.require_size(HERE, 1000, 70_000, "objects", "Cut it.")
