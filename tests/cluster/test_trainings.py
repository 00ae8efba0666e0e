"""Many trainings on two Ray nodes, each in a copy of the project on its node."""

import os
import subprocess
import sys

import pytest

from tests.cluster.conftest import ROOT
from tests.reproducibility.test_trainings import root  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
PROGRAM = """
from contextlib import closing
from pathlib import Path
from segline.reproducibility import trainings
from tests.reproducibility.test_trainings import training

jobs = [training(Path.cwd(), f"seed {seed}", train__seed=seed) for seed in (5, 6, 7)]
with closing(trainings.run(jobs)) as ended:
    for each in ended:
        print(each.training.name, each.files[Path("model.txt")].decode())
"""


def test_each_node_trains_with_the_parameters_of_its_task(nodes, root):  # noqa: F811
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    environment = {**os.environ, **nodes.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    expected = [f'seed {n} {{"train": {{"seed": {n}, "epochs": 2}}, "other": "a"}}' for n in (5, 6, 7)]
    assert [*expected, "to train: seed 5; seed 6; seed 7"] == sorted(done.stdout.splitlines())
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
