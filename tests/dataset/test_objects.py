"""Borders follow the other classes, which keep their numbers."""

import pytest

from segline.dataset import objects
from segline.dataset.objects import Objects
from segline.dataset.raw import Label

LABELS = tuple(
    Label(name, rgb)
    for name, rgb in (("sky", (0, 0, 0)), ("car", (90, 8, 8)), ("cat", (45, 4, 4)), ("void", (1, 1, 1)))
)
CHOSEN = Objects(("car", "cat"), 2)


def test_every_class_keeps_its_number_and_a_border_counts_as_its_class():
    table = objects.table(LABELS, CHOSEN)

    assert ("sky", "car", "cat", "void", "car border", "cat border") == tuple(label.name for label in table)
    assert [0, 1, 2, 3, 1, 2] == objects.parents(table, CHOSEN).tolist()
    assert ((1, 2), (4, 5)) == (CHOSEN.inside(table), CHOSEN.borders(table))
    assert table[:4] == objects.semantic(table, CHOSEN) == LABELS


def test_without_objects_every_class_counts_as_itself():
    assert [0, 1, 2, 3] == objects.parents(LABELS, None).tolist()
    assert objects.semantic(LABELS, None) == LABELS


def test_colours_of_borders_are_those_of_no_other_class():
    """Half the colour of a car is that of a cat."""
    table = objects.table(LABELS, CHOSEN)

    assert len(table) == len({label.rgb for label in table})


def test_a_class_with_the_name_of_a_border_is_refused():
    with pytest.raises(ValueError, match="a class has the name 'car border'"):
        objects.table((*LABELS, Label("car border", (2, 2, 2))), CHOSEN)


@pytest.mark.parametrize(
    "labels",
    [LABELS, objects.table(LABELS, Objects(("car",), 2)), objects.table(LABELS, CHOSEN)[2:]],
    ids=["no borders", "one too few", "no car"],
)
def test_a_file_whose_classes_are_not_those_of_its_objects_is_refused(labels):
    objects.require_classes(objects.table(LABELS, CHOSEN), CHOSEN)

    with pytest.raises(ValueError, match="then their borders"):
        objects.require_classes(labels, CHOSEN)
