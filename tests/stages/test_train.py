"""The train stage: what it writes, that it repeats itself, and what it refuses."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from segline.core import pipeline, records
from segline.core.errors import DataError, DeviceError, PipelineError, TrainingError
from segline.dataset import processed
from segline.dataset.onehot import unpack
from segline.model import batches, checkpoint, device
from segline.monitoring import mlflow_run, progress
from segline.training import class_weights, resume
from stages import evaluate, train
from tests import tiny
from tests.training import rows

ROOT = Path(__file__).parents[2]
# The train stage, which here saves its state after every epoch and kills itself when it prints a certain line.
MORTAL = """
import os, signal
from segline.monitoring import console; from segline.training import resume
from stages import train

class Steps(console.Steps):
    def line(self, text):
        super().line(text)
        if text.startswith(os.environ["KILLED_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)

console.Steps = Steps
resume.SAVED_EVERY = 0.0
console.run(train.main)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with processed data, in which stages run as DVC runs them."""
    tiny.begin(tmp_path, monkeypatch)
    return tmp_path


def messages(monkeypatch: pytest.MonkeyPatch) -> list[mlflow_run.Message]:
    """Fills with what the stage sends to MLflow, to which nothing is sent."""
    sent: list[mlflow_run.Message] = []

    @contextmanager
    def run(*_, **__):
        yield mlflow_run.Run(sent.append)

    monkeypatch.setattr(mlflow_run, "run", run)
    return sent


def written(folder: Path) -> dict[str, bytes]:
    paths = [path for part in ("models", "metrics", "data/augmented") for path in (folder / part).glob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_it_writes_the_model_its_history_and_the_epoch_it_kept(project):
    train.main(tiny.TRAIN)
    history = records.read_csv(Path("metrics/history.csv"))
    kept = json.loads(Path("metrics/train.json").read_text())
    _, description = checkpoint.read(Path("models/model.safetensors"))

    assert ["1", "2"] == [row["epoch"] for row in history]
    assert list(history[0]) == ["epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou"]
    assert f"{kept['val_miou']:.6f}" == max(row["val_miou"] for row in history)
    assert {"epoch", "train_loss", "val_loss", "val_accuracy", "val_miou", "protocol"} == kept.keys()
    assert {"precision": "float32"} == kept["protocol"]
    assert tiny.stretched(12, 20) == description.preparation
    assert tiny.CLASSES == description.classes


def test_the_same_inputs_give_the_same_bytes(project):
    train.main(tiny.TRAIN)
    first = written(project)
    train.main(tiny.TRAIN)

    assert first == written(project)
    assert len(first) == 5


class Unseen:
    """A progress display that shows and measures nothing."""

    def __init__(self, *facts, **more):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def step_done(self):
        pass

    def epoch_done(self, epoch):
        pass


def test_the_progress_display_changes_no_byte(project, monkeypatch):
    """So `progress` need not be a dependency of the stage."""
    train.main(tiny.TRAIN)
    shown = written(project)
    monkeypatch.setattr(progress, "Progress", Unseen)
    train.main(tiny.TRAIN)

    assert shown == written(project)


@pytest.mark.parametrize("changes", [{}, {"cut_mix": 0.7, "rotation": 20.0, "noise": 9.0}], ids=["off", "on"])
def test_a_data_set_larger_than_memory_gives_the_same_bytes(project, monkeypatch, changes):
    """Whether samples are streamed is not a parameter: no output byte may depend on it."""
    tiny.write_params(project, train__batch_size=4, **{f"augment__{name}": value for name, value in changes.items()})
    train.main(tiny.TRAIN)
    resident = written(project)
    monkeypatch.setattr(batches, "SHARE", 0)
    monkeypatch.setattr(batches, "load", None)
    train.main(tiny.TRAIN)

    assert resident == written(project)


def test_it_writes_the_first_samples_as_epoch_1_shows_them(project):
    """With everything off, they are as stored."""
    train.main(tiny.TRAIN)
    images, classes = (np.load(f"data/augmented/{name}.npy") for name in ("images", "classes"))
    split = processed.read(Path("data/processed/train"))

    assert np.array_equal(split.images, images)
    assert np.array_equal(unpack(split.onehot, 3), classes)


def test_augmentation_changes_what_is_shown_and_what_is_learnt_but_not_what_is_validated(project):
    train.main(tiny.TRAIN)
    plain = written(project)
    tiny.write_params(project, augment__crop=0.5, augment__noise=9.0, augment__cut_mix=0.5)
    train.main(tiny.TRAIN)
    _, description = checkpoint.read(Path("models/model.safetensors"))

    assert (6, 6, 10, 3) == np.load("data/augmented/images.npy").shape
    assert (6, 6, 10) == np.load("data/augmented/classes.npy").shape
    assert tiny.stretched(12, 20) == description.preparation
    assert plain["models/model.safetensors"] != written(project)["models/model.safetensors"]


def test_keep_last_keeps_the_last_epoch(project):
    tiny.write_params(project, train__keep="last")
    train.main(tiny.TRAIN)

    assert 2 == json.loads(Path("metrics/train.json").read_text())["epoch"]


def test_a_sigmoid_network_trains_and_is_scored_on_two_classes(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch, classes=tiny.CLASSES[:2], model__head="sigmoid", train__epochs=20)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    network, description = checkpoint.read(Path("models/model.safetensors"))
    scores = json.loads(Path("metrics/eval.json").read_text())

    assert "sigmoid" == description.head
    assert (1, 4, 1, 1) == tuple(network.state_dict()["head.weight"].shape)
    assert {"dark", "middle"} == set(scores["iou"])
    assert scores["miou"] > 0.9


def test_sigmoid_on_three_classes_is_refused(project):
    tiny.write_params(project, model__head="sigmoid")

    with pytest.raises(PipelineError, match=r"model.head: sigmoid is for two classes, .* have 3"):
        train.main(tiny.TRAIN)


def test_class_weights_are_in_the_model_file_if_the_loss_has_them(project):
    train.main(tiny.TRAIN)
    _, without = checkpoint.read(Path("models/model.safetensors"))
    tiny.write_params(project, train__loss=["weighted_cross_entropy", "dice"])
    train.main(tiny.TRAIN)
    _, with_weights = checkpoint.read(Path("models/model.safetensors"))

    assert () == without.class_weights
    split = processed.read(Path("data/processed/train"))
    assert class_weights.median_frequency(split) == with_weights.class_weights


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_average_is_what_is_written(project, keep):
    def weights(**changes: float) -> dict[str, torch.Tensor]:
        tiny.write_params(project, train__keep=keep, train__epochs=1, **changes)
        train.main(tiny.TRAIN)
        return checkpoint.read(Path("models/model.safetensors"))[0].state_dict()

    plain, averaged = weights(), weights(train__ema=0.99)

    assert all(tensor.isfinite().all() for tensor in averaged.values())
    assert not torch.equal(plain["head.weight"], averaged["head.weight"])


def test_a_training_that_runs_out_of_patience_says_so(project, capsys):
    tiny.write_params(project, train__epochs=50, train__patience=1, train__learning_rate=1e-9)
    train.main(tiny.TRAIN)
    lines = capsys.readouterr().out.splitlines()
    history = records.read_csv(Path("metrics/history.csv"))

    assert f"stopped after epoch {len(history)}: no better mIoU on val since epoch {len(history) - 1}" == lines[-2]
    assert len(history) < 50


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_training_that_collapses_to_one_class_is_warned_of(project, capsys, keep):
    unnormalised = {"width": 4, "depth": 1, "norm": "none", "dropout": 0.0}
    tiny.write_params(project, train__learning_rate=10.0, train__keep=keep, model__unet=unnormalised)
    train.main(tiny.TRAIN)
    collapsed = capsys.readouterr().err
    tiny.write_params(project, train__epochs=6, train__keep=keep)
    train.main(tiny.TRAIN)

    assert re.fullmatch(
        r"warning: val: every pixel is predicted as (dark|middle|bright): the training has failed; "
        r"lower train\.learning_rate, .*\n",
        collapsed,
    )
    assert capsys.readouterr().err == ""


def test_piped_output_has_one_line_per_epoch(project, capsys):
    train.main(tiny.TRAIN)
    lines = capsys.readouterr().out.splitlines()

    assert 2 == sum(line.startswith("epoch ") for line in lines)
    assert lines[-1].startswith("kept epoch")


def test_a_loss_that_diverges_stops_it_and_leaves_the_old_model_alone(project):
    train.main(tiny.TRAIN)
    before = written(project)
    changed = json.loads(json.dumps(tiny.PARAMETERS))
    changed["model"]["unet"] = {"width": 8, "depth": 5, "norm": "none", "dropout": 0.0}
    changed["train"] |= {"learning_rate": 10.0, "schedule": "constant", "epochs": 9, "weight_decay": 0.0}
    (project / "params.yaml").write_text(json.dumps(changed))

    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step \d+ of epoch \d+"):
        train.main(tiny.TRAIN)

    assert before == written(project)


def test_void_everywhere_is_refused(project):
    for split in ("train", "val"):
        onehot = Path(f"data/processed/{split}/onehot-00000.npy")
        content = onehot.read_bytes()
        onehot.write_bytes(content[:128] + bytes(len(content) - 128))
        tiny.seal_again(onehot.parent)

    with pytest.raises(DataError, match="every pixel is void"):
        train.main(tiny.TRAIN)


@pytest.fixture
def tiles(project):
    """Two images of 96x96 as four tiles each, in train and val; class 2 is in a corner of the second alone."""
    masks = np.zeros((2, 96, 96), np.uint8)
    masks[:, 30:70] = 1
    masks[1, :9, :9] = 2
    for name in ("train", "val"):
        rows.write(Path(f"data/processed/{name}"), rows.split(masks, 3, rows.TILES))
    return project


def test_tiles_are_said_once_and_no_other_line_changes(tiles, capsys):
    train.main(tiny.TRAIN)
    lines = capsys.readouterr().out.splitlines()

    assert "train: 2 images as 8 tiles of 64x64" == lines[0]
    assert ["epoch", "epoch", "kept"] == [line.split()[0] for line in lines[1:]]


def test_val_counts_what_each_tile_owns(tiles):
    """The same as if what it does not own were void."""
    train.main(tiny.TRAIN)
    with_overlap = written(tiles)
    folder = Path("data/processed/val")
    split = processed.read(folder)
    void = np.zeros_like(split.onehot)
    for row, (top, bottom, left, right) in enumerate(split.index.owned):
        void[row, top:bottom, left:right] = split.onehot[row, top:bottom, left:right]
    assert void.sum() < split.onehot.sum()
    rows.write(folder, replace(split, images=np.array(split.images), onehot=void))
    train.main(tiny.TRAIN)

    assert with_overlap == written(tiles)


def test_samples_are_drawn_for_rare_classes(tiles, capsys):
    train.main(tiny.TRAIN)
    uniform = written(tiles)
    capsys.readouterr()
    tiny.write_params(tiles, train__sampling={"rare": 0.75})
    train.main(tiny.TRAIN)
    forced = written(tiles)
    assert "train: 75 % of the samples are drawn for rare classes: class 2" == capsys.readouterr().out.splitlines()[1]
    train.main(tiny.TRAIN)

    assert forced == written(tiles)
    assert not {name for name in forced if forced[name] == uniform[name]}
    shown = np.load("data/augmented/classes.npy")
    assert 6 <= (shown == 2).any(axis=(1, 2)).sum()


def test_without_a_rare_class_sampling_is_uniform_and_says_so(tiles, capsys):
    stripes = np.arange(96, dtype=np.uint8)[:, None].repeat(96, axis=1) % 3
    rows.write(Path("data/processed/train"), rows.split([stripes], 3))
    rows.write(Path("data/processed/val"), rows.split([np.zeros((96, 96), np.uint8)], 3))
    train.main(tiny.TRAIN)
    uniform = written(tiles)
    capsys.readouterr()
    tiny.write_params(tiles, train__sampling={"rare": 0.5})
    train.main(tiny.TRAIN)

    assert "train: no class is rare, so sampling is uniform" == capsys.readouterr().out.splitlines()[0]
    assert uniform == written(tiles)


def test_a_device_that_is_missing_is_refused_before_anything_runs(project, monkeypatch):
    monkeypatch.setenv("SEGLINE_DEVICE", "tpu")

    with pytest.raises(DeviceError, match="SEGLINE_DEVICE"):
        train.main(tiny.TRAIN)

    assert not Path("models").exists()


@pytest.mark.parametrize(("name", "expected"), [("unett", "Did you mean unet?"), ("../os", "Choose one of")])
def test_an_unknown_network_is_named_with_the_known_ones(project, name, expected):
    tiny.write_params(project, model__name=name)

    with pytest.raises(PipelineError) as caught:
        train.main(tiny.TRAIN)

    assert expected in str(caught.value)


def test_a_broken_split_is_named(project):
    Path("data/processed/val/index.json").write_text("{")

    with pytest.raises(DataError, match=r"data/processed/val.*not a processed split"):
        train.main(tiny.TRAIN)


def trained(killed_at: str = "never") -> list[str]:
    """What the stage prints in another process, which is killed when a line starts with `killed_at`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KILLED_AT": killed_at}
    command = [sys.executable, "-c", MORTAL, *tiny.TRAIN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (0 if killed_at == "never" else -signal.SIGKILL, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def forget(folder: Path) -> None:
    """Removes the outputs, as DVC does before it runs a stage."""
    for name in ("models", "metrics", "data/augmented"):
        shutil.rmtree(folder / name, ignore_errors=True)


@pytest.mark.slow
def test_a_training_that_is_killed_twice_ends_with_the_bytes_of_one_that_was_not(project):
    """With dropout, a moving average, one_cycle and augmentation."""
    tiny.write_params(project, train__epochs=8, train__ema=0.9, augment__rotation=20.0, augment__cut_mix=0.5)
    whole = trained()
    expected = written(project)
    forget(project)
    trained(killed_at="epoch 3/8")
    second = trained(killed_at="epoch 6/8")
    assert {} == written(project)
    third = trained()

    assert second[0].startswith("resumes after epoch 3 of 8; ")
    assert third[0].startswith("resumes after epoch 6 of 8; ")
    assert [line.split(",")[0] for line in whole[6:]] == [line.split(",")[0] for line in third[1:]]
    assert expected == written(project)
    assert not Path(".segline").exists()


@pytest.fixture
def interrupted(project, monkeypatch, capsys):
    """The project after a training of 5 epochs whose state, saved after epoch 4, was not removed."""
    tiny.write_params(project, train__epochs=5)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "SAVED_EVERY", 0.0)
        patch.setattr(resume, "remove", lambda: None)
        train.main(tiny.TRAIN)
    capsys.readouterr()
    return project


def test_it_says_where_it_resumes_and_how_to_start_over(interrupted, capsys):
    before = written(interrupted)
    train.main(tiny.TRAIN)
    lines = capsys.readouterr().out.splitlines()

    assert "resumes after epoch 4 of 5; remove .segline/train.safetensors to train from the beginning" == lines[0]
    assert lines[1].startswith("epoch 5/5: ")
    assert before == written(interrupted)
    assert not Path(".segline").exists()


def test_a_damaged_state_costs_a_warning_and_the_epochs(interrupted, capsys):
    before = written(interrupted)
    resume.FILE.write_bytes(resume.FILE.read_bytes()[:-1])
    train.main(tiny.TRAIN)
    out, err = capsys.readouterr()

    assert err.startswith("warning: .segline/train.safetensors: damaged (")
    assert 1 == len(err.splitlines())
    assert 5 == sum(line.startswith("epoch ") for line in out.splitlines())
    assert before == written(interrupted)


@pytest.mark.parametrize(
    ("edited", "first"),
    [("segline/reporting/charts.py", "resumes after epoch 4 of 5"), ("segline/training/losses.py", "epoch 1/5")],
)
def test_only_an_edit_of_its_own_code_makes_it_start_over(interrupted, monkeypatch, capsys, edited, first):
    """Its code is what dvc.yaml lists for train."""
    copy = interrupted / "code"
    for name in ("segline", "stages"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(pipeline, "ROOT", copy)
    with (copy / edited).open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    train.main(tiny.TRAIN)

    assert capsys.readouterr().out.startswith(first)


@pytest.mark.parametrize(("native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_trains_in_the_precision_that_it_records(project, monkeypatch, native, expected):
    sent = messages(monkeypatch)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setenv(device.FORCE_BFLOAT16, "1")
    models = []
    for precision in ("auto", expected):
        tiny.write_params(project, train__precision=precision)
        train.main(tiny.TRAIN)
        models.append(Path("models/model.safetensors").read_bytes())

    assert models[0] == models[1]
    assert {"precision": expected} == json.loads(Path("metrics/train.json").read_text())["protocol"]
    assert [expected] * 2 == [
        message["tags"]["precision"] for message in sent if "precision" in message.get("tags", {})
    ]


@pytest.mark.parametrize(("native", "first"), [(False, "resumes after epoch 4 of 5"), (True, "epoch 1/5")])
def test_a_training_in_float32_resumes_under_auto_if_auto_is_float32(interrupted, monkeypatch, capsys, native, first):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    tiny.write_params(interrupted, train__epochs=5, train__precision="auto")
    train.main(tiny.TRAIN)

    assert capsys.readouterr().out.startswith(first)


@pytest.mark.parametrize("change", ["train__seed", "train__epochs", "preprocessed"])
def test_another_training_starts_from_the_beginning_silently(interrupted, capsys, change):
    if change == "preprocessed":
        images = Path("data/processed/val/images-00000.npy")
        images.write_bytes(images.read_bytes()[:-1] + b"\7")
        tiny.seal_again(images.parent)
    else:
        tiny.write_params(interrupted, **{"train__epochs": 5, change: 7})
    train.main(tiny.TRAIN)
    out, err = capsys.readouterr()

    assert "" == err
    assert out.startswith("epoch 1/")
    assert not Path(".segline").exists()


def test_a_state_that_cannot_be_saved_costs_a_warning_and_no_training(project, monkeypatch, capsys):
    monkeypatch.setattr(resume, "SAVED_EVERY", 0.0)
    Path(".segline").write_text("a file where the folder would be")
    train.main(tiny.TRAIN)

    assert "warning: .segline/train.safetensors: not written (" in capsys.readouterr().err
    assert 5 == len(written(project))


def test_the_run_of_a_training_that_resumes_has_the_scores_of_every_epoch(interrupted, monkeypatch):
    sent = messages(monkeypatch)
    train.main(tiny.TRAIN)
    logged = [(key, step) for message in sent for key, _, _, step in message.get("metrics", [])]

    assert [1, 2, 3, 4, 5] == [step for key, step in logged if key == "val_miou"]
    assert [5] == [step for key, step in logged if key == "images_per_second"]
