"""dvc.lock as DVC writes it; the bytes that it names, found in the cache or the project and verified; the recipe."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from segline.core.errors import DataError
from segline.reproducibility import crossvalidation, dvc_lock

PIPELINE = """\
stages:
  make:
    cmd: mkdir -p out/sub && echo 1 > out/b && echo 2 > out/sub/a && echo 3 > "out/\u00e9 x" && echo 4 > one.txt
    deps: [source.txt]
    outs: [out, one.txt]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project whose only stage DVC has run. Tests that change it undo the change."""
    folder = tmp_path_factory.mktemp("lock")
    root = folder / "project"
    root.mkdir()
    (root / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    (root / "source.txt").write_text("source\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        for arguments in (["init", "--quiet", "--no-scm"], ["repro", "--quiet"]):
            subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def store(made, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(made.parent / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    return dvc_lock.Store(made, dvc_lock.stages(made))


def cached(root: Path, md5: str) -> Path:
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.fixture
def hide():
    """A function that hides a path until the end of the test."""
    moved = []

    def take(path: Path) -> None:
        aside = path.with_name(f"{path.name}.aside")
        path.rename(aside)
        moved.append((aside, path))

    yield take
    for aside, path in reversed(moved):
        aside.rename(path)


def test_hashes_are_those_that_dvc_computed(made):
    """Oracle: what DVC wrote into dvc.lock, for files and for folders."""
    stage = dvc_lock.stages(made)["make"]

    assert {"source.txt", "out", "one.txt"} == {*stage.inputs, *stage.outputs}
    for path, md5 in (stage.inputs | stage.outputs).items():
        assert md5 == dvc_lock.md5(made / path)


def test_what_is_not_cached_comes_from_the_project(made, store, hide, tmp_path):
    outputs = dvc_lock.stages(made)["make"].outputs
    for md5 in (*outputs.values(), *dvc_lock.contents(made / "out").values()):
        hide(cached(made, md5))
    store.copy("out", tmp_path / "copy")

    assert dvc_lock.contents(made / "out") == dvc_lock.contents(tmp_path / "copy")


def test_what_is_not_in_the_project_comes_from_the_cache(made, store, hide, tmp_path):
    expected = dvc_lock.contents(made / "out")
    hide(made / "out")
    store.copy("out", tmp_path / "copy")
    store.copy("out/sub", tmp_path / "part")

    assert expected == dvc_lock.contents(tmp_path / "copy")
    assert ["a"] == [path.name for path in (tmp_path / "part").rglob("*")]


def test_a_copy_is_not_a_link(made, store, tmp_path):
    """Writing into the copy does not change the cache."""
    store.copy("one.txt", tmp_path / "copy")
    (tmp_path / "copy").write_text("changed", encoding="utf-8")

    assert store.has("one.txt")
    assert "4\n" == (made / "one.txt").read_text(encoding="utf-8")


def test_other_bytes_under_the_right_name_are_not_taken(made, store, hide, tmp_path):
    """Neither a damaged file in the cache nor an edited one in the project."""
    md5 = dvc_lock.stages(made)["make"].outputs["one.txt"]
    for path in (cached(made, md5), made / "one.txt"):
        hide(path)
    cached(made, md5).write_text("damaged", encoding="utf-8")
    (made / "one.txt").write_text("edited", encoding="utf-8")

    assert not store.has("one.txt")
    with pytest.raises(DataError, match="dvc pull"):
        store.copy("one.txt", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_part_of_an_output_has_the_md5_that_dvc_would_give_it(made, store):
    paths = ["out", "one.txt", "out/b", "out/sub", "out/sub/a"]

    assert [dvc_lock.md5(made / path) for path in paths] == [store.md5(path) for path in paths]
    assert [None, None] == [store.md5(path) for path in ("source.txt", "out/gone")]


def test_the_owner_of_a_path_is_the_output_that_contains_it(store):
    assert ["out", "out", None, None] == [
        store.owner(path) for path in ("out", "out/sub/a", "source.txt", "outside/out")
    ]


LOCK = (Path(__file__).parents[2] / dvc_lock.FILE).read_bytes()


def recipe(document: dict) -> str | None:
    return dvc_lock.recipe(dvc_lock.parse(yaml.safe_dump(document).encode(), dvc_lock.FILE))


@pytest.fixture
def document() -> dict:
    """The committed dvc.lock."""
    return yaml.safe_load(LOCK)


@pytest.fixture
def train(document) -> dict:
    return document["stages"]["train"]


def test_a_recipe_is_short_and_does_not_depend_on_the_layout_of_the_file(document):
    committed = dvc_lock.recipe(dvc_lock.parse(LOCK, dvc_lock.FILE))

    assert 16 == len(committed)
    assert committed == recipe(document)


def test_another_seed_is_the_same_recipe(document, train):
    before = recipe(document)
    train["params"]["params.yaml"]["train"]["seed"] = 77

    assert before == recipe(document)


def test_another_trained_model_is_the_same_recipe(document, train):
    before = recipe(document)
    train["outs"][0]["md5"] = "0" * 32
    document["stages"]["evaluate"]["deps"][0]["md5"] = "0" * 32

    assert before == recipe(document)


@pytest.mark.slow
def test_other_parameters_data_or_code_are_another_recipe(document, train):
    recipes = [recipe(document)]
    train["params"]["params.yaml"]["train"]["epochs"] += 1
    recipes.append(recipe(document))
    for dependency in train["deps"]:
        dependency["md5"] = "0" * 32
        recipes.append(recipe(document))

    assert len(train["deps"]) + 2 == len(set(recipes))


def test_a_lock_without_a_training_has_no_recipe():
    assert recipe({"schema": "2.0", "stages": {}}) is None


def test_named_stages_are_part_of_a_recipe_without_what_one_made_for_another(document):
    stages = dvc_lock.parse(yaml.safe_dump(document).encode(), dvc_lock.FILE)
    both = ("train", "evaluate")
    [model] = [path for path in stages["train"].outputs if path.endswith(".safetensors")]
    retrained = {
        **stages,
        "evaluate": replace(stages["evaluate"], inputs={**stages["evaluate"].inputs, model: "0" * 32}),
    }
    rescored = {
        **stages,
        "evaluate": replace(stages["evaluate"], inputs={**stages["evaluate"].inputs, "code": "0" * 32}),
    }

    assert dvc_lock.recipe(stages, both) == dvc_lock.recipe(retrained, both)
    assert dvc_lock.recipe(stages, both) != dvc_lock.recipe(rescored, both)
    assert dvc_lock.recipe(stages) == dvc_lock.recipe(rescored)


def test_a_cross_validation_does_not_depend_on_the_split_that_is_evaluated(document):
    """Its folds are tested, whatever `evaluate.split` names."""
    stages = dvc_lock.parse(yaml.safe_dump(document).encode(), dvc_lock.FILE)
    evaluate = stages["evaluate"]
    inputs = {path.replace("/test", "/val"): f"{number:032}" for number, path in enumerate(evaluate.inputs)}
    inputs |= {path: checksum for path, checksum in evaluate.inputs.items() if not path.startswith("data/")}
    file, values = next(iter(evaluate.parameters.items()))
    of_val = {file: {**values, "evaluate": {**values["evaluate"], "split": "val"}}}
    of_more = {file: {**values, "evaluate": {**values["evaluate"], "resamples": 7}}}

    before = crossvalidation.recipe(stages)
    assert before == crossvalidation.recipe({**stages, "evaluate": replace(evaluate, inputs=inputs, parameters=of_val)})
    assert before != crossvalidation.recipe({**stages, "evaluate": replace(evaluate, parameters=of_more)})
    assert crossvalidation.recipe({}) is None
