"""`segline inspect` finds object numbers: what it writes for them is valid unchanged and runs through the stages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from segline.commands import inspect_folder
from segline.core import params
from segline.dataset import processed
from segline.preprocessing import pairs
from segline.preprocessing.image_files import png
from segline.sources import folder
from stages import download, preprocess
from tests import tiny

STEMS = [f"{number:02d}" for number in range(6)]


def cells(seed: str) -> np.ndarray:
    """Five cells in each of eight rows, numbered; five pixels of ground between them."""
    rng = np.random.default_rng([*seed.encode()])
    numbers = np.kron(np.arange(1, 41).reshape(8, 5), np.ones((4, 4), int)).astype(np.uint16)
    return numbers * (rng.random(numbers.shape) < 0.99)


def saved(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    png.write_png(path, pixels)


def picture(path: Path) -> None:
    saved(path, np.random.default_rng([*path.name.encode()]).integers(0, 256, (32, 20), np.uint8))


def numbers_beside(root: Path) -> None:
    for stem in STEMS:
        picture(root / f"images/{stem}.png")
        saved(root / f"masks/{stem}.png", np.where(cells(stem) > 0, 255, 0).astype(np.uint8))
        saved(root / f"instances/{stem}.png", cells(stem))


def numbers_as_masks(root: Path) -> None:
    for stem in STEMS:
        picture(root / f"images/{stem}.png")
        saved(root / f"labels/{stem}.png", cells(stem))


def one_file_each(root: Path) -> None:
    for stem in STEMS:
        picture(root / f"{stem}/images/{stem}.png")
        for number in range(1, 4):
            mask = np.where(cells(stem) == number, 255, 0).astype(np.uint8)
            saved(root / f"{stem}/masks/{stem}{number}.png", mask)


@pytest.mark.parametrize(
    ("build", "expected", "count"),
    [
        (numbers_beside, {"masks": "masks/*.png", "objects": "instances/*.png", "threshold": None}, 40),
        (numbers_as_masks, {"masks": "labels/*.png", "objects": "labels/*.png", "threshold": 0}, 40),
        (one_file_each, {"masks": "*/masks/*.*", "objects": "one_file_each", "threshold": 0}, 3),
    ],
)
def test_object_numbers_are_found_and_become_borders(build, expected, count, tmp_path, monkeypatch):
    build(tmp_path / "mine")
    inspection = inspect_folder.inspect(tmp_path / "mine")
    document: dict[str, Any] = yaml.safe_load(inspection.section or "")
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(tiny.PARAMETERS | document), encoding="utf-8")
    download.main(["--input", document["data"]["input"], "--raw", "data/raw"])
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    index = processed.read(Path("data/processed/train")).index

    assert [] == inspection.problems
    assert expected.items() <= document["data"]["folder"].items()
    assert {"classes": [index.classes[1].name], "border": 2} == document["preprocess"]["objects"]
    assert 3 == len(index.classes)
    assert all(origin.objects for origin in index.origins)
    params.section(document, "data.folder", folder.Section)
    params.section(document, "preprocess", pairs.Section)


def test_classes_that_are_many_are_no_numbers_if_some_are_left_out(tmp_path):
    for place, stem in enumerate(STEMS):
        picture(tmp_path / f"images/{stem}.png")
        saved(tmp_path / f"masks/{stem}.png", np.resize(np.arange(0, 200, 2 + place), (32, 20)).astype(np.uint8))
    document = yaml.safe_load(inspect_folder.inspect(tmp_path).section or "")

    assert (None, None) == (document["data"]["folder"]["objects"], document["preprocess"]["objects"])
