"""Paths and code of the stages are those in dvc.yaml."""

from pathlib import Path

import pytest
import yaml

from segline.core import params, pipeline
from tests.e2e import reruns

DOCUMENT = params.load(pipeline.ROOT / params.FILE)


def test_the_outputs_are_all_of_dvc_yaml():
    content = yaml.safe_load((pipeline.ROOT / "dvc.yaml").read_text(encoding="utf-8"))

    assert [Path(path) for stage in content["stages"].values() for path in reruns.outputs(stage)] == pipeline.outputs()


def test_every_output_lies_in_one_output_folder():
    folders = pipeline.output_folders()
    homes = {path: [folder for folder in folders if path.is_relative_to(folder)] for path in pipeline.outputs()}

    assert all(len(homes_of_path) == 1 for homes_of_path in homes.values())
    assert set(folders) == {folder for homes_of_path in homes.values() for folder in homes_of_path}
    assert "data/raw data/processed data/augmented models metrics data/predictions" == " ".join(map(str, folders))


def test_a_path_is_found_by_stage_and_argument():
    assert Path("models/model.safetensors") == pipeline.path("train", "model")
    assert Path("metrics/eval.json") == pipeline.path("evaluate", "metrics")


@pytest.mark.parametrize("stage", reruns.STAGES)
def test_the_code_of_a_stage_is_what_an_edit_of_which_reruns_it(stage):
    files = {path.relative_to(pipeline.ROOT).as_posix() for path in pipeline.code(stage, DOCUMENT)}
    source = "segline/sources/streets/"  # the input of `download`, which counts it as data

    assert f"stages/{stage}.py" in files
    assert all(stage in reruns.of_code(file) for file in files if not file.startswith(source))


def test_the_network_that_is_not_chosen_is_not_among_the_code():
    other = {**DOCUMENT, "model": {**DOCUMENT["model"], "name": "fcn"}}
    names = {path.name for path in pipeline.code("train", other)}

    assert "fcn.py" in names
    assert "unet.py" not in names
