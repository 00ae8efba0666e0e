"""The model that ships for CamVid from ImageNet weights, and the preset that trains it."""

import hashlib
import json

import cv2
import numpy as np
import pytest
import yaml

from segline import __main__ as command
from segline.model import checkpoint
from segline.preprocessing.image_files import png
from segline.sources.streets import scene
from segline.sources.streets.view import Kind
from tests.contract.closure import ROOT

MODEL = ROOT / "pretrained/camvid-imagenet.safetensors"
MOST_BYTES = 15_000_000
LARGE = (Kind.SKY, Kind.BUILDING, Kind.ROAD, Kind.TREE)


@pytest.fixture(scope="module")
def preset():
    return yaml.safe_load((ROOT / "presets/camvid-pretrained.yaml").read_text(encoding="utf-8"))


def test_the_file_has_the_hash_in_its_record_and_is_small():
    about = json.loads(MODEL.with_suffix(".json").read_text(encoding="utf-8"))

    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == about["sha256"]
    assert MODEL.stat().st_size == about["metrics"]["cost"]["model_bytes"] <= MOST_BYTES


def test_the_file_has_the_network_of_the_preset_from_the_same_weights(preset):
    _, description = checkpoint.read(MODEL)

    assert preset["model"]["name"] == description.network
    assert preset["model"]["smp"] | {"weights": ""} == description.parameters


def test_it_knows_the_large_things_of_drawn_streets_which_it_has_never_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    drawn = [next(scene.frames(1, 2, street, 1, (180, 240))) for street in range(15)]
    for number, (image, _) in enumerate(drawn):
        png.write_png(tmp_path / f"{number}.png", image)
    command.main(["predict", ".", "--model", str(MODEL), "--out", "predictions"])
    masks = [cv2.imread(f"predictions/masks/{number}.png", cv2.IMREAD_UNCHANGED) for number in range(15)]
    truth, predicted = np.stack([mask for _, mask in drawn]), np.stack(masks)

    assert [label.name for label in checkpoint.read(MODEL)[1].classes] == [kind.name.lower() for kind in Kind]
    for kind in LARGE:
        assert (predicted[truth == kind] == kind).mean() > 0.5, kind
