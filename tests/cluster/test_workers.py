"""Workers on two Ray nodes: how they end when one of them dies again and again, or the driver does."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from segline.training.workers import LOST
from tests.cluster.conftest import ROOT, Nodes
from tests.cluster.test_tasks import SECONDS, until

pytestmark = pytest.mark.slow
# Two workers that do not train: each runs the script.
DRIVER = """
import sys
from segline.monitoring import console
from segline.training import cluster_workers
console.run(lambda _: cluster_workers.run(["-c", sys.argv[1]], shards=2))
"""
WAITS = "import os, pathlib, time; pathlib.Path(os.environ['RANK']).write_text(str(os.getpid())); time.sleep(600)"
# The second worker dies; the first one notices, as a training does.
DIES = f"import os, sys; os.environ['RANK'] == '1' and os.kill(os.getpid(), {signal.SIGKILL:d}); sys.exit({LOST})"


def start(nodes: Nodes, folder: Path, script: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, script]
    environment = {**nodes.environment, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGKILL, -signal.SIGKILL, ""), (signal.SIGINT, 130, "error: stopped by Ctrl-C\n")],
)
def test_a_driver_that_ends_takes_its_workers_along(nodes, tmp_path, number, status, said):
    driver = start(nodes, tmp_path, WAITS)
    files = [tmp_path / "0", tmp_path / "1"]
    until(lambda: driver.poll() is not None or all(file.exists() and file.read_text() for file in files))
    assert driver.poll() is None, driver.communicate()
    workers = [psutil.Process(int(file.read_text())) for file in files]
    actors = [worker.parent() for worker in workers]
    driver.send_signal(number)
    output, complained = driver.communicate(timeout=SECONDS)

    assert (status, "train: 2 workers on Ray\n", said) == (driver.returncode, output, complained)
    until(lambda: not any(each and each.is_running() for each in workers + actors))


def test_the_third_death_is_an_error_and_the_places_of_earlier_drivers_are_free(nodes, tmp_path):
    driver = start(nodes, tmp_path, DIES)
    output, complained = driver.communicate(timeout=SECONDS)
    *warnings, error = complained.splitlines()
    dead = "train: worker 1 was ended by SIGKILL"

    assert (1, 3 * "train: 2 workers on Ray\n") == (driver.returncode, output)
    assert [f"warning: {dead}; all start again from the saved state (death {n} of 3)" for n in (1, 2)] == warnings
    assert error.startswith(f"error: {dead}, as 2 times before. Look for what ends them")
