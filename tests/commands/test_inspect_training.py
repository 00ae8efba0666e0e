"""`segline inspect` says how many steps a training will have, if these are few."""

import yaml

from segline.commands import inspect_folder, inspect_training
from segline.core import params
from segline.dataset import processed
from segline.training import loop
from tests import folders, tiny
from tests.commands import test_inspect_exports


def test_the_steps_are_those_that_a_training_has(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch, train__epochs=3, train__batch_size=4)
    section = params.section(params.load(), "train", loop.Section)
    samples = len(processed.read(tmp_path / "data/processed/train").images)
    (said,) = inspect_training.doubts(samples)

    assert f" are {3 * loop.num_steps(section, samples)} steps: few from random weights. " in said


def test_the_epochs_that_are_named_make_enough(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train: {epochs: 12, batch_size: 4}")
    (said,) = inspect_training.doubts(14, path)

    assert said.endswith("are 48 steps: few from random weights. train.epochs: 75 makes 300 or more.")
    path.write_text("train: {epochs: 75, batch_size: 4}")
    assert [] == [*inspect_training.doubts(14, path)]


def test_parameters_that_say_nothing_are_left_to_check(tmp_path):
    path = tmp_path / "params.yaml"
    for text in (None, "train: {", "train: {epochs: 12}", "train: {epochs: many, batch_size: 4}", "train: 3"):
        if text is not None:
            path.write_text(text)
        assert [] == [*inspect_training.doubts(14, path)]


def test_it_is_said_of_small_folders_and_of_exports_but_not_of_tiles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("train: {epochs: 12, batch_size: 4}")
    folders.all_in_one("images/{}.png", "masks/{}.png", 24)(tmp_path / "mine")
    section = inspect_folder.inspect(tmp_path / "mine").section

    assert "# Training: 14 images, 12 epochs and batches of 4, as params.yaml has them, are 48 steps" in section
    assert {"data", "preprocess"} == yaml.safe_load(section).keys()
    test_inspect_exports.labelme(tmp_path / "export")
    assert "# Training: 4 images" in inspect_folder.inspect(tmp_path / "export").section
    monkeypatch.setattr(folders, "SIZE", (1000, 1000))
    folders.all_in_one("images/{}.png", "masks/{}.png", 3)(tmp_path / "large")
    assert "# Training" not in inspect_folder.inspect(tmp_path / "large").section
