"""The recipe of a training, of the committed dvc.lock and of changed ones."""

from pathlib import Path

import pytest
import yaml

from segline.reproducibility import dvc_lock

CONTENT = (Path(__file__).parents[2] / dvc_lock.FILE).read_bytes()


def of(document: dict) -> str | None:
    return dvc_lock.recipe(dvc_lock.parse(yaml.safe_dump(document).encode(), dvc_lock.FILE))


@pytest.fixture
def document() -> dict:
    return yaml.safe_load(CONTENT)


@pytest.fixture
def train(document) -> dict:
    return document["stages"]["train"]


def test_it_is_short_and_says_nothing_of_the_file_s_form(document):
    found = dvc_lock.recipe(dvc_lock.parse(CONTENT, dvc_lock.FILE))

    assert 16 == len(found)
    assert found == of(document)


def test_another_seed_is_the_same_recipe(document, train):
    before = of(document)
    train["params"]["params.yaml"]["train"]["seed"] = 77

    assert before == of(document)


def test_another_model_that_came_out_is_the_same_recipe(document, train):
    before = of(document)
    train["outs"][0]["md5"] = "0" * 32
    document["stages"]["evaluate"]["deps"][0]["md5"] = "0" * 32

    assert before == of(document)


@pytest.mark.slow
def test_other_parameters_data_or_code_are_another_recipe(document, train):
    found = [of(document)]
    train["params"]["params.yaml"]["train"]["epochs"] += 1
    found.append(of(document))
    for dependency in train["deps"]:
        dependency["md5"] = "0" * 32
        found.append(of(document))

    assert len(train["deps"]) + 2 == len(set(found))


def test_a_lock_without_a_training_has_no_recipe():
    assert of({"schema": "2.0", "stages": {}}) is None
