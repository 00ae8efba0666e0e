"""The epochs of a training as files."""

import csv
import json
from pathlib import Path

import pytest

from segline.dataset import history
from segline.dataset.history import Epoch

FIRST = Epoch(1, 0.0000123456789, 1.5, 1.25, 0.5, 0.25)
SECOND = Epoch(2, 0.008, 1.0, 1.125, 0.6666666666, 0.375)


def test_the_table_has_a_row_an_epoch_and_keeps_six_digits_of_a_small_rate(tmp_path: Path) -> None:
    history.write(tmp_path / "history.csv", [FIRST, SECOND])

    with (tmp_path / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = ["epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou"]
    assert expected == list(rows[0])
    assert ["1.23457e-05", "0.008"] == [row["learning_rate"] for row in rows]
    assert ["0.500000", "0.666667"] == [row["val_accuracy"] for row in rows]


def test_the_kept_epoch_is_told_without_its_rate(tmp_path: Path) -> None:
    history.write_kept(tmp_path / "train.json", SECOND, {"precision": "float32"})

    kept = json.loads((tmp_path / "train.json").read_text(encoding="utf-8"))
    assert {"precision": "float32"} == kept.pop("protocol")
    assert {"epoch": 2, "train_loss": 1, "val_loss": 1.125, "val_accuracy": 0.666667, "val_miou": 0.375} == kept


def test_a_record_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite"):
        history.write_kept(tmp_path / "train.json", Epoch(1, 0.1, float("nan"), 1.0, 0.5, 0.5), {})
    assert not (tmp_path / "train.json").exists()
