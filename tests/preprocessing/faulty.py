"""A small raw data set, faults to plant in it, and the problems that preprocess reports."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.core.errors import PipelineError, Problems
from segline.dataset import raw as raw_dataset
from segline.dataset.raw import Void
from segline.preprocessing.image_files import png
from tests.preprocessing.test_images import encoded
from tests.stages.test_preprocess import Raw, parameters, run

IMAGE = np.random.default_rng(5).integers(0, 256, (12, 16, 3), np.uint8)
MASK = np.random.default_rng(6).integers(0, 3, (12, 16), np.uint8)
PHOTO = encoded(cv2.resize(IMAGE, (160, 120)), ".jpg")
COLOURS = np.array([(1, 2, 3), (255, 0, 0), (0, 0, 255), (9, 9, 9)], np.uint8)


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Raw:
    """Makes `folder` the current one; three pairs in train, two in val, and parameters for arrays of the same size."""
    monkeypatch.chdir(folder)
    parameters(12, 16)
    made = Raw(Path("raw"))
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            made.add(split, f"{split}_{number}")
    return made


def relist(raw: Raw, place: int, **fields: str) -> None:
    """Changes how a pair of train is listed."""
    data = raw_dataset.read(raw.folder)
    listed = list(data.splits["train"])
    listed[place] = replace(listed[place], **fields)
    raw_dataset.write(raw.folder, replace(data, splits={**data.splits, "train": listed}))


def put(raw: Raw, kind: str, content: bytes, extension: str = ".png") -> str:
    """Gives the image or mask of train_1 this content, lists it with its checksum and returns its path."""
    raw.write()
    (raw.folder / "train" / f"{kind}s" / "train_1.png").unlink()
    name = f"{kind}s/train_1{extension}"
    (raw.folder / "train" / name).write_bytes(content)
    relist(raw, 1, **{kind: name, f"sha256_{kind}": hashlib.sha256(content).hexdigest()})
    return f"raw/train/{name}"


def colour_masks(raw: Raw) -> None:
    """Turns all index masks into colour masks."""
    raw.encoding, raw.values, raw.void = "rgb", (0x010203, 0xFF0000, 0x0000FF), Void(0x090909, (9, 9, 9))
    for split, stems in raw.splits.items():
        for stem in stems:
            mask = cv2.imread(str(raw.mask(split, stem)), cv2.IMREAD_GRAYSCALE)
            png.write_png(raw.mask(split, stem), COLOURS[np.minimum(mask, 3)])


def reported(raw: Raw) -> list[str]:
    """The problems that the stage reports besides a planted one in another split; nothing is written."""
    raw.mask("val", "val_1").unlink()
    with pytest.raises(PipelineError) as caught:
        run()
    assert isinstance(caught.value, Problems), caught.value
    lines = [str(problem) for problem in caught.value.problems]
    lines.remove("raw/val/masks/val_1.png: missing. Put it back, or run the download stage again.")
    assert {"raw", "params.yaml"} == {path.name for path in Path().iterdir()}
    return lines
