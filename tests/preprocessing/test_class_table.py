from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core.errors import DataError, ParameterError, PipelineError, Problems
from segline.dataset.objects import Objects
from segline.dataset.raw import Dataset, Label, Void
from segline.preprocessing import class_table

NAMES = ("sky", "road", "tree", "car")
STREET = Dataset(
    name="street",
    classes=tuple(Label(name, (number, 0, 0)) for number, name in enumerate(NAMES)),
    values=(3, 0, 700, 2),
    void=Void(255, (9, 9, 9)),
    encoding="index",
    splits={},
)
INDEX = Path("raw/dataset.json")


def refusals(data: Dataset, merge: dict[str, list[str]], void_is_class: bool = False) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        class_table.table(INDEX, data, merge, void_is_class)
    return [str(one) for one in (caught.value.problems if isinstance(caught.value, Problems) else [caught.value])]


def test_without_merging_the_classes_stay_as_they_are():
    table = class_table.table(INDEX, STREET, {}, False)

    assert table == class_table.Table(STREET.classes, False, ((0, 1), (2, 3), (3, 0), (255, None), (700, 2)))


def test_void_as_a_class_is_the_last_also_after_merging():
    merge = {"moves": ["car"], "stays": ["tree", "sky", "road"]}

    table = class_table.table(INDEX, STREET, merge, True)

    assert table.classes == (Label("stays", (2, 0, 0)), Label("moves", (3, 0, 0)), Label("void", (9, 9, 9)))
    assert table.values == ((0, 0), (2, 1), (3, 0), (255, 2), (700, 0))


@given(st.permutations(NAMES), st.lists(st.integers(0, 2), min_size=4, max_size=4), st.randoms(use_true_random=False))
def test_every_value_gets_the_class_that_names_its_old_one(order, homes, random):
    merge: dict[str, list[str]] = {}
    for name, home in zip(order, homes, strict=True):
        merge.setdefault(f"group {home}", []).append(name)
    if len(merge) == 1:
        return
    shuffled = list(merge.items())
    random.shuffle(shuffled)

    table = class_table.table(INDEX, STREET, merge, False)

    assert table == class_table.table(INDEX, STREET, dict(shuffled), False)
    for value, number in table.values:
        if number is not None:
            assert NAMES[STREET.values.index(value)] in merge[table.classes[number].name]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"void": Void(2, (0, 0, 0))}, "mask value 2 is used for two classes, or for a class and void"),
        ({"values": (0, 1, 1, 2)}, "mask value 1 is used for two classes"),
        ({"void": Void(1 << 16, (0, 0, 0))}, "mask value 65536, expected 0..65535 (index)"),
        ({"values": (0, 1, 2, -3)}, "mask value -3, expected 0..65535"),
        ({"values": (0, 1, 2, 1 << 24), "encoding": "rgb"}, "mask value 16777216, expected 0..16777215 (rgb)"),
        ({"values": (0, 1)}, "2 mask values for 4 classes, expected one each"),
        ({"classes": STREET.classes[:1] * 4}, "duplicate class names: sky"),
        ({"classes": STREET.classes[:1], "values": (0,)}, "1 classes, expected 2 to 255"),
    ],
)
def test_an_invalid_class_table_is_refused(change, expected):
    (line,) = refusals(replace(STREET, **change), {})

    assert line.startswith(f"raw/dataset.json: {expected}")
    with pytest.raises(DataError):
        class_table.table(INDEX, replace(STREET, **change), {}, False)


def test_255_classes_fit_and_256_do_not():
    many = replace(STREET, classes=tuple(Label(str(k), (0, 0, 0)) for k in range(255)), values=tuple(range(1, 256)))

    assert len(class_table.table(INDEX, replace(many, void=Void(0, (0, 0, 0))), {}, False).classes) == 255
    (line,) = refusals(replace(many, void=Void(0, (0, 0, 0))), {}, void_is_class=True)
    assert "256 classes, expected 2 to 255" in line


@pytest.mark.parametrize(
    ("merge", "void_is_class", "expected"),
    [
        ({"a": ["sky", "road"], "b": ["tree"]}, False, ["merge: class 'car' is in no list. Add it to one."]),
        ({"a": [*NAMES, "sky"]}, False, ["merge: class 'sky' is listed 2 times (in a, a), expected once"]),
        ({"a": ["sky", "road"], "b": ["tree", "car", "cat"]}, False, ["merge.b: unknown class 'cat'. Did you"]),
        ({"a": ["x", *NAMES[:2]], "b": [*NAMES[2:]]}, False, ["merge.a: unknown class 'x'. The classes are: sky"]),
        ({"a": [*NAMES]}, False, ["merge: 1 classes, expected 2 to 255"]),
        ({"void": [*NAMES]}, True, ["merge: duplicate class names: void"]),
    ],
)  # fmt: skip
def test_a_merging_that_does_not_name_every_class_once_is_refused(merge, void_is_class, expected):
    lines = refusals(STREET, merge, void_is_class)

    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"params.yaml: preprocess.{start}")


def test_void_as_a_class_needs_a_void():
    with pytest.raises(ParameterError, match=r"preprocess\.void: 'class', but this data set has no void"):
        class_table.table(INDEX, replace(STREET, void=None), {}, True)


def test_a_class_named_like_the_columns_of_objects_of_another_is_refused():
    """`cell_objects_tp` would be two columns of per_image.csv."""
    labels = tuple(Label(name, (number,) * 3) for number, name in enumerate(("sky", "cell", "cell_objects")))
    table = class_table.Table(labels, False, ((0, 0), (1, 1), (2, 2)))

    with pytest.raises(ParameterError, match=r"objects\.classes: 'cell' beside a class 'cell_objects': .*merge"):
        class_table.with_objects(table, Objects(("cell",), 1))
    assert "cell_objects border" in [
        label.name for label in class_table.with_objects(table, Objects(("cell_objects",), 1)).classes
    ]
