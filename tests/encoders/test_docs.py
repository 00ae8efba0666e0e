"""The example of docs/networks.md is trained, and its model predicts."""

import re

import pytest
import torch
import yaml

from segline.model import checkpoint
from stages import train
from tests import tiny
from tests.contract.closure import ROOT


@pytest.fixture
def example() -> dict[str, object]:
    text = (ROOT / "docs/networks.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(model:\n.*?)```", text, re.DOTALL)
    document: dict[str, object] = yaml.safe_load(block)
    return document


def test_the_example_of_the_page_trains_and_its_file_is_read(tmp_path, monkeypatch, example):
    tiny.begin(tmp_path, monkeypatch)
    training = tiny.PARAMETERS["train"] | {"frozen_epochs": 1, "encoder_rate": 0.1, "ema": 0.5}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny.PARAMETERS | example | {"train": training}))
    train.main(tiny.TRAIN)
    network, description = checkpoint.read(tmp_path / "models/model.safetensors")

    assert example["model"]["smp"] == description.parameters
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 12, 20)).shape == (1, 3, 12, 20)
