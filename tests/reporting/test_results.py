"""What train and evaluate wrote comes back as it was, or as one clear error."""

import json
from dataclasses import astuple

import numpy as np
import pytest

from segline.core.errors import DataError
from segline.dataset import processed, raw
from segline.reporting import results
from tests import evaluated, tiny


@pytest.fixture
def world(tmp_path):
    return evaluated.build(tmp_path / "run", absent=[2], void_rows=[3])


@pytest.fixture
def index(world):
    return processed.read(world.inputs["processed"]).index


def test_the_history_comes_back(world):
    first, *_ = results.read_history(world.inputs["history"])

    assert (1, 0.01, 1.0, 1.2, 0.5, 0.2) == astuple(first)


def test_undefined_scores_come_back_as_none(world, index):
    classes = results.read_classes(world.inputs["per_class"], index)
    images = results.read_images(world.inputs["per_image"], index)

    assert [False, False, True] == [score.iou is None for score in classes]
    assert [3] == [row for row, score in enumerate(images) if score.miou is None]


def test_the_confusion_matrix_comes_back_with_rows_actual(tmp_path, index):
    names = [label.name for label in index.classes]
    cells = [
        {"actual": a, "predicted": p, "count": 10 * i + j} for i, a in enumerate(names) for j, p in enumerate(names)
    ]
    path = tmp_path / "confusion.json"
    path.write_text(json.dumps(cells[::-1]), encoding="utf-8")

    assert [[0, 1, 2], [10, 11, 12], [20, 21, 22]] == results.read_confusion(path, index).tolist()


def test_a_score_that_evaluate_left_out_is_undefined(world):
    path = world.inputs["eval"]
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["miou"], content["interval"]
    path.write_text(json.dumps(content), encoding="utf-8")

    evaluation = results.read_evaluation(path)

    assert (None, {}) == (evaluation.miou, evaluation.interval)


def test_the_epoch_kept_is_the_one_that_train_wrote(tmp_path):
    (tmp_path / "train.json").write_text('{"epoch": 2, "val_miou": 0.4}', encoding="utf-8")

    assert results.read_kept_epoch(tmp_path / "train.json") == 2


@pytest.mark.parametrize("content", ["{}", '{"epoch": 0}', '{"epoch": "two"}', "[]"])
def test_an_epoch_that_is_none_is_refused(tmp_path, content):
    (tmp_path / "train.json").write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=r"train.json"):
        results.read_kept_epoch(tmp_path / "train.json")


TABLE = "epoch,learning_rate,train_loss,val_loss,val_accuracy,val_miou\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (TABLE, "no rows"),
        (b"\xff\xfe", "not UTF-8"),
        ("epoch\n1\n", "row 1: learning_rate: field required"),
        (TABLE + "1,0.1,nan,1,0.5,0.5\n", "row 1: train_loss: .*finite"),
        (TABLE + "1,0.1,1,1,0.5,0.5\n2,0.1,1,1,1.5,0.5\n", "row 2: val_accuracy: .*less than or equal to 1, got '1.5'"),
        (TABLE + "1,0.1,1,1,0.5\n", "row 1: val_miou"),
        (TABLE + "1,0.1,1,1,0.5,0.5,7\n", "row 1: more fields than the header"),
        (TABLE + "x" * 200_000 + "\n", "not CSV"),
    ],
)
def test_a_broken_history_is_named_with_its_row(tmp_path, content, problem):
    path = tmp_path / "history.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(DataError, match=f"history.csv: {problem}"):
        results.read_history(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "input should be"),
        ("{}", "working: field required"),
        ("{", "not JSON"),
        ('{"miou": 2, "working": {}, "cost": {}, "protocol": {}}', "miou: input should be less than or equal to 1"),
        ('{"miou": NaN, "working": {}, "cost": {}, "protocol": {}}', "miou: .*finite"),
    ],
)
def test_a_broken_evaluation_is_named_with_its_key(tmp_path, content, problem):
    path = tmp_path / "eval.json"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(DataError, match=f"eval.json: {problem}"):
        results.read_evaluation(path)


def test_scores_of_other_classes_or_images_are_refused(world, index):
    other = evaluated.build(world.folder / "other", classes=["sky", "class 1", "road"], images=5)

    with pytest.raises(DataError, match=r"per_class\.csv: row 1 is 'sky', but the processed split has 'class 0'"):
        results.read_classes(other.inputs["per_class"], index)
    with pytest.raises(DataError, match=r"per_image\.csv: 5 images, but the processed split has 7"):
        results.read_images(other.inputs["per_image"], index)
    with pytest.raises(DataError, match=r"confusion\.json: 9 cells, expected one for each of the 9 pairs"):
        results.read_confusion(other.inputs["confusion"], index)


@pytest.mark.parametrize(
    ("predictions", "problem"),
    [
        (np.zeros((7, 12, 16), np.int64), "int64"),
        (np.zeros((7, 12, 15), np.uint8), r"\(7, 12, 15\), expected uint8 \(7, 12, 16\)"),
        (np.full((7, 12, 16), 3, np.uint8), r"class 3, expected 0\.\.2"),
        (np.array([object()]), "not a NumPy array"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(world, predictions, problem):
    path = world.folder / "test.npy"
    np.save(path, predictions)

    with pytest.raises(DataError, match=rf"test\.npy: .*{problem}"):
        results.read_predictions(path, processed.read(world.inputs["processed"]))


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x05\x00{'a':"])
def test_a_missing_or_truncated_array_is_named(world, content):
    path = world.folder / "test.npy"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DataError, match=r"test\.npy: (missing|not a NumPy array)"):
        results.read_predictions(path, processed.read(world.inputs["processed"]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_augmented_samples_come_back(tmp_path, channels):
    images, classes = np.zeros((2, 3, 4, channels), np.uint8), np.full((2, 3, 4), 255, np.uint8)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "classes.npy", classes)

    shapes = [array.shape for array in results.read_augmented(tmp_path, described(channels))]

    assert [(2, 3, 4, channels), (2, 3, 4)] == shapes


def described(channels):
    """The index of a split of three classes."""
    labels = tuple(raw.Label(name, (1, 2, 3)) for name in "abc")
    return processed.Index("toy", "test", labels, None, False, "index", (), tiny.stretched(3, 4, channels), origins=())


@pytest.mark.parametrize(
    ("images", "classes", "problem"),
    [
        (np.zeros((2, 3, 4, 1), np.uint8), np.zeros((2, 3, 4), np.uint8), "do not fit"),
        (np.zeros((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 5), np.uint8), "do not fit"),
        (np.zeros((0, 3, 4, 3), np.uint8), np.zeros((0, 3, 4), np.uint8), "do not fit"),
        (np.zeros(1, np.uint8), np.array(0, np.uint8), "do not fit"),
        (np.zeros((2, 3, 4, 3), np.uint8), np.zeros((2, 3, 4), np.int64), "int64"),
        (np.zeros((2, 3, 4, 3)), np.zeros((2, 3, 4), np.uint8), "float64"),
        (np.zeros((2, 3, 4, 3), np.uint8), np.full((2, 3, 4), 3, np.uint8), r"class 3, expected 0\.\.2 or 255"),
    ],
)
def test_augmented_samples_that_do_not_fit_are_refused(tmp_path, images, classes, problem):
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "classes.npy", classes)

    with pytest.raises(DataError, match=problem):
        results.read_augmented(tmp_path, described(channels=3))
