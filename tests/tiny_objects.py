"""A raw data set of discs in pairs that touch, numbered, whose borders are darker: gray levels alone give the classes.

`logits` takes the place of a network's: no test has to train until one can tell discs apart.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segline.dataset import raw
from segline.preprocessing.image_files import png
from stages import preprocess
from tests import tiny

CLASSES = (raw.Label("ground", (20, 20, 20)), raw.Label("disc", (90, 200, 90)))
SIZE = (64, 96)
LEVELS = (40, 200, 120)  # of ground, the inside of discs and their borders
CHANGES = {
    "preprocess__bands": "gray",
    "preprocess__height": SIZE[0],
    "preprocess__width": SIZE[1],
    "preprocess__objects": {"classes": ["disc"], "border": 1},
    "train__epochs": 1,
    "evaluate__objects": {"smallest": 5, "seed": 0.5},
}


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> raw.Dataset:
    """Makes `folder` the current one, with raw and processed data; stages run in it as DVC runs them."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    data = write_raw(Path("data/raw"), {"train": 2, "val": 1, "test": 3})
    tiny.write_params(folder, **(CHANGES | changes))
    with Path("params.yaml").open("a", encoding="utf-8") as stream:
        stream.write("data: {source: cells, input: cells, cells: {}}\n")  # which the report names
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    return data


def write_raw(folder: Path, counts: dict[str, int]) -> raw.Dataset:
    splits = {
        split: [_pair(folder / split, f"{split}{number}", number + 10 * len(split)) for number in range(count)]
        for split, count in counts.items()
    }
    data = raw.Dataset("discs", CLASSES, (0, 1), None, "index", splits)
    raw.write(folder, data)
    return data


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A gray image uint8 and the numbers uint16 of its discs, `SIZE` each: the later one of a pair is on top."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    numbers = np.zeros(SIZE, np.uint16)
    for number, (top, left) in enumerate([(14, 16), (18, 31), (44, 70), (48, 54)], start=1):
        shift = rng.integers(-3, 4, 2)
        distance = np.hypot(y - top - shift[0], x - left - shift[1]) / int(rng.integers(7, 10))
        numbers[distance < 1] = number
    wide = np.pad(numbers, 1)
    near = [wide[1 + dy :, 1 + dx :][: SIZE[0], : SIZE[1]] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    border = (numbers > 0) & np.any([each != numbers for each in near], axis=0)
    level = np.array(LEVELS)[np.where(border, 2, numbers > 0)]
    noisy = level + rng.integers(-60, 61, SIZE)  # so much that some objects are split, merged or invented
    return np.clip(noisy, 0, 255).astype(np.uint8), numbers


def logits(network: torch.nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The classes by gray level, float32 (N, 3, H, W), as `forward.logits`."""
    levels = (torch.tensor(LEVELS) - 127.5).view(1, 3, 1, 1) / 127.5
    return -20 * (inputs - levels) ** 2


def _pair(folder: Path, stem: str, seed: int) -> raw.Pair:
    image, numbers = picture(seed)
    paths = {"image": f"images/{stem}.png", "mask": f"masks/{stem}.png", "objects": f"objects/{stem}.png"}
    arrays = {"image": image, "mask": (numbers > 0).astype(np.uint8), "objects": numbers}
    for kind, path in paths.items():
        png.write_png(folder / path, arrays[kind])
    hashes = {f"sha256_{k}": hashlib.sha256((folder / path).read_bytes()).hexdigest() for k, path in paths.items()}
    return raw.Pair(stem=stem, group=None, **paths, **hashes)
