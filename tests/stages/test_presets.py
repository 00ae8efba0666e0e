"""Every preset trains for an epoch, is scored and drawn: its network, loss and schedule, on tiny data."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from segline.commands import presets
from segline.dataset import raw
from segline.model import device
from segline.preprocessing.image_files import png
from segline.sources import aerial, camvid, cells, synthetic, voc
from stages import evaluate, plot, preprocess, train
from tests import tiny

ROOT = Path(__file__).parents[2]
SIZE = 32
SPLITS = {"train": 4, "val": 2, "test": 2}
SMALLER = {"preprocess": {"height": SIZE, "width": SIZE}, "train": {"epochs": 1, "batch_size": 2}}
NAMES = {
    "aerial": [label.name for label in aerial.CLASSES],
    "cells": [label.name for label in cells.CLASSES],
    "synthetic": [label.name for label in synthetic.CLASSES],
    "camvid": [label.name for label in camvid.CLASSES],
    "voc": voc.NAMES,
}


def class_names(data: dict[str, Any]) -> list[str]:
    """Those of the preset's source; for a folder, those of its section."""
    return [*(NAMES.get(data["source"]) or [each["name"] for each in data["folder"]["classes"]])]


def write_raw(folder: Path, names: list[str]) -> None:
    """Images of noise; masks of stripes, one per class and one void; each stripe is an object."""
    values = [*range(len(names)), 255]
    splits: dict[str, list[raw.Pair]] = {}
    for split, count in SPLITS.items():
        splits[split] = []
        for number in range(count):
            rng = np.random.default_rng([number, *split.encode()])
            stripes = np.roll(np.resize(np.array(values, np.uint8), SIZE), rng.integers(SIZE))
            image, mask = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8), np.tile(stripes, (SIZE, 1))
            pixels = {"images": image, "masks": mask, "objects": np.where(mask == 255, 0, mask + np.uint8(1))}
            paths = [f"{kind}/{number}.png" for kind in pixels]
            for path, content in zip(paths, pixels.values(), strict=True):
                png.write_png(folder / split / path, content)
            hashes = [hashlib.sha256((folder / split / path).read_bytes()).hexdigest() for path in paths]
            splits[split].append(raw.Pair(str(number), None, *paths[:2], *hashes[:2], paths[2], hashes[2]))
    classes = tuple(raw.Label(name, voc.colour(value)) for value, name in enumerate(names))
    void = raw.Void(255, voc.colour(255))
    raw.write(folder, raw.Dataset("noise", classes, tuple(range(len(names))), void, "index", splits))


@pytest.mark.parametrize("name", presets.names(ROOT))
def test_a_preset_starts_on_a_cpu_without_bfloat16(name, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.delenv(device.FORCE_BFLOAT16, raising=False)
    document = yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text(encoding="utf-8"))

    device.require_precision(torch.device("cpu"), document["train"]["precision"])


@pytest.mark.slow
@pytest.mark.parametrize("name", presets.names(ROOT))
def test_a_preset_trains_is_scored_and_drawn(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    document = yaml.safe_load((ROOT / f"presets/{name}.yaml").read_text(encoding="utf-8"))
    write_raw(Path("data/raw"), class_names(document["data"]))
    for section, values in SMALLER.items():
        document[section] |= values
    if document["model"]["name"] == "smp":
        pytest.importorskip("segmentation_models_pytorch", reason="needs the extra encoders")
        document["model"]["smp"] |= {"weights": "", "weights_sha256": ""}
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    train.main(tiny.TRAIN)
    for stage, arguments in ((evaluate, tiny.EVALUATE), (plot, tiny.PLOT)):
        stage.main([text.replace("/test", f"/{document['evaluate']['split']}") for text in arguments])
    scores = json.loads(Path("metrics/eval.json").read_text(encoding="utf-8"))

    assert math.isfinite(scores["miou"])
    assert 1 == len(Path("metrics/history.csv").read_text(encoding="utf-8").splitlines()[1:])
    assert "<html" in Path("metrics/report.html").read_text(encoding="utf-8")
