"""`segline export` in a project whose model was evaluated: the file is kept only if it scores the same."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segline import __main__ as command
from segline.core.errors import IntegrityError
from segline.dataset.preparation import FULL, Intensity
from segline.inference import export_onnx, export_scores
from segline.model import checkpoint, randomness
from segline.preprocessing.image_files.stored_samples import Samples
from stages import evaluate
from tests import tiny

MODEL = Path("models/model.safetensors")
EXPORT = ["export", "--model", str(MODEL), "--out", "model.onnx"]
DESCRIPTION = checkpoint.Description(
    "unet", tiny.PARAMETERS["model"]["unet"], "softmax", tiny.stretched(12, 20), 127.5, 127.5, tiny.CLASSES, ()
)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with a model that was evaluated on its test split."""
    tiny.begin(tmp_path, monkeypatch)
    randomness.deterministic(2)
    checkpoint.write(MODEL, checkpoint.network(DESCRIPTION).state_dict(), DESCRIPTION)
    evaluate.main(tiny.EVALUATE)
    return tmp_path


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.usefixtures("project")
def test_the_exported_file_scores_what_evaluate_found_and_says_so(capsys):
    onnx = pytest.importorskip("onnx", reason=f"the extra is not installed: {export_onnx.INSTALL}")
    metrics = json.loads(Path("metrics/eval.json").read_text())
    command.main(EXPORT)
    (facts,) = (each.value for each in onnx.load("model.onnx").metadata_props if each.key == "checks")
    scores = json.loads(facts)["scores"]

    assert "test" == scores["split"]
    assert metrics["accuracy"] == pytest.approx(scores["accuracy"], abs=1e-3)
    assert metrics["miou"] == pytest.approx(scores["miou"], abs=1e-3)
    said = f"against {metrics['accuracy']:.4f} and {metrics['miou']:.4f} in metrics/eval.json as it is\n"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(("score", "name"), [("accuracy", "accuracy"), ("miou", "mIoU")])
@pytest.mark.usefixtures("project")
def test_a_file_that_scores_otherwise_is_not_kept(score, name):
    pytest.importorskip("onnxruntime", reason=f"the extra is not installed: {export_onnx.INSTALL}")
    expected = json.loads(Path("metrics/eval.json").read_text())[score]
    change(Path("metrics/eval.json"), **{score: expected + 0.006})

    with pytest.raises(
        IntegrityError, match=rf"model.onnx: {name} 0\.\d+ on test, while evaluate found {expected + 0.006:.4f}"
    ):
        command.main(EXPORT)
    assert not Path("model.onnx").exists()


@pytest.mark.usefixtures("project")
def test_the_evaluated_split_is_found():
    found = export_scores.at_hand(MODEL, DESCRIPTION)

    assert isinstance(found, export_scores.Evaluated)
    assert ("test", 4, Path("data/raw/test")) == (found.index.split, len(found.index.origins), found.folder)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (MODEL.unlink, "not the model of this project, models/model.safetensors"),
        (lambda: MODEL.write_bytes(b"another"), "not the model of this project, models/model.safetensors"),
        (lambda: Path("metrics/eval.json").unlink(), "metrics/eval.json: missing"),
        (lambda: Path("metrics/eval.json").write_text("{"), "metrics/eval.json: not what evaluate writes ("),
        (
            lambda: change(Path("metrics/eval.json"), protocol={}),
            "metrics/eval.json: not what evaluate writes ('split')",
        ),
        (lambda: shutil.rmtree("data/processed/test"), "data/processed/test/index.json: missing"),
        (lambda: tiny.seal_again(Path("data/processed/test"), void_is_class=True), "about other images, masks or"),
        (lambda: shutil.rmtree("data/raw/test"), "data/raw/test/images/"),
        (lambda: shutil.rmtree("data/raw/test/masks"), "data/raw/test/masks/"),
    ],
)
@pytest.mark.usefixtures("project")
def test_why_there_is_no_evaluated_split_is_said(spoil, reason):
    shutil.copy(MODEL, "copy.safetensors")
    spoil()

    assert reason in str(export_scores.at_hand(Path("copy.safetensors"), DESCRIPTION))


@pytest.mark.usefixtures("project")
def test_without_the_raw_images_the_file_is_compared_on_noise_alone(capsys):
    pytest.importorskip("onnxruntime", reason=f"the extra is not installed: {export_onnx.INSTALL}")
    shutil.rmtree("data/raw/test")
    command.main(EXPORT)

    assert re.search(
        r"^export: compared on noise alone: data/raw/test/images/\S+: missing$", capsys.readouterr().out, re.MULTILINE
    )
    assert Path("model.onnx").exists()


@pytest.mark.usefixtures("project")
def test_images_that_are_too_large_to_be_seen_whole_are_left_alone(monkeypatch):
    monkeypatch.setattr(export_scores, "MOST_PIXELS", 18 * 30 - 1)
    tiles = replace(DESCRIPTION, preparation=replace(DESCRIPTION.preparation, fit="tile"))

    assert "test: an image of 540 pixels" in str(export_scores.at_hand(MODEL, tiles))
    assert isinstance(export_scores.at_hand(MODEL, DESCRIPTION), export_scores.Evaluated)


@pytest.mark.usefixtures("project")
def test_every_labelled_pixel_counts_once_and_void_does_not():
    found = export_scores.at_hand(MODEL, DESCRIPTION)
    assert isinstance(found, export_scores.Evaluated)
    bands = replace(found, accuracy=1.0, miou=1.0)
    with_void = np.zeros((18, 30), np.uint8)

    def bright(image: np.ndarray) -> np.ndarray:
        """The class by its brightness, as the images were drawn; anything in the void border."""
        with_void[:-2] = (image[:-2, :, 0] // 100).clip(max=2)
        return with_void

    scores = export_scores.check(Path("model.onnx"), bright, bands, DESCRIPTION.preparation)
    assert (1.0, 1.0) == (scores.accuracy, scores.miou)


def test_what_goes_in_is_what_a_caller_would_read():
    rgb, deep = tiny.stretched(12, 20), np.arange(12, dtype=np.uint16).reshape(2, 2, 3) * 257
    gray = Samples(np.full((2, 2, 1), 7, np.uint8), None)
    bands = replace(
        rgb, bands=(3, 1), file_bands=3, dtype="uint16", intensity=Intensity("window", (0.0,) * 2, (9.0,) * 2)
    )
    luma = replace(rgb, bands="gray", dtype="uint16", intensity=Intensity("window", (0.0,), (9.0,)))

    assert (2, 2, 3) == export_scores.model_input(gray, rgb).shape, "a gray file for R, G and B"
    assert np.array_equal(deep // 257, export_scores.model_input(Samples(deep, None), rgb)), "16 bits as 8"
    assert np.array_equal(deep, export_scores.model_input(Samples(deep, None), bands)), "all bands of the file"
    assert (np.uint16, (2, 2, 1)) == (
        export_scores.model_input(Samples(deep, None), luma).dtype,
        export_scores.model_input(Samples(deep, None), luma).shape,
    )
    assert rgb.intensity == FULL
