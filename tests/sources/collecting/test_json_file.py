"""Large and hostile JSON: found by position, parsed by element, bounded."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from segline.core.errors import DataError
from segline.sources.collecting import json_file

ANY: TypeAdapter[Any] = TypeAdapter(Any)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\[]{}é,: ', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"[\\', max_size=3), inner, max_size=3),
    max_leaves=8,
)
elements = st.lists(st.dictionaries(st.text(max_size=3), values, max_size=3) | st.lists(values, max_size=3), max_size=4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "a.json"


def found(path: Path, *names: str) -> dict[str, list[Any]]:
    with json_file.elements(path, names) as file:
        return {name: list(file.each(name, ANY)) for name in names}


@settings(deadline=None)
@given(st.tuples(elements, elements), values, st.sampled_from([None, 1]), st.integers(1, 40))
def test_elements_are_those_of_a_whole_parser(path, arrays, other, indent, size) -> None:
    """However the file is cut into chunks, whatever is in its strings."""
    images, objects = arrays
    document = {"before": other, "images": images, "between": [other], "objects": objects}
    path.write_text(json.dumps(document, indent=indent, ensure_ascii=False), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_file, "_CHUNK", size)

        assert {"images": images, "objects": objects, "none": []} == found(path, "images", "objects", "none")


@settings(deadline=None)
@given(tasks=elements)
def test_a_document_may_be_an_array(path, tasks) -> None:
    path.write_text(json.dumps(tasks))

    assert {json_file.TOP: tasks} == found(path, json_file.TOP)


def test_a_byte_order_mark_is_passed_over(path) -> None:
    path.write_bytes(b'\xef\xbb\xbf{"a": [{"b": 1}]}')

    assert {"a": [{"b": 1}]} == found(path, "a")
    assert {"a": [{"b": 1}]} == json_file.read(path, ANY)


BROKEN = [
    ("", "cut, or neither an object nor an array"),
    ("7", "cut, or neither an object nor an array"),
    ('{"a": [{}', "cut, or neither an object nor an array"),
    ('{"a": ["b', "cut, or neither an object nor an array"),
    ('{"a": [}', "brackets do not match at byte 7"),
    ("{}]", "brackets do not match at byte 2"),
    ("{}{}", "a second document at byte 2"),
    ('{"a": ' + "[" * 50 + "]" * 50 + "}", "more than 50 levels at byte 55"),
]


@pytest.mark.parametrize(("content", "problem"), BROKEN)
def test_broken_documents_are_refused_in_one_line(path, content, problem) -> None:
    path.write_text(content)
    for read in (lambda: found(path, "a"), lambda: json_file.read(path, ANY)):
        with pytest.raises(DataError) as error:
            read()
        assert f"{path}: not the JSON that is expected ({problem})" in str(error.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"a": [1]}', "no object or array at byte 7"),
        ('{"a": [{}, "b"]}', "no object or array at byte 9"),
        ('{"a": [{} {}]}', "no object or array at byte 9"),
        ('{"a": [{},]}', "no object or array at byte 9"),
        ('{"a": [,{}]}', "no object or array at byte 7"),
        ('{"a": [], "a": [{}]}', "two arrays 'a'"),
    ],
)
def test_what_stands_between_elements_is_refused(path, content, problem) -> None:
    path.write_text(content)
    with pytest.raises(DataError) as error:
        found(path, "a")

    assert problem in str(error.value)


def test_fifty_levels_are_read(path) -> None:
    path.write_text('{"a": ' + "[" * 49 + "]" * 49 + "}")

    assert 1 == len(found(path, "a")["a"])


def test_an_element_that_is_not_what_is_expected_is_told_by_its_place(path) -> None:
    path.write_text('{"a": [{"n": 1}, {"n": "1"}, {"n": 1 2}]}')
    shape = TypeAdapter(dict[str, int])
    with json_file.elements(path, ["a"]) as file:
        assert {"n": 1} == file.parse("a", 0, shape)
        with pytest.raises(
            DataError, match=r"a\[1\]: not what is expected \(n: input should be a valid integer, got '1'"
        ):
            file.parse("a", 1, shape)
        with pytest.raises(DataError, match=r"a\[2\]: not what is expected \(invalid JSON"):
            file.parse("a", 2, shape)


def test_sizes_and_counts_have_limits(path, monkeypatch) -> None:
    path.write_text(json.dumps({"a": [{"b": "c" * 100}, {}, {}]}))
    for limit, value, problem in (
        ("MAX_BYTES", 100, "bytes, expected at most 100"),
        ("MAX_WHOLE", 100, r"a\[0\]: 109 bytes, expected at most 100"),
        ("MAX_ELEMENTS", 2, "more than 2 elements"),
        ("MAX_VALUES", 0, r"a\[0\]: not what is expected \(1 values, expected at most 0"),
        ("MAX_ARRAYS", 0, r"a\[0\]: not what is expected \(1 arrays and objects, expected at most 0"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(json_file, limit, value)
            with pytest.raises(DataError, match=problem):
                found(path, "a")
    with pytest.raises(DataError, match="bytes, expected at most 100"):
        json_file.read(path, ANY, most=100)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" + b"1," * 4_000 + b"1]", "4001 values, expected at most 4000"),
        (b"[" + b"[]," * 3_000 + b"{}]", "3002 arrays and objects, expected at most 3000"),
    ],
)
def test_a_document_read_whole_has_a_bound_on_its_values(path, content, problem, monkeypatch) -> None:
    monkeypatch.setattr(json_file, "MAX_VALUES", 4_000)
    monkeypatch.setattr(json_file, "MAX_ARRAYS", 3_000)
    path.write_bytes(content)

    with pytest.raises(DataError, match=problem):
        json_file.read(path, ANY)


def test_a_missing_file_and_a_folder_are_told(tmp_path) -> None:
    for path, problem in ((tmp_path / "none.json", "missing"), (tmp_path, "expected a file")):
        for read in (lambda path=path: found(path, "a"), lambda path=path: json_file.read(path, ANY)):
            with pytest.raises(DataError, match=problem):
                read()


@pytest.mark.parametrize(
    "content", [b"[" * 3_000_000, b'"' + b"\\\\" * 3_000_000, b'{"a": [{"b": "' + b"c" * 6_000_000]
)
def test_a_hostile_file_takes_no_more_memory_than_a_few_chunks(path, content, monkeypatch) -> None:
    monkeypatch.setattr(json_file, "_CHUNK", 1 << 16)
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError):
        found(path, "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1_000_000
