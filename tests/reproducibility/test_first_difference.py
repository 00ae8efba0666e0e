"""The first difference of two outputs in words, planted in each kind of file that a stage writes."""

import json

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segline.core import records
from segline.reproducibility import first_difference

HISTORY = ["epoch", "train_loss", "val_miou"]


@pytest.fixture
def pair(tmp_path):
    """A function of (name, write made, write expected) that returns the words for their difference."""

    def words(name, write_made, write_expected):
        paths = tmp_path / "made" / name, tmp_path / "expected" / name
        for path, write in zip(paths, (write_made, write_expected), strict=True):
            path.parent.mkdir()
            write(path)
        return first_difference.between(*paths)

    return words


def table(rows):
    return lambda path: records.write_csv(path, HISTORY, rows)


def array(values):
    return lambda path: np.save(path, values)


def text(content):
    return lambda path: path.write_text(content, encoding="utf-8")


def tensors(**values):
    return lambda path: save_file({name: value.clone() for name, value in values.items()}, path)


def test_in_a_history_it_is_the_epoch_and_the_column(pair):
    made, expected = [[1, 0.5, 0.1], [2, 0.25, 0.2]], [[1, 0.5, 0.1], [2, 0.375, 0.3]]

    assert "epoch 2: train_loss is 0.250000 instead of 0.375000" == pair("history.csv", table(made), table(expected))


def test_a_history_that_stopped_earlier_has_fewer_rows(pair):
    assert "1 rows instead of 2" == pair("history.csv", table([[1, 0.5, 0.1]]), table([[1, 0.5, 0.1], [2, 0.4, 0.2]]))


def test_other_columns_are_named(pair):
    assert "columns a instead of b" == pair("x.csv", text("a\n1\n"), text("b\n1\n"))


def test_in_a_model_it_is_the_tensor_and_the_largest_difference(pair):
    same, base = torch.ones(3), torch.zeros(2, 2)
    changed = base.clone()
    changed[1, 0], changed[0, 1] = -0.5, 0.25

    words = pair("m.safetensors", tensors(a=same, b=changed, c=same + 1), tensors(a=same, b=base, c=same))
    assert "2 of 3 tensors, the first is b, by up to 0.5" == words


@pytest.mark.parametrize(
    ("made", "expected", "words"),
    [
        ({"a": torch.ones(2)}, {"a": torch.ones(3)}, "a is torch.float32 (2,) instead of torch.float32 (3,)"),
        ({"a": torch.ones(2), "b": torch.ones(1)}, {"a": torch.ones(2)}, "other tensors, the first is b"),
        ({"a": torch.ones(2)}, {"a": torch.full((2,), float("nan"))}, "a, by up to nan"),
    ],
)
def test_other_tensors_are_named(pair, made, expected, words):
    assert words in pair("m.safetensors", tensors(**made), tensors(**expected))


def test_a_model_of_equal_tensors_differs_in_its_metadata(pair):
    def described(text):
        return lambda path: save_file({"a": torch.ones(2)}, path, {"segline": text})

    assert "equal tensors, other metadata" == pair("m.safetensors", described("1"), described("2"))


def test_in_an_array_it_is_rows_and_values(pair):
    expected = np.zeros((4, 5, 5), np.uint8)
    made = expected.copy()
    made[2, 0, :3], made[3, 1, 1] = 200, 1

    assert "2 of 4 rows, the first is row 2: 3 of 25 values, by up to 200" == pair(
        "x.npy", array(made), array(expected)
    )


def test_other_shapes_of_arrays_are_named(pair):
    words = pair("x.npy", array(np.zeros((2, 3))), array(np.zeros((2, 4), np.uint8)))

    assert "float64 (2, 3) instead of uint8 (2, 4)" == words


def test_in_a_picture_it_is_the_pixels(pair):
    expected = np.zeros((4, 6, 3), np.uint8)
    made = expected.copy()
    made[2, 3, 1], made[3, 0] = 9, 1

    def write(pixels):
        return lambda path: cv2.imwrite(str(path), pixels)

    assert "2 of 24 pixels, the first at row 2, column 3" == pair("x.png", write(made), write(expected))


def test_a_picture_with_another_compression_has_equal_pixels(pair):
    pixels = np.arange(3 * 64 * 64, dtype=np.uint32).astype(np.uint8).reshape(64, 64, 3)

    def write(level):
        return lambda path: cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])

    assert "equal pixels, other bytes" == pair("x.png", write(0), write(9))


def test_in_a_document_it_is_the_key(pair):
    expected = {"iou": {"car": 0.5}, "rows": [{"n": 1}, {"n": 2}]}
    made = {"iou": {"car": 0.5}, "rows": [{"n": 1}, {"n": 3}]}

    assert "rows.1.n is 3 instead of 2" == pair("x.json", text(json.dumps(made)), text(json.dumps(expected)))


def test_a_key_that_is_missing_is_named(pair):
    assert "b is missing instead of 1" == pair("x.json", text('{"a": 1}'), text('{"a": 1, "b": 1}'))


def test_in_a_text_it_is_the_line(pair):
    assert "line 2 is the first of its 3 that differs" == pair("x.html", text("a\nb\nc"), text("a\nB\nc"))


def test_in_a_folder_it_is_the_file_and_its_first_difference(tmp_path):
    for folder, value in (("made", 1), ("expected", 2)):
        (tmp_path / folder / "val").mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_text("same", encoding="utf-8")
        np.save(tmp_path / folder / "val/x.npy", np.array([[0, value]]))

    assert (
        "1 of 2 files, the first is val/x.npy: 1 of 1 rows, the first is row 0: 1 of 2 values, by up to 1"
    ) == first_difference.between(tmp_path / "made", tmp_path / "expected")


def test_in_a_processed_split_it_is_the_array_and_not_its_digest_in_the_index(tmp_path):
    for folder, value in (("made", 1), ("expected", 2)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "onehot.npy", np.array([[0, value]]))
        (tmp_path / folder / "index.json").write_text(f'{{"sha256_onehot": "{value}"}}', encoding="utf-8")

    words = first_difference.between(tmp_path / "made", tmp_path / "expected")
    assert words.startswith("2 of 2 files, the first is onehot.npy: 1 of 1 rows")


@pytest.mark.parametrize(("folder", "words"), [("expected", "missing"), ("made", "unexpected")])
def test_missing_and_unexpected_files_in_a_folder_are_named(tmp_path, folder, words):
    for name in ("made", "expected"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("same", encoding="utf-8")
    (tmp_path / folder / "b").write_text("more", encoding="utf-8")

    assert f"files {words}, the first is b" in first_difference.between(tmp_path / "made", tmp_path / "expected")
