"""The processed splits of a raw data set: complete, or not written at all."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from segline.core.errors import PipelineError, Problems
from segline.dataset import processed
from segline.dataset import raw as raw_dataset
from segline.preprocessing import pairs, split_writer
from tests.preprocessing import faulty

SECTION = pairs.Section(height=6, width=8, channels=3, void="ignore", merge={})
SIZE = 8 * 6 * (3 + 1) * 5  # 8x6 pixels of 3 channels and a byte of one-hot bits, five pairs


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Three pairs in train, two in val."""
    made = faulty.begin(tmp_path, monkeypatch)
    made.write()
    return made


@pytest.fixture
def free_space(monkeypatch) -> Callable[[int], None]:
    """Makes the disk look as if it had so many bytes left."""
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def write() -> Path:
    data = raw_dataset.read(Path("raw"))
    split_writer.write(Path("raw"), Path("processed"), pairs.recipe(Path("raw"), data, SECTION), data)
    return Path("processed")


def test_each_split_has_a_row_for_each_pair(raw):
    folder = write()

    assert {"train", "val"} == {path.name for path in folder.iterdir()}
    for split, stems in raw.splits.items():
        assert stems == [row.stem for row in processed.read(folder / split).index.rows]


def test_problems_of_all_splits_come_together_and_nothing_is_written(raw):
    for split, stem in (("train", "train_1"), ("val", "val_0")):
        raw.mask(split, stem).unlink()

    with pytest.raises(Problems) as caught:
        write()

    assert ["raw/train/masks/train_1.png", "raw/val/masks/val_0.png"] == [each.where for each in caught.value.problems]
    assert {"raw", "params.yaml"} == {path.name for path in Path().iterdir()}


@pytest.mark.usefixtures("raw")
def test_too_little_disk_space_is_reported_before_any_work(free_space):
    free_space(0)

    with pytest.raises(PipelineError, match=r"processed: 0 MiB free on its disk, expected at least 1 MiB"):
        write()


@pytest.mark.usefixtures("raw")
def test_the_arrays_must_fit_twice_because_dvc_copies_them(free_space):
    free_space(2 * SIZE - 1)
    with pytest.raises(PipelineError, match=r"twice the size of the arrays: DVC's cache keeps a copy\. Free some"):
        write()
    free_space(2 * SIZE)

    assert write().is_dir()
