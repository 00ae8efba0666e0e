"""The pipeline on real CamVid images, by the preset of system S1 made short. SEGLINE_CAMVID names the archive."""

import json
import os
from pathlib import Path

import pytest

from tests.e2e.project import overlaid, stages_run
from tests.e2e.reruns import STAGES

ARCHIVE = os.environ.get("SEGLINE_CAMVID")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ARCHIVE, reason="set SEGLINE_CAMVID to a local copy of the CamVid archive"),
]
SHORT = {
    "data.camvid.url": str(Path(ARCHIVE or "").absolute()),  # the project lies elsewhere
    "preprocess": {"height": 48, "width": 64},
    "model.unet": {"width": 8, "depth": 3, "norm": "batch", "dropout": 0.0},
    "train": {"epochs": 3, "batch_size": 8, "learning_rate": 0.003, "precision": "float32"},
    "evaluate.resamples": 200,
}


def test_the_preset_of_s1_made_short_learns_from_real_images(fresh):
    fresh.run("python", "-m", "segline", "preset", "camvid-seed")
    fresh.write_parameters(overlaid(fresh.parameters(), SHORT))
    fresh.run("python", "-m", "segline", "check")
    output = fresh.dvc("repro")
    scores = json.loads(fresh.read("metrics/eval.json"))
    cells = json.loads(fresh.read("metrics/confusion.json"))
    pixels = {cell["actual"]: 0 for cell in cells}
    for cell in cells:
        pixels[cell["actual"]] += cell["count"]

    assert list(STAGES) == stages_run(output)
    assert 12 == len(pixels)
    assert 101 * 360 * 480 == sum(pixels.values())
    assert ("101", "val", "class") == tuple(scores["protocol"][key] for key in ("images", "split", "void"))
    assert scores["accuracy"] > 1.5 * max(pixels.values()) / sum(pixels.values())
