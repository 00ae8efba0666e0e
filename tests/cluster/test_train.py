"""A training on two Ray nodes: the model of one machine, also when a node dies meanwhile."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages import train
from tests import tiny
from tests.cluster.conftest import ROOT
from tests.cluster.test_tasks import until
from tests.stages.test_train import forget, written
from tests.stages.test_workers import CHANGES, epochs, here

pytestmark = pytest.mark.slow
# Python imports this first in every worker: states are saved after every epoch, and the third epoch waits for leave.
WAITING = """
import pathlib, time
from segline.training import loop, resume

resume.SAVED_EVERY = 0.0
one_pass = loop.one_pass

def waiting(state, section, train, number, *arguments, **more):
    while number == 3 and not pathlib.Path("go").exists():
        time.sleep(0.05)
    return one_pass(state, section, train, number, *arguments, **more)

loop.one_pass = waiting
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with processed data, in which stages run as DVC runs them."""
    tiny.begin(tmp_path, monkeypatch, **CHANGES)
    (tmp_path / "first").mkdir()
    (tmp_path / "first/sitecustomize.py").write_text(WAITING)
    return tmp_path


def start(nodes) -> subprocess.Popen[str]:
    """The train stage on the cluster."""
    paths = os.pathsep.join([str(Path("first").absolute()), str(ROOT)])
    command = [sys.executable, "-m", "stages.train", *tiny.TRAIN]
    environment = {**os.environ, **nodes.environment, "PYTHONPATH": paths}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


def test_a_node_that_dies_leaves_the_training_to_the_other_which_ends_with_the_same_model(nodes, project):
    train.main(tiny.TRAIN)
    expected = written(project)
    forget(project)
    lines = []
    with start(nodes) as driver:
        assert driver.stdout
        assert driver.stderr
        for line in driver.stdout:
            lines.append(line)
            if line.startswith("epoch 2/5"):
                nodes.tell("kill")
                until(lambda: len(here()) < 3)  # the driver and a worker
                Path("go").touch()
        complained = driver.stderr.read().splitlines()
    nodes.tell("add")
    until(lambda: not here())
    [warning] = [line for line in complained if line.startswith("warning:")]  # Ray has its own lines about the node

    assert 0 == driver.returncode, complained
    assert warning.endswith("; all start again from the saved state (death 1 of 3)")
    assert ["train: 2 workers on Ray\n", "train: 1 worker on Ray\n"] == [each for each in lines if "on Ray" in each]
    assert [1, 2, 3, 4, 5] == epochs(lines)
    assert expected == written(project)
