import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core import records
from segline.core.errors import DataError

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_rounding_twice_changes_nothing_more(value):
    once = records.rounded(value)

    assert json.dumps(records.rounded(once)) == json.dumps(once)


@given(FINITE)
def test_rounding_moves_a_number_by_half_a_millionth_at_most_and_never_gives_minus_zero(value):
    rounded = records.rounded(value)

    assert abs(rounded - value) <= 0.5e-6 * (1 + 1e-6) + abs(value) * 1e-15
    assert not (rounded == 0 and math.copysign(1, rounded) < 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"a": [x]}, lambda x: ((x,),)])
def test_what_is_not_finite_is_refused_and_leaves_no_file(tmp_path, bad, wrap):
    with pytest.raises(ValueError, match="finite"):
        records.write_json(tmp_path / "a.json", {"value": wrap(bad)})

    assert list(tmp_path.iterdir()) == []


def test_json_has_stable_bytes(tmp_path):
    """Sorted keys, 6 decimals, Unix line ends, text unchanged."""
    records.write_json(tmp_path / "a.json", {"b": 0.12345678, "a": {"z": -0.0, "y": (1, None)}, "c": "\u00e9"})

    inner = '"a": {\n    "y": [\n      1,\n      null\n    ],\n    "z": 0.0\n  }'
    expected = f'{{\n  {inner},\n  "b": 0.123457,\n  "c": "\u00e9"\n}}\n'

    assert (tmp_path / "a.json").read_bytes() == expected.encode()
    assert records.read_json(tmp_path / "a.json") == {"b": 0.123457, "a": {"z": 0.0, "y": [1, None]}, "c": "\u00e9"}


def test_csv_has_stable_bytes(tmp_path):
    rows = [("a, b", 0.5, 3), ('say "x"', None, 1), ("c", -0.0, 0)]

    records.write_csv(tmp_path / "a.csv", ("name", "score", "pixels"), rows)

    expected = 'name,score,pixels\n"a, b",0.500000,3\n"say ""x""",,1\nc,0.000000,0\n'

    assert (tmp_path / "a.csv").read_bytes() == expected.encode()


def test_csv_rows_come_back_as_text_by_column(tmp_path):
    records.write_csv(tmp_path / "a.csv", ("name", "score"), [("two\nlines", 1 / 3), ("b", None)])

    assert records.read_csv(tmp_path / "a.csv") == [
        {"name": "two\nlines", "score": "0.333333"},
        {"name": "b", "score": ""},
    ]


@pytest.mark.parametrize("read", [records.read_json, records.read_csv])
def test_a_missing_record_is_named(tmp_path, read):
    with pytest.raises(DataError, match="gone: missing"):
        read(tmp_path / "gone")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)

    with pytest.raises(DataError, match=r"a\.json: not JSON"):
        records.read_json(tmp_path / "a.json")
