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
from tests.contract.closure import ROOT

MODEL = ROOT / "pretrained/camvid-imagenet.safetensors"
MOST_BYTES = 15_000_000
LOOK = {"sky": (190, 205, 225), "road": (95, 95, 100)}  # the upper and the lower half of a picture


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


def test_it_tells_the_sky_from_the_road(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    image = np.repeat(np.array(list(LOOK.values()), np.uint8)[:, None], 320, axis=1).repeat(120, axis=0)
    noise = np.random.default_rng(1).integers(-5, 6, image.shape)
    png.write_png(tmp_path / "street.png", (image + noise).astype(np.uint8))
    command.main(["predict", "street.png", "--model", str(MODEL), "--out", "predictions"])
    mask = cv2.imread("predictions/masks/street.png", cv2.IMREAD_UNCHANGED)
    names = [label.name for label in checkpoint.read(MODEL)[1].classes]
    upper, lower = (names[np.bincount(half.ravel()).argmax()] for half in np.split(mask, 2))

    assert (240, 320) == mask.shape
    assert ("sky", "road") == (upper, lower)
