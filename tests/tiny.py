"""A raw data set of a few small images, and parameters that train on it in a second."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from segline.core import seal
from segline.dataset import processed, raw
from segline.dataset.origins import ORIGINS
from segline.dataset.preparation import FULL, Preparation
from segline.preprocessing.image_files import png
from stages import preprocess

CLASSES = (
    raw.Label("dark", (0, 0, 0)),
    raw.Label("middle", (100, 100, 100)),
    raw.Label("bright", (200, 200, 200)),
)
VOID = raw.Void(9, (255, 0, 0))
SIZE = (18, 30)
IMAGES, ONEHOT = "images-00000.npy", "onehot-00000.npy"  # of a split that has one part

PARAMETERS: dict[str, Any] = {
    "preprocess": {
        "fit": "stretch",
        "height": 12,
        "width": 20,
        "scale": 1.0,
        "overlap": 0.25,
        "bands": "rgb",
        "orientation": "check",
        "alpha": "refuse",
        "intensity": {"by": "full"},
        "void": "ignore",
        "merge": {},
        "objects": None,
    },
    "model": {"name": "unet", "head": "softmax", "unet": {"width": 4, "depth": 1, "norm": "batch", "dropout": 0.1}},
    "train": {
        "seed": 1,
        "epochs": 2,
        "batch_size": 4,
        "shards": 1,
        "sampling": "uniform",
        "loss": ["cross_entropy"],
        "label_smoothing": 0.0,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "schedule": "one_cycle",
        "clip_norm": 0.0,
        "ema": 0.0,
        "start_from": None,
        "frozen_epochs": 0,
        "encoder_rate": 1.0,
        "patience": 0,
        "precision": "float32",
        "compile": False,
        "keep": "best",
    },
    "augment": {
        **dict.fromkeys(("flip_horizontal", "flip_vertical", "rotation", "shift"), 0.0),
        **dict.fromkeys(("brightness", "contrast", "saturation", "noise", "cut_mix"), 0.0),
        **dict.fromkeys(("zoom", "crop"), 1.0),
    },
    "evaluate": {"split": "test", "batch_size": 3, "resamples": 100, "seed": 1, "objects": None},
    "plot": {"images": 1},
}


def stretched(height: int, width: int, channels: int = 3) -> Preparation:
    """How 8-bit images become rows of this size, one each."""
    bands = {1: "gray", 3: "rgb"}.get(channels) or tuple(range(1, channels + 1))
    return Preparation("stretch", height, width, 1.0, 0.25, bands, "check", "refuse", FULL)


def write_raw(folder: Path, counts: dict[str, int], classes: tuple[raw.Label, ...] = CLASSES) -> raw.Dataset:
    """Images of vertical bands, one per class, with a void border at the bottom and a little noise."""
    splits: dict[str, list[raw.Pair]] = {}
    for split, count in counts.items():
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        splits[split] = [_pair(folder / split, split, number, len(classes)) for number in range(count)]
    data = raw.Dataset("bands", classes, tuple(range(len(classes))), VOID, "index", splits)
    raw.write(folder, data)
    return data


def _pair(folder: Path, split: str, number: int, bands: int) -> raw.Pair:
    rng = np.random.default_rng([number, *split.encode()])
    mask = np.repeat(np.arange(bands), SIZE[1] // bands)[None].repeat(SIZE[0], axis=0).astype(np.uint8)
    mask = np.roll(mask, rng.integers(30), axis=1)
    image = (mask[..., None] * 100 + rng.integers(0, 30, size=(*SIZE, 3))).astype(np.uint8)
    mask[-2:] = VOID.value
    stem = f"{split}{number}"
    paths = {"image": f"images/{stem}.png", "mask": f"masks/{stem}.png"}
    png.write_png(folder / paths["image"], image)
    png.write_png(folder / paths["mask"], mask)
    hashes = {f"sha256_{k}": hashlib.sha256((folder / path).read_bytes()).hexdigest() for k, path in paths.items()}
    return raw.Pair(stem=stem, group=None, **paths, **hashes)


def write_params(folder: Path, **changes: Any) -> None:
    """params.yaml with some dotted keys changed: `train__epochs=1` is train.epochs."""
    document = yaml.safe_load(yaml.safe_dump(PARAMETERS))
    for key, value in changes.items():
        section, name = key.split("__")
        document[section][name] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")


def begin(
    folder: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[raw.Label, ...] = CLASSES, **changes: Any
) -> None:
    """Makes `folder` the current one, with raw and processed data; stages run in it as DVC runs them."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    write_raw(Path("data/raw"), {"train": 6, "val": 3, "test": 4}, classes)
    write_params(folder, **changes)
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])


def write_split(folder: Path, index: processed.Index, images: np.ndarray, onehot: np.ndarray) -> None:
    """Writes a processed split, in place of another."""
    with processed.writing(folder, len(images), index.preparation, len(index.classes)) as put:
        for number, row in enumerate(zip(images, onehot, strict=True)):
            put(number, *row)
    processed.write_index(folder, index)


def seal_again(processed_split: Path, **changes: Any) -> None:
    """Changes fields of index.json and makes its digests those of the files, as whoever wants to deceive would."""
    path = processed_split / processed.INDEX
    content = json.loads(path.read_text(encoding="utf-8"))
    for name in (processed.IMAGES, processed.ONEHOT):
        files = sorted(processed_split.glob(f"{name}-*.npy"))
        content[f"sha256_{name}"] = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    content["sha256_origins"] = hashlib.sha256((processed_split / ORIGINS).read_bytes()).hexdigest()
    content |= changes
    content.pop(seal.KEY)
    path.write_text(seal.dumps(content, indent=1) + "\n", encoding="utf-8")


TRAIN = [
    *("--train", "data/processed/train", "--val", "data/processed/val"),
    *("--model", "models/model.safetensors", "--history", "metrics/history.csv", "--metrics", "metrics/train.json"),
    *("--augmented", "data/augmented"),
]
EVALUATE = [
    *("--processed", "data/processed/test", "--raw", "data/raw/test", "--model", "models/model.safetensors"),
    *("--metrics", "metrics/eval.json", "--per-class", "metrics/per_class.csv"),
    *("--per-image", "metrics/per_image.csv", "--confusion", "metrics/confusion.json"),
    *("--predictions", "data/predictions"),
]
PLOT = [
    *("--history", "metrics/history.csv", "--train", "metrics/train.json", "--eval", "metrics/eval.json"),
    *("--per-class", "metrics/per_class.csv", "--per-image", "metrics/per_image.csv"),
    *("--confusion", "metrics/confusion.json", "--processed", "data/processed/test"),
    *("--predictions", "data/predictions", "--augmented", "data/augmented", "--model", "models/model.safetensors"),
    *("--plots", "metrics/plots", "--report", "metrics/report.html", "--card", "models/README.md"),
]
