"""`segline preset NAME`, which `make repro PRESET=NAME` runs first."""

import importlib.util
import json

import pytest
import yaml

from tests.e2e.project import Project, overlaid, stages_run
from tests.e2e.reruns import ROOT, STAGES

pytestmark = pytest.mark.slow

FIRST = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))[0]


@pytest.fixture
def checkout(unproduced, tmp_path):
    """A project of the test's own in which nothing has been run."""
    return unproduced.copy(tmp_path / "my pr\u00f6ject")


def preset(project: Project, name: str, *, fails: bool = False) -> str:
    return project.run("python", "-m", "segline", "preset", name, fails=fails)


def test_a_preset_takes_the_place_of_committed_parameters(checkout):
    preset(checkout, FIRST)

    assert checkout.read(f"presets/{FIRST}.yaml") == checkout.read("params.yaml")


def test_a_preset_takes_the_place_of_another_that_is_not_committed(checkout):
    """Nothing is lost: presets/ still has it."""
    checkout.write("presets/other.yaml", checkout.read("params.yaml") + "# other\n")
    preset(checkout, "other")
    preset(checkout, FIRST)

    assert checkout.read(f"presets/{FIRST}.yaml") == checkout.read("params.yaml")


def test_a_preset_comes_where_there_are_no_parameters(checkout):
    (checkout.root / "params.yaml").unlink()
    preset(checkout, FIRST)

    assert checkout.read(f"presets/{FIRST}.yaml") == checkout.read("params.yaml")


def test_edits_that_are_not_committed_are_not_lost(checkout):
    checkout.append("params.yaml", "# mine\n")
    edited = checkout.read("params.yaml")
    output = preset(checkout, FIRST, fails=True)

    assert output.startswith("error: params.yaml: has edits that are not committed and would be lost. ")
    assert 1 == len(output.splitlines())
    assert edited == checkout.read("params.yaml")


def test_staged_edits_are_not_lost(checkout):
    """What is only staged is not committed."""
    checkout.append("params.yaml", "# mine\n")
    checkout.git("add", "params.yaml")

    assert "not committed" in preset(checkout, FIRST, fails=True)


def test_an_unknown_preset_names_the_nearest(checkout):
    before = checkout.read("params.yaml")
    output = preset(checkout, f"{FIRST}s", fails=True)

    assert f"Did you mean {FIRST}?" in output
    assert before == checkout.read("params.yaml")


def lacking(checkout: Project) -> str | None:
    """What `segline check` finds missing that only a user can bring: their images, an extra, weights."""
    document = checkout.parameters()
    place = document["data"]["input"]
    if not (checkout.root / place).exists():
        return f"data.input: no such folder: {place}. "
    if document["model"]["name"] != "smp":
        return None
    if not importlib.util.find_spec("segmentation_models_pytorch"):
        return "model.name: smp needs the package segmentation_models_pytorch, which is missing here: "
    return f"model.smp.weights: {document['model']['smp']['weights']}: missing. "


def test_every_preset_is_valid(checkout):
    """Templates too: all is valid but that what the user brings is not there yet."""
    check = ("python", "-m", "segline", "check")
    for path in sorted((ROOT / "presets").glob("*.yaml")):
        checkout.write("params.yaml", path.read_text(encoding="utf-8"))
        if missing := lacking(checkout):
            output = checkout.run(*check, fails=True)
            assert output.startswith(f"error: params.yaml: {missing}"), path.name
            assert 1 == len(output.splitlines())
        else:
            assert "params.yaml: valid\n" == checkout.run(*check)


def test_every_preset_says_as_much_as_the_default(checkout):
    """Complete files: outside of what is chosen by name, a preset has every key of params.yaml and no other.

    What a key may hold in several forms, such as `preprocess.intensity`, is checked where it is used.
    """
    default = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for path in sorted((ROOT / "presets").glob("*.yaml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in ("preprocess", "train", "augment", "evaluate", "plot"):
            assert default[key].keys() == document[key].keys(), f"{path.name}: {key}"


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("aerial", {"data.aerial": {"size": 300, "train": 1, "test": 1}, "preprocess": {"height": 128, "width": 128}}),
        ("microscope", {"data.cells": {"height": 96, "width": 80, "train": 2, "val": 1, "test": 2}}),
    ],
)
def test_a_preset_that_draws_its_own_data_runs_from_download_to_report(checkout, name, smaller):
    """Made small. `download` lists one file of code twice: as the source, and as what it starts from."""
    preset(checkout, name)
    document = checkout.parameters()
    network = {f"model.{document['model']['name']}": {"width": 2, "depth": 2}}
    checkout.write_parameters(overlaid(document, {**smaller, **network, "train.epochs": 1, "evaluate.resamples": 100}))

    assert list(STAGES) == stages_run(checkout.dvc("repro"))
    assert 0 <= json.loads(checkout.read("metrics/eval.json"))["miou"] <= 1
    assert [] == stages_run(checkout.dvc("repro"))

    checkout.append(document["data"]["input"], "# a comment\n")

    assert ["download"] == stages_run(checkout.dvc("repro"))


def test_a_preset_that_cannot_be_used_here_leaves_the_parameters_as_they_are(checkout):
    """Such as one whose weights are missing: it is refused before it replaces anything."""
    before = checkout.read("params.yaml")
    broken = before.replace("learning_rate: 0.003", "learning_rate: -1.0")
    assert broken != before
    checkout.write("presets/broken.yaml", broken)
    output = preset(checkout, "broken", fails=True)

    assert "presets/broken.yaml cannot be used here, params.yaml stays as it is" in output
    assert "train.learning_rate" in output
    assert before == checkout.read("params.yaml")


def test_a_camvid_preset_comes_with_the_name_of_the_one_that_suits_the_machine(checkout):
    output = preset(checkout, "camvid-seed")

    assert "the CamVid preset that suits this machine (cpu, " in output
    assert "make repro PRESET=camvid-" in output
