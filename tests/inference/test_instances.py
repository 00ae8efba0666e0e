"""Objects compared with those of a flood fill, pixel by pixel."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segline.core.errors import DataError
from segline.inference import instances
from segline.preprocessing.image_files import png

HERE = Path("frame.png")
MASKS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))


def flood(mask: np.ndarray, k: int) -> set[frozenset[tuple[int, int]]]:
    """The objects of class k as sets of places."""
    left = {(int(y), int(x)) for y, x in np.argwhere(mask == k)}
    objects = set()
    while left:
        waiting, object_ = [left.pop()], set()
        while waiting:
            y, x = waiting.pop()
            object_.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting += near
        objects.add(frozenset(object_))
    return objects


@given(mask=MASKS, chosen=st.lists(st.integers(0, 3), unique=True))
def test_objects_are_those_of_a_flood_fill(mask, chosen):
    numbers, objects = instances.find(mask, chosen, HERE)
    places = {one.number: frozenset(map(tuple, np.argwhere(numbers == one.number).tolist())) for one in objects}

    assert [*range(1, len(objects) + 1)] == [one.number for one in objects]
    for k in chosen:
        assert flood(mask, k) == {places[one.number] for one in objects if one.class_index == k}
    assert ((numbers > 0) == np.isin(mask, chosen)).all()


@given(mask=MASKS)
def test_area_box_and_centroid_are_those_of_the_object_s_pixels(mask):
    numbers, objects = instances.find(mask, [1, 2], HERE)
    for one in objects:
        y, x = np.nonzero(numbers == one.number)

        assert (x.size, x.min(), y.min()) == (one.area, one.left, one.top)
        assert (np.ptp(x) + 1, np.ptp(y) + 1) == (one.width, one.height)
        assert (x.mean(), y.mean()) == pytest.approx((one.x, one.y))
        assert set(mask[numbers == one.number]) == {one.class_index}


def dots(count: int) -> np.ndarray:
    """A mask of `count` pixels of class 1 that do not touch."""
    mask = np.zeros((600, 600), np.uint8)
    places = [(2 * (n // 300), 2 * (n % 300)) for n in range(count)]
    mask[tuple(np.array(places).T)] = 1
    return mask


def test_65535_objects_have_numbers_and_one_more_is_refused():
    numbers, objects = instances.find(dots(65_535), [1], HERE)

    assert (65_535, 65_535) == (len(objects), numbers.max())
    with pytest.raises(DataError, match=r"frame\.png: more than 65535 objects"):
        instances.find(dots(65_536), [1], HERE)
    with pytest.raises(DataError, match="more than 65535 objects"):
        instances.find(dots(65_535), [0, 1], HERE)


def test_the_file_contains_the_numbers_in_16_bits():
    numbers = np.array([[0, 1], [300, 65_535]], np.uint16)
    read = cv2.imdecode(np.frombuffer(png.encoded(numbers), np.uint8), cv2.IMREAD_UNCHANGED)

    assert read.dtype == np.uint16
    assert (numbers == read).all()
