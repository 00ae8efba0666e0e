"""Numbers and parameters are written in one way wherever they are shown."""

import pytest

from segline.core import params
from segline.reporting import formatting

SPACE = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(("value", "expected"), [(0.912, "91.2 %"), (0, "0.0 %"), (1, "100.0 %"), (None, "undefined")])
def test_a_rate_is_written_in_percent(value, expected):
    assert expected == formatting.percent(value).replace(SPACE, " ")


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "0"), (999, "999"), (1_943_000, "1.94 M"), (1.21e9, "1.21 G"), (7_812, "7.81 k")]
)
def test_large_numbers_are_written_with_three_digits(value, expected):
    assert expected == formatting.compact(value).replace(SPACE, " ")


def test_nested_documents_become_dotted_keys_in_their_order():
    """Lists stay whole: they are one parameter."""
    document = {"a": {"b": {"c": 0.1}, "d": None}, "f": [1, {"e": 3}], "g": {}, "h": 1}
    expected = {"a.b.c": 0.1, "a.d": None, "f": [1, {"e": 3}], "g": {}, "h": 1}

    assert list(expected.items()) == list(params.flat(document).items())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, "0.1"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ([1, 2], "[1, 2]"),
        (["a", True], "[a, true]"),
        (1, "1"),
        (0, "0"),
    ],
)
def test_a_parameter_is_written_as_in_yaml(value, expected):
    assert expected == formatting.written(value)
