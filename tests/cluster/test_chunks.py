"""Data that two Ray nodes prepare, and images that they predict, give the files of one machine."""

import os
import subprocess
import sys

import pytest

from segline import __main__ as command
from stages import train
from tests import tiny
from tests.cluster.conftest import ROOT, Nodes
from tests.inference.test_chunks import files
from tests.inference.test_predict import picture

pytestmark = pytest.mark.slow
PREPROCESS = ["--raw", "data/raw", "--processed", "data/processed"]
PREDICT = ["predict", "--model", "models/model.safetensors", "--annotations", "coco", "--batch-size", "1", "in"]
# Chunks of one image.
PROGRAM = """
import sys
from segline import __main__ as command
from segline.inference import chunks as predicted
from segline.preprocessing import chunks as prepared
from stages import preprocess
predicted.IMAGES = prepared.PAGES = 1
(preprocess.main if sys.argv[1] == "--raw" else command.main)(sys.argv[1:])
"""


def start(nodes: Nodes, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **nodes.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_preprocess_and_predict_write_the_files_of_one_machine(nodes, tmp_path, monkeypatch):
    form = {"preprocess__intensity": {"by": "percentile", "low": 1.0, "high": 99.0}}
    tiny.begin(tmp_path, monkeypatch, train__epochs=1, **form)
    train.main(tiny.TRAIN)
    expected = files("data/processed")
    prepared = start(nodes, *PREPROCESS)
    _, said = prepared.communicate()

    assert (0, "") == (prepared.returncode, said)
    assert expected == files("data/processed")

    for number in range(4):
        picture(f"in/{number}.png", 20 + 9 * number, 60)
    command.main([*PREDICT, "--out", "here"])
    predicted = start(nodes, *PREDICT, "--out", "there")
    _, said = predicted.communicate()

    assert (0, "") == (predicted.returncode, said)
    assert files("here") == files("there")
