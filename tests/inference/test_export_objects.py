"""`segline export` for a model that has learnt objects: a border counts as its class, and the metadata say as which."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segline import __main__ as command
from segline.inference import export_onnx, onnx_graph
from segline.model import objects
from stages import evaluate, train
from tests import tiny, tiny_objects

EXPORT = ["export", "--model", "models/model.safetensors", "--out", "model.onnx"]


@pytest.mark.parametrize("parents", [[0, 1], [0, 1, 2, 1], [0, 1, 2, 3, 3, 0]])
def test_the_graph_adds_probabilities_as_predict_does(parents):
    logits = 9 * torch.randn(len(parents), 5, 7, generator=torch.Generator().manual_seed(1))

    assert torch.allclose(objects.folded(logits, parents), onnx_graph._folded(logits, parents), atol=1e-5)


@pytest.mark.slow
def test_a_model_of_objects_scores_what_evaluate_found_and_names_the_parents_of_borders(tmp_path, monkeypatch, capsys):
    onnx = pytest.importorskip("onnx", reason=f"the extra is not installed: {export_onnx.INSTALL}")
    onnxruntime = pytest.importorskip("onnxruntime")
    tiny_objects.begin(tmp_path, monkeypatch, train__epochs=8)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    command.main(EXPORT)
    facts = {
        entry.key: json.loads(entry.value)
        for entry in onnx.load("model.onnx").metadata_props
        if entry.key in ("parents", "classes", "checks", "temperature")
    }
    metrics = json.loads(Path("metrics/eval.json").read_text())
    image = cv2.imread("data/raw/test/images/test0.png", cv2.IMREAD_GRAYSCALE)[..., None]
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    classes, logits = session.run(["classes", "logits"], {"image": image})
    weights = np.exp(logits * facts["temperature"])
    shares = weights / weights.sum(axis=0)
    by_hand = np.stack([shares[0], shares[1] + shares[2]])

    assert [0, 1, 1] == facts["parents"]
    assert ["ground", "disc", "disc border"] == [label["name"] for label in facts["classes"]]
    assert metrics["miou"] == pytest.approx(facts["checks"]["scores"]["miou"], abs=1e-3)
    assert "in metrics/eval.json as it is" in capsys.readouterr().out
    assert {2} <= set(np.unique(logits.argmax(axis=0)).tolist()), "no pixel is most probably border: nothing is shown"
    assert np.array_equal(by_hand.argmax(axis=0), classes)
