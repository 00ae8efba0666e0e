"""Object numbers that cannot be those of their mask are named; what may be a slip is counted."""

from pathlib import Path

import numpy as np
import pytest

from segline.dataset.objects import Objects, table
from segline.dataset.onehot import VOID
from segline.dataset.raw import Label
from segline.preprocessing import object_numbers

CLASSES = tuple(Label(name, (number,) * 3) for number, name in enumerate(("sky", "cell", "dirt")))
CELLS = Objects(("cell",), 1)


def seen(
    labels: list[list[int]], numbers: list[list[int]], repeated: int = 1, table_of: tuple[Label, ...] = CLASSES
) -> object_numbers.Seen:
    """What was seen of an image, each pixel `repeated` times in both directions; it is read line by line."""
    found = object_numbers.seen(table(table_of, CELLS), CELLS)
    assert found is not None
    classes, objects = (np.kron(array, np.ones((repeated, repeated), int)) for array in (labels, numbers))
    lines = np.split(classes.astype(np.uint8), len(classes)), np.split(objects.astype(np.uint16), len(objects))
    strips = [*zip(*lines, strict=True)]
    for strip in strips:
        found.add(*strip)
    for _ in found.split(strips):
        pass
    return found


def problems(labels: list[list[int]], numbers: list[list[int]]) -> list[str]:
    return [str(each) for each in seen(labels, numbers).problems(Path("a.png"))]


@pytest.mark.parametrize(
    ("labels", "numbers", "said"),
    [
        ([[1, 1, 0]], [[1, 1, 0]], None),
        ([[1, 0, 0]], [[1, 1, 0]], "one object lies in two classes, number 1 in sky and cell"),
        ([[1, 2, 1, 2]], [[3, 3, 9, 9]], "2 objects lie in two classes, such as number 3 in cell and dirt"),
        ([[0, 2]], [[1, 1]], None),  # neither class has objects
        ([[1, VOID]], [[1, 1]], None),
        ([[1, 0]], [[65535, 65535]], "number 65535"),
    ],
)
def test_an_object_has_one_class(labels, numbers, said):
    found = problems(labels, numbers)

    assert len(found) == (said is not None)
    assert said is None or said in found[0]


def test_an_object_of_any_class_beside_void_and_another_agrees_with_its_mask():
    assert [] == problems([[1, 1, 2, VOID], [0, 1, 1, 2]], [[4, 5, 6, 7], [0, 5, 5, 6]])


@pytest.mark.parametrize(
    ("numbers", "scattered"),
    [
        ([[1] + [0] * 9 + [1]], 1),
        ([[1], *[[0]] * 9, [1]], 1),
        ([[1, 0, 1]], 0),  # something is in front of it
        ([[1] * 40], 0),
        ([[1] + [0] * 9 + [2]], 0),
    ],
)
def test_equal_numbers_far_from_each_other_are_counted(numbers, scattered):
    labels = [[int(number > 0) for number in row] for row in numbers]

    assert scattered == seen(labels, numbers, repeated=5).findings().scattered


def test_objects_without_inside_are_counted():
    """Those of a line of pixels are all border."""
    found = seen(
        [[0, 0, 0, 0, 0, 0]] + [[0, 1, 1, 1, 0, 1]] * 3 + [[0] * 6], [[0] * 6] + [[0, 7, 7, 7, 0, 8]] * 3 + [[0] * 6]
    )

    assert object_numbers.Findings(objects=2, scattered=0, lost=1, without=False, outside=0) == found.findings()


def test_pixels_of_objects_without_a_number_are_told():
    assert seen([[1, 1]], [[0, 3]]).findings().without
    assert not seen([[2, 0, VOID]], [[0, 0, 0]]).findings().without


def test_numbers_beside_all_classes_with_objects_are_counted_where_they_can_be_of_no_other_class():
    """Number 4 is on sky and void alone; of three classes, dirt may have numbers too."""
    labels, numbers = [[0, 1, VOID, 0]], [[4, 3, 4, 3]]

    assert 1 == seen(labels, numbers, table_of=CLASSES[:2]).findings().outside
    assert 0 == seen(labels, numbers).findings().outside
    assert 0 == seen([[0, 1]], [[0, 3]], table_of=CLASSES[:2]).findings().outside


def test_each_finding_is_one_line_with_a_count_and_an_example():
    found = [(Path(f"{name}.tif"), object_numbers.Findings(5, *facts)) for name, facts in
             (("a", (0, 2, False, 0)), ("b", (1, 0, True, 3)), ("c", (1, 1, True, 0)))]  # fmt: skip

    assert [
        "2 images: 2 object numbers in places far from each other, such as b.tif: has each only one object?",
        "1 image: 3 object numbers on no pixel of a class with objects, such as b.tif: are masks and numbers of the "
        "same labels?",
        "3 of 15 objects are without inside at the working size, in 2 images such as a.tif: a smaller "
        "preprocess.objects.border or a larger working size keeps them",
        "2 images: pixels of classes with objects have no object number and are void, such as b.tif",
    ] == [*object_numbers.warnings(found)]
    assert [] == [*object_numbers.warnings([(Path("d.tif"), object_numbers.Findings(5, 0, 0, False, 0))])]
