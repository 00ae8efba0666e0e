"""Labels become classes, or are told."""

from pathlib import Path
from typing import Any

import pytest

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.raw import Label, Void
from segline.sources.collecting import labels
from segline.sources.collecting.labels import VOID, Labels, Rules

RULES: dict[str, Any] = {"classes": ["road", "car"], "unlabelled": "void", "unknown": "refuse", "faults": "skip"}
FILES = [Path(f"{name}.json") for name in "abcdef"]


def rules(**changes: Any) -> Rules:
    return params.section({"data": {"tool": {**RULES, **changes}}}, "data.tool", Rules)


def test_a_class_is_its_position_and_the_unlabelled_one_is_black() -> None:
    plain = labels.dataset("mine", rules())
    background = labels.dataset("mine", rules(unlabelled="car"))

    assert (0, 1) == plain.values == background.values
    assert (Label("road", (128, 0, 0)), Label("car", (0, 128, 0))) == plain.classes
    assert (Label("road", (128, 0, 0)), Label("car", (0, 0, 0))) == background.classes
    assert Void(255, (224, 224, 192)) == plain.void
    assert (VOID, 1) == (rules().background, rules(unlabelled="car").background)


def test_known_labels_are_their_class() -> None:
    seen = Labels(rules())

    assert [1, 0, 1] == [seen.value(label, FILES[0]) for label in ("car", "road", "car")]
    assert ([], []) == (seen.problems(), seen.notes())


def test_unknown_labels_are_told_with_counts_and_files() -> None:
    seen = Labels(rules())
    for file in FILES:
        assert VOID == seen.value("tree", file)
    seen.value("caar", FILES[1])
    told = [str(problem) for problem in seen.problems()]

    assert told == [
        "b.json: label 'caar', 1 object in b.json, is not among the classes. Did you mean car?",
        "a.json: label 'tree', 6 objects in a.json, b.json, c.json and perhaps more, is not among the classes. "
        "Add it to classes, or make it void with unknown: void.",
    ]


def test_unknown_labels_are_void_and_counted_on_request() -> None:
    seen = Labels(rules(unknown="void", unlabelled="road"))
    for label in ("tree", "sky", "tree", "car"):
        seen.value(label, FILES[0])

    assert [] == seen.problems()
    assert ["objects with labels that are not among the classes are void: 'sky' (1), 'tree' (2)"] == seen.notes()


@pytest.mark.parametrize("unknown", ["refuse", "void"])
@pytest.mark.parametrize("label", ["Car", " car", "c ar", "CAR\t"])
def test_a_label_that_differs_from_a_class_in_case_or_spaces_is_an_error(label, unknown) -> None:
    seen = Labels(rules(unknown=unknown))
    seen.value(label, FILES[0])
    (problem,) = seen.problems()

    assert f"label {label!r}, 1 object in a.json, differs from class 'car' in case or spaces alone" in problem.problem


def test_two_labels_that_differ_in_case_are_an_error_even_if_both_are_void() -> None:
    seen = Labels(rules(unknown="void"))
    for label in ("tree", "Tree"):
        seen.value(label, FILES[0])

    assert ["label 'tree', 1 object in a.json, differs from label 'Tree' in case or spaces alone"] == [
        each.problem for each in seen.problems()
    ]


def test_a_class_without_an_object_is_told_unless_it_is_the_unlabelled_one() -> None:
    assert ["no object of class 'road', 'car'"] == Labels(rules()).notes()
    assert ["no object of class 'car'"] == Labels(rules(unlabelled="road")).notes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"classes": []}, "classes: list should have at least 1 item"),
        ({"classes": [f"c{n}" for n in range(256)]}, "classes: list should have at most 255 items"),
        ({"classes": ["car", "car"]}, "classes: duplicate 'car'"),
        ({"classes": ["car", "Car"]}, "classes: 'car' and 'Car' differ in case or spaces alone"),
        ({"classes": ["traffic light", "trafficlight"]}, "differ in case or spaces alone"),
        ({"classes": [" car"]}, "without spaces around it"),
        ({"classes": ["Void"]}, "'Void' is no class"),
        ({"unlabelled": "tree"}, "unlabelled: expected void or one of the classes"),
        ({"unlabelled": "Car"}, "unlabelled: expected void or one of the classes"),
        ({"unknown": "skip"}, "unknown: "),
        ({"faults": "void"}, "faults: "),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(changes, expected) -> None:
    with pytest.raises(ParameterError) as error:
        rules(**changes)

    assert expected in str(error.value)
