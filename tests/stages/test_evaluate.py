"""The evaluate stage, against a count by hand at the masks' own resolution."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segline.core import records
from segline.core.errors import DataError, IntegrityError
from segline.dataset import origins, processed
from segline.model import batches, checkpoint, forward
from segline.preprocessing.image_files import png
from segline.scoring import evaluation
from stages import evaluate, preprocess, train
from tests import tiny
from tests.contract.closure import ROOT

MODEL = Path("models/model.safetensors")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with processed data and a trained model."""
    tiny.begin(tmp_path, monkeypatch, train__epochs=6)
    train.main(tiny.TRAIN)
    return tmp_path


def scores() -> dict:
    return json.loads(Path("metrics/eval.json").read_text())


def rows(path: str) -> list[dict[str, str]]:
    return records.read_csv(Path(path))


def write_mask(stem: str, values: np.ndarray) -> None:
    """Another raw mask, as if preprocess had seen it."""
    path = Path(f"data/raw/test/masks/{stem}.png")
    png.write_png(path, values)
    folder = Path("data/processed/test")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    listed = [
        replace(each, sha256_mask=digest) if each.stem == stem else each
        for each in processed.read(folder).index.origins
    ]
    origins.write(folder / origins.ORIGINS, listed, with_objects=False)
    tiny.seal_again(folder)


def logits_by_hand(mean: float, std: float) -> torch.Tensor:
    """The logits of the model for the split, whose bytes are scaled here."""
    network, _ = checkpoint.read(MODEL)
    images = processed.read(Path("data/processed/test")).images
    inputs = (torch.tensor(images, dtype=torch.float32) - mean) / std
    return forward.logits(network, inputs.permute(0, 3, 1, 2))


def scores_by_hand(logits: torch.Tensor) -> tuple[float, float]:
    """Accuracy and mIoU, counted over the raw masks."""
    hits, unions = dict.fromkeys(range(3), 0), dict.fromkeys(range(3), 0)
    right = total = 0
    index = processed.read(Path("data/processed/test")).index
    for image_logits, origin in zip(logits, index.origins, strict=True):
        truth = cv2.imread(f"data/raw/test/{origin.mask}", cv2.IMREAD_UNCHANGED)
        predicted = forward.classes_at(image_logits, *tiny.SIZE)
        valid = truth != tiny.VOID.value
        right += int((truth == predicted)[valid].sum())
        total += int(valid.sum())
        for k in range(3):
            hits[k] += int(((truth == k) & (predicted == k)).sum())
            unions[k] += int((((truth == k) | (predicted == k)) & valid).sum())
    assert total == 4 * (18 - 2) * 30
    return right / total, float(np.mean([hits[k] / unions[k] for k in range(3)]))


def test_the_headline_is_a_count_by_hand_over_the_raw_masks(project):
    evaluate.main(tiny.EVALUATE)
    accuracy, miou = scores_by_hand(logits_by_hand(127.5, 127.5))

    assert scores()["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert scores()["miou"] == pytest.approx(miou, abs=1e-6)


def test_the_calibration_error_is_that_of_the_probabilities_that_predict_writes(project):
    """Of labelled pixels of the raw masks, at the temperature that train has fitted."""
    evaluate.main(tiny.EVALUATE)
    _, model = checkpoint.read(MODEL)
    sums, total = np.zeros((15, 2)), 0
    index = processed.read(Path("data/processed/test")).index
    for image_logits, origin in zip(logits_by_hand(127.5, 127.5), index.origins, strict=True):
        own = F.interpolate(image_logits[None].double(), size=tiny.SIZE, mode="bilinear", align_corners=False)[0]
        sure, predicted = (each.numpy() for each in (own / model.temperature).softmax(dim=0).max(dim=0))
        truth = cv2.imread(f"data/raw/test/{origin.mask}", cv2.IMREAD_UNCHANGED)
        valid = truth != tiny.VOID.value
        places = np.ceil(sure[valid] * 15).astype(int) - 1
        np.add.at(sums, places, np.stack([(truth == predicted)[valid], sure[valid]], axis=-1))
        total += int(valid.sum())

    assert model.temperature != 1
    assert scores()["calibration"]["temperature"] == pytest.approx(model.temperature)
    assert sum(each["pixels"] for each in scores()["calibration"]["bins"]) == total
    assert scores()["ece"] == pytest.approx(np.abs(sums[:, 0] - sums[:, 1]).sum() / total, abs=2e-5)


def test_the_command_of_the_page_on_confidence_prints_the_error_and_the_temperature(project):
    evaluate.main(tiny.EVALUATE)
    (command,) = re.findall(
        r"^python (-c .*)$", (ROOT / "docs/confidence.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    done = subprocess.run([sys.executable, *shlex.split(command)], check=True, capture_output=True, text=True)

    assert [scores()["ece"], scores()["calibration"]["temperature"]] == [float(word) for word in done.stdout.split()]


def test_images_are_scaled_by_the_mean_and_std_of_the_model_file(project):
    """As `predict` does, and whoever uses an exported model."""
    network, model = checkpoint.read(MODEL)
    checkpoint.write(MODEL, network.state_dict(), replace(model, mean=60.0, std=200.0))
    evaluate.main(tiny.EVALUATE)
    own, default = logits_by_hand(60.0, 200.0), logits_by_hand(127.5, 127.5)
    accuracy, miou = scores_by_hand(own)

    assert scores()["accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert scores()["miou"] == pytest.approx(miou, abs=1e-6)
    assert np.array_equal(forward.classes(own), np.load("data/predictions/test.npy"))
    assert not np.array_equal(forward.classes(own), forward.classes(default))


def test_every_record_adds_up_to_the_same_counts(project):
    evaluate.main(tiny.EVALUATE)
    cells = {(c["actual"], c["predicted"]): c["count"] for c in json.loads(Path("metrics/confusion.json").read_text())}
    images = rows("metrics/per_image.csv")
    names = [label.name for label in tiny.CLASSES]

    for name, row in zip(names, rows("metrics/per_class.csv"), strict=True):
        assert sum(cells[name, other] for other in names) == int(row["pixels"])
        assert cells[name, name] == sum(int(image[f"{name}_tp"]) for image in images)
        assert float(row["iou"]) == pytest.approx(scores()["iou"][name], abs=1e-6)
    assert scores()["accuracy"] == pytest.approx(sum(cells[n, n] for n in names) / sum(cells.values()), abs=1e-6)


def test_a_split_larger_than_memory_gives_the_same_bytes(project, monkeypatch):
    evaluate.main(tiny.EVALUATE)
    resident = {path: path.read_bytes() for path in Path("metrics").iterdir()}
    predictions = Path("data/predictions/test.npy").read_bytes()
    monkeypatch.setattr(batches, "SHARE", 0)
    monkeypatch.setattr(batches, "load", None)
    evaluate.main(tiny.EVALUATE)

    assert resident == {path: path.read_bytes() for path in Path("metrics").iterdir()}
    assert predictions == Path("data/predictions/test.npy").read_bytes()


def test_accuracy_and_miou_lie_within_their_intervals(project):
    evaluate.main(tiny.EVALUATE)
    content = scores()

    assert {"accuracy", "miou", "ece"} == content["interval"].keys()
    for metric, interval in content["interval"].items():
        assert interval["low"] <= content[metric] <= interval["high"]
        assert interval["low"] < interval["high"]


def test_both_resolutions_have_the_same_scores(project):
    evaluate.main(tiny.EVALUATE)
    own, working = scores(), scores()["working"]

    assert {"accuracy", "mean_class_accuracy", "mean_dice", "miou", "iou", "interval"} == set(working)
    assert own["iou"].keys() == working["iou"].keys()
    assert {"accuracy", "miou"} == working["interval"].keys()


def test_predictions_are_the_classes_at_the_working_resolution(project):
    evaluate.main(tiny.EVALUATE)
    predictions = np.load("data/predictions/test.npy")

    assert predictions.shape == (4, 12, 20)
    assert predictions.dtype == np.uint8


def test_writing_twice_gives_equal_bytes(project):
    def written() -> list[bytes]:
        evaluate.main(tiny.EVALUATE)
        return [path.read_bytes() for path in sorted(Path("metrics").iterdir())]

    assert written() == written()


def test_the_batch_size_changes_no_prediction(project):
    evaluate.main(tiny.EVALUATE)
    first = np.load("data/predictions/test.npy")
    tiny.write_params(project, evaluate__batch_size=1)
    evaluate.main(tiny.EVALUATE)

    assert np.array_equal(first, np.load("data/predictions/test.npy"))


def test_tiles_are_scored_as_the_images_they_are_cut_from(tmp_path, monkeypatch, capsys):
    """Batches may contain tiles of two images. At scale 1 the working resolution is that of the masks."""
    monkeypatch.setattr(tiny, "SIZE", (70, 90))
    form = {"preprocess__fit": "tile", "preprocess__height": 32, "preprocess__width": 64}
    tiny.begin(tmp_path, monkeypatch, train__epochs=2, **form)
    train.main(tiny.TRAIN)
    outputs = []
    for batch_size in (3, 100):
        tiny.write_params(tmp_path, evaluate__batch_size=batch_size, **form)
        evaluate.main(tiny.EVALUATE)
        assert "tiles overlap by 0 pixels; " in capsys.readouterr().out
        outputs.append((np.load("data/predictions/test.npy").tobytes(), scores()))
    content = scores()

    assert np.load("data/predictions/test.npy").shape == (4 * 3 * 2, 32, 64)
    assert ["test0", "test1", "test2", "test3"] == [row["image"] for row in rows("metrics/per_image.csv")]
    assert 4 * (70 - 2) * 90 == sum(int(row["pixels"]) for row in rows("metrics/per_class.csv"))
    del content["interval"]["ece"]  # of the masks' own resolution alone
    assert content["working"] == {name: content[name] for name in content["working"]}
    assert 0 < content["seam_disagreement"] < 1
    assert "4" == content["protocol"]["images"]
    assert outputs[0] == outputs[1]


def test_without_overlaps_no_seam_disagrees(project):
    evaluate.main(tiny.EVALUATE)

    assert 0 == scores()["seam_disagreement"]


def test_the_protocol_knows_the_data_and_not_the_machine(project):
    evaluate.main(tiny.EVALUATE)
    first = scores()["protocol"]
    write_mask("test0", cv2.imread("data/raw/test/masks/test1.png", cv2.IMREAD_UNCHANGED))
    evaluate.main(tiny.EVALUATE)

    assert first["data"] != scores()["protocol"]["data"]
    assert {"data", "images", "resolution", "schema", "split", "void"} == set(first)
    assert ("4", "test", "ignored") == (first["images"], first["split"], first["void"])


def test_void_as_a_class_is_counted(project):
    """With `preprocess.void: class` the two void lines of each mask are pixels like any others."""
    tiny.write_params(project, preprocess__void="class", train__epochs=1)
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)

    assert "class" == scores()["protocol"]["void"]
    assert [4 * 2 * 30] == [int(row["pixels"]) for row in rows("metrics/per_class.csv") if row["class"] == "void"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model__name": "fcnn"}, "params.yaml: model.name is fcnn"),
        ({"evaluate__resamples": 1}, "greater than or equal to 100"),
    ],
)
def test_a_model_or_section_that_does_not_fit_is_refused(project, change, expected):
    tiny.write_params(project, **change)

    with pytest.raises(Exception, match=r".") as caught:
        evaluate.main(tiny.EVALUATE)

    assert expected in str(caught.value)
    assert not Path("metrics/eval.json").exists()


def test_scores_that_say_little_come_with_a_warning(project, capsys):
    """A class that the split lacks, and a model that predicts one class alone."""
    evaluate.main(tiny.EVALUATE)
    assert capsys.readouterr().err == ""

    for number in range(4):
        write_mask(f"test{number}", np.zeros(tiny.SIZE, np.uint8))
    network, model = checkpoint.read(MODEL)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()}
    checkpoint.write(MODEL, zeros, model)
    evaluate.main(tiny.EVALUATE)

    assert capsys.readouterr().err.splitlines() == [
        "warning: test: no true pixel of middle, bright: without scores, and not part of any mean",
        "warning: test: every pixel is predicted as dark: the model tells no classes apart",
    ]
    assert [row["iou"] for row in rows("metrics/per_class.csv")] == ["1.000000", "", ""]
    assert scores()["iou"] == {"dark": 1.0}


def test_a_model_of_otherwise_prepared_images_is_refused(project):
    form = json.loads(Path("data/processed/test/index.json").read_text())["preparation"]
    other = {"intensity": {"by": "window", "low": [0, 0, 0], "high": [9, 9, 9]}, "dtype": "uint16"}
    tiny.seal_again(Path("data/processed/test"), preparation=form | other)
    with pytest.raises(IntegrityError) as caught:
        evaluate.main(tiny.EVALUATE)

    assert str(caught.value) == (
        "models/model.safetensors: trained on images that were prepared otherwise than those of data/processed/test: "
        "intensity full, not window [0.0, 0.0, 0.0] [9.0, 9.0, 9.0]; dtype None, not uint16. "
        "Train it again: dvc repro train."
    )


def test_parameters_of_tiles_do_not_matter_to_images_that_are_stretched(project):
    form = json.loads(Path("data/processed/test/index.json").read_text())["preparation"]
    tiny.seal_again(Path("data/processed/test"), preparation=form | {"overlap": 0.5, "scale": 0.5})
    evaluate.main(tiny.EVALUATE)

    assert Path("metrics/eval.json").exists()


def test_a_model_of_other_classes_is_refused(project):
    classes = [asdict(label) for label in (replace(tiny.CLASSES[0], name="night"), *tiny.CLASSES[1:])]
    tiny.seal_again(Path("data/processed/test"), classes=classes)

    with pytest.raises(IntegrityError, match="class table differs from that of"):
        evaluate.main(tiny.EVALUATE)


def test_a_raw_mask_that_is_damaged_is_named(project):
    mask = Path("data/raw/test/masks/test0.png")
    mask.write_bytes(mask.read_bytes()[:40])

    with pytest.raises(IntegrityError, match=r"test0.png: sha256 \w{12}..., expected \w{12}... \(dataset.json\)"):
        evaluate.main(tiny.EVALUATE)

    assert not Path("metrics/eval.json").exists()


def test_a_raw_mask_that_changed_since_preprocess_is_refused_though_it_is_a_valid_one(project):
    png.write_png(Path("data/raw/test/masks/test0.png"), np.zeros(tiny.SIZE, np.uint8))

    with pytest.raises(IntegrityError, match=r"test0.png: sha256"):
        evaluate.main(tiny.EVALUATE)

    assert not Path("metrics/eval.json").exists()


def test_merged_classes_are_scored_at_the_resolution_of_the_raw_masks_and_are_other_data(project):
    evaluate.main(tiny.EVALUATE)
    unmerged = scores()["protocol"]["data"]
    tiny.write_params(project, preprocess__merge={"low": ["dark", "middle"], "high": ["bright"]}, train__epochs=1)
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in Path("data/raw/test/masks").iterdir()]

    pixels = {row["class"]: int(row["pixels"]) for row in rows("metrics/per_class.csv")}

    assert {"low": sum((mask < 2).sum() for mask in masks), "high": sum((mask == 2).sum() for mask in masks)} == pixels
    assert unmerged != scores()["protocol"]["data"]


def test_other_mask_values_of_the_same_classes_are_other_data(project):
    index = processed.read(Path("data/processed/test")).index

    changed = replace(index, values=(*index.values[:-1], (200, None)))

    assert evaluation.data_hash(index) != evaluation.data_hash(changed)
    assert evaluation.data_hash(index) == evaluation.data_hash(replace(index))


def test_a_raw_mask_with_an_unknown_value_is_named(project):
    write_mask("test0", np.full(tiny.SIZE, 77, np.uint8))

    with pytest.raises(DataError, match=r"test0.png: value 77 on 540 pixels"):
        evaluate.main(tiny.EVALUATE)
