"""A split that two Ray nodes score gives the files of one machine."""

import os
import subprocess
import sys

import pytest

from stages import evaluate, train
from tests import tiny
from tests.cluster.conftest import ROOT
from tests.scoring.test_chunks import outputs

pytestmark = pytest.mark.slow
# Chunks of one image: there are four.
PROGRAM = """
import sys
from segline.scoring import chunks
from stages import evaluate
chunks.BYTES = 1
evaluate.main(sys.argv[1:])
"""


def test_two_nodes_write_the_files_of_one_machine(nodes, tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    expected = outputs()
    environment = {**os.environ, **nodes.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, *tiny.EVALUATE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    assert expected == outputs()
