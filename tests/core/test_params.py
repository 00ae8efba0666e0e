"""params.yaml is read as DVC reads it, and everything in it is checked."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from segline.core import params
from segline.core.errors import ParameterError, PipelineError, Problems

ROOT = Path(__file__).parents[2]
SCALARS = st.one_of(
    st.from_regex(r"\A[-+]?[0-9._eExXobOB:-]{1,10}\Z"),
    st.from_regex(r"\A(yes|no|on|off|true|false|null|~|y|n|True|FALSE|NULL|\.inf|-\.INF|\.nan|1e-?[0-9]{1,2})\Z"),
    st.text(alphabet="abcDEF0123456789._-/+", min_size=1, max_size=12),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers().map(str),
)


class Section(params.Section):
    rate: float = Field(gt=0)
    name: str
    count: int


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@given(SCALARS)
@example("1e-5")
@example("1e-05")
@example("010")
@example("0o10")
@example("1_000")
@example("-_")
@example("-_1")
@example("-._5")
@example("2026-11-20")
@example("12:30:45")
@example("off")
@example(".5e3")
@example("=")
def test_every_scalar_is_read_as_dvc_reads_it_or_refused(tmp_path_factory, text):
    """By DVC's own function: another value here would be a parameter that DVC does not track."""
    path = write(tmp_path_factory.mktemp("scalar"), f"key: {text}\n")
    try:
        document = params.load(path)
    except ParameterError:
        return  # refused: there is no second value to disagree with

    assert repr(load_yaml(str(path))) == repr(document)


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "1e-05", "0.00001"])
def test_a_rate_may_be_written_in_any_usual_way(tmp_path, text):
    document = params.load(write(tmp_path, f"train: {{rate: {text}, name: x, count: 1}}\n"))

    assert params.section(document, "train", Section).rate == 1e-5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", "duplicate key 'a'"),
        ("a: {b: 1, b: 2}\n", "duplicate key 'b'"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
        ("a: 2026-11-20\n", "quote it"),
        ("a: 0x10\n", "quote it"),
        ("a: -_1\n", "quote it"),
        ("1: a\n", "key 1 is not text"),
        ("a: [1\n", "line 2"),
        ("just text\n", "expected sections"),
        ("", "params.yaml: is empty"),
        ("# comments only\n", "params.yaml: is empty"),
        ("a: \x00\n", "not YAML"),
        ("a: " + "[" * 20_000 + "\n", "line 1: nested more than 50 levels deep"),
        ("a: " + "[" * 20_000 + "]" * 20_000 + "\n", "line 1: nested more than 50 levels deep"),
        ("a: &x [*x]\n", "aliases"),
        ("? [a]\n: 1\n", "key [...] is not text"),
        ("a: 1\n---\nb: 2\n", "another document"),
        ("a: !!timestamp 2026-01-33\n", "quote it"),
        ("#" * (params.MAX_BYTES + 1), "expected at most"),
    ],
)
def test_a_broken_file_gets_one_line_that_says_where(tmp_path, text, expected):
    path = write(tmp_path, text)

    with pytest.raises(ParameterError) as caught:
        params.load(path)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_or_a_dangling_link_in_its_place_is_not_missing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("gone")
    for name, problem in {"folder": "a folder, pipe or device, expected a file", "link": "a link that leads"}.items():
        with pytest.raises(ParameterError, match=f"{name}: {problem}"):
            params.load(tmp_path / name)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ParameterError, match=r"cp presets/synthetic\.yaml"):
        params.load(tmp_path / "params.yaml")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"a: \xff\n")

    with pytest.raises(ParameterError, match="not UTF-8 at byte 3"):
        params.load(path)


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"rte": 1.0, "name": "x", "count": 1}, "train.rte: unknown key. Did you mean rate?"),
        ({"name": "x", "count": 1}, "train.rate: missing"),
        ({"rate": 0.0, "name": "x", "count": 1}, "greater than 0, got 0.0"),
        ({"rate": float("nan"), "name": "x", "count": 1}, "train.rate"),
        ({"rate": "fast", "name": "x", "count": 1}, "valid number, got 'fast'"),
        ({"rate": 1.0, "name": 3, "count": 1}, "valid string, got 3"),
        ({"rate": 1.0, "name": "x", "count": 1.5}, "valid integer, got 1.5"),
        ({"rate": 1.0, "name": "x", "count": True}, "valid integer, got True"),
        ({"rate": True, "name": "x", "count": 1}, "valid number, got True"),
        ("text", "expected a section, got 'text'"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(section, expected):
    with pytest.raises(PipelineError) as caught:
        params.section({"train": section}, "train", Section)

    assert expected in str(caught.value)


def test_all_problems_of_a_section_come_at_once():
    with pytest.raises(Problems) as caught:
        params.section({"train": {"rate": -1.0, "name": 1, "cuont": 2, "count": 3}}, "train", Section)

    assert 3 == len(caught.value.problems)


def test_a_missing_section_says_where_to_look():
    """A misspelt section is reported by `segline check`, which suggests the right name."""
    with pytest.raises(ParameterError, match=r"train: missing\. Add it; see presets/synthetic\.yaml"):
        params.section({"trian": {}}, "train", Section)


@pytest.mark.parametrize(
    ("key", "preset"),
    [("train.epochs", "synthetic"), ("data.camvid", "camvid-fast"), ("data.camvid.url", "camvid-fast")],
)
def test_a_missing_key_names_a_preset_that_has_it(key, preset, monkeypatch):
    monkeypatch.chdir(ROOT)

    with pytest.raises(ParameterError, match=f"Add it; see presets/{preset}.yaml"):
        params.find({"data": {}, "train": {}} if key.count(".") == 1 else {"data": {"camvid": {}}}, key)


def test_a_missing_key_that_no_preset_has_names_none(tmp_path, monkeypatch):
    """A broken preset is skipped."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "broken.yaml").write_text("data: [", encoding="utf-8")

    with pytest.raises(ParameterError, match=r"data.folder: missing. Add it; see a file of presets/ that has it."):
        params.find({"data": {}}, "data.folder")


def test_a_folder_within_the_project_names_its_top_folder(tmp_path, monkeypatch):
    top = tmp_path / "my project"
    (top / "data" / "raw").mkdir(parents=True)
    (top / "dvc.yaml").touch()
    (top / "params.yaml").write_text("a: 1\n", encoding="utf-8")
    monkeypatch.chdir(top / "data" / "raw")

    with pytest.raises(ParameterError) as caught:
        params.load()

    assert f"params.yaml: missing here. Run it in the project's top folder: cd '{top}'" == str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_read_as_dvc_reads_it(path):
    """Leaf by leaf, types included."""
    assert repr(load_yaml(str(path))) == repr(params.load(path))


def test_a_section_cannot_be_changed():
    section = params.section({"train": {"rate": 1.0, "name": "x", "count": 1}}, "train", Section)

    with pytest.raises(ValueError, match="frozen"):
        section.rate = 2.0
