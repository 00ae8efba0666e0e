"""Borders are what the definition says, pixel by pixel, however the image is read."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset.objects import Objects, table
from segline.dataset.onehot import VOID
from segline.dataset.raw import Label
from segline.preprocessing import object_borders

CLASSES = tuple(Label(name, (number,) * 3) for number, name in enumerate(("sky", "car", "road", "cat")))
CAR, ROAD, CAT, CAR_BORDER, CAT_BORDER = 1, 2, 3, 4, 5


def borders(width: int) -> object_borders.Borders:
    objects = Objects(("car", "cat"), width)
    return object_borders.borders(table(CLASSES, objects), objects)


def split(labels: np.ndarray, numbers: np.ndarray, width: int, cuts: list[int]) -> np.ndarray:
    """Those of a whole image that is given in strips which end at the cuts."""
    parts = zip(*(np.split(array, cuts) for array in (labels, numbers)), strict=True)
    of = borders(width)
    return np.concatenate(
        [found for found, _ in of.split((each, of.numbered(each, numbers)) for each, numbers in parts)]
    )


def by_definition(labels: np.ndarray, numbers: np.ndarray, width: int) -> np.ndarray:
    """The same, one pixel after the other."""
    found = labels.copy()
    own = np.where(np.isin(labels, (CAR, CAT)), numbers, 0)
    for y, x in np.argwhere(np.isin(labels, (CAR, CAT))):
        near = own[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
        if own[y, x] == 0:
            found[y, x] = VOID
        elif (near != own[y, x]).any():
            found[y, x] = {CAR: CAR_BORDER, CAT: CAT_BORDER}[int(labels[y, x])]
    return found


@st.composite
def drawings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, list[int]]:
    """Boxes of several classes on void, sky or cars without numbers, a border and where strips end."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    labels = np.full((height, width), draw(st.sampled_from([VOID, 0, CAR])), np.uint8)
    numbers = np.zeros((height, width), np.uint16)
    for number in range(1, draw(st.integers(0, 6)) + 1):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        place = slice(top, top + draw(st.integers(1, 16))), slice(left, left + draw(st.integers(1, 16)))
        labels[place] = draw(st.sampled_from([CAR, CAT, ROAD]))
        numbers[place] = number * draw(st.sampled_from([1, 9000]))
    cuts = draw(st.lists(st.integers(1, max(1, height - 1)), unique=True).map(sorted)) if height > 1 else []
    return labels, numbers, draw(st.integers(1, 4)), cuts


@given(drawings())
def test_a_border_is_near_what_is_not_its_object(drawing):
    labels, numbers, width, cuts = drawing

    np.testing.assert_array_equal(by_definition(labels, numbers, width), split(labels, numbers, width, cuts))


def test_the_edge_of_the_image_is_no_border_but_its_neighbour_is():
    row = split(np.full((3, 6), CAR, np.uint8), np.array([[7, 7, 7, 8, 8, 8]] * 3, np.uint16), 1, [1, 2])

    assert [[CAR, CAR, CAR_BORDER, CAR_BORDER, CAR, CAR]] * 3 == row.tolist()


def test_lines_are_passed_on_as_soon_as_nothing_below_can_change_them():
    """Not only once the image is read: it may not fit into memory."""
    read: list[int] = []

    def strips() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in range(10):
            read.append(number)
            yield np.full((8, 4), CAR, np.uint8), np.full((8, 4), 1, np.uint16)

    counts = [(len(labels), len(read)) for labels, _ in borders(2).split(strips())]

    assert [(6, 1), *((8, number) for number in range(2, 11)), (2, 10)] == counts
