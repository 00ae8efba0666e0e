"""Tasks on two Ray nodes: where they run, and how they end when something fails, stops or dies."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import ROOT, Nodes

pytestmark = pytest.mark.slow
SECONDS = 300  # Ray starts processes, and the machine may be busy


class Driver:
    """`tests.cluster.driver` with these tasks, in a folder of its own."""

    def __init__(self, folder: Path, nodes: Nodes, *names: str) -> None:
        self._folder = folder
        command = [sys.executable, "-m", "tests.cluster.driver", *names]
        environment = {**nodes.environment, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)

    def until_running(self, names: Sequence[str]) -> None:
        until(lambda: self.process.poll() is not None or all((self._folder / f"{name}.pid").exists() for name in names))
        assert self.process.poll() is None, self.process.communicate()

    def running(self) -> list[int]:
        """The processes of tasks that live."""
        pids = [int(path.read_text(encoding="utf-8")) for path in self._folder.glob("*.pid")]
        return [pid for pid in pids if psutil.pid_exists(pid)]

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it said on standard output and error."""
        said, complained = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said, complained


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_each_task_runs_once_in_the_folder_and_with_the_threads_of_the_driver(nodes, tmp_path):
    driver = Driver(tmp_path, nodes, "a", "b", "c")
    code, said, complained = driver.end()

    assert (0, "") == (code, complained)
    assert [f"{name} 1 None {{'SEGLINE_WORKERS': '1'}}" for name in "abc"] == sorted(said.splitlines())
    assert ["a.pid", "b.pid", "c.pid"] == sorted(path.name for path in tmp_path.iterdir())


def test_after_a_failure_the_others_end_and_it_is_named(nodes, tmp_path):
    driver = Driver(tmp_path, nodes, "wait", "fail", "wait too")
    code, said, complained = driver.end()

    assert (1, "", "error: fail: broken. Repair it.\n") == (code, said, complained)
    until(lambda: driver.running() == [])


def test_sigterm_ends_the_tasks_and_is_named(nodes, tmp_path):
    driver = Driver(tmp_path, nodes, "wait", "wait too")
    driver.until_running(["wait", "wait too"])
    driver.process.terminate()

    assert (143, "", "error: stopped by SIGTERM\n") == driver.end()
    until(lambda: driver.running() == [])


def test_a_task_whose_node_dies_runs_again_elsewhere(nodes, tmp_path):
    driver = Driver(tmp_path, nodes, "wait", "wait too")
    driver.until_running(["wait", "wait too"])
    nodes.tell("kill")
    (tmp_path / "go").touch()
    code, said, _ = driver.end()
    nodes.tell("add")

    assert 0 == code
    assert 2 == said.count("SEGLINE_WORKERS")  # Ray has its own lines about the node


def test_nodes_of_two_kinds_are_refused_and_what_differs_is_named(nodes, tmp_path):
    nodes.tell("strange")
    code, _, complained = Driver(tmp_path, nodes, "a").end()
    nodes.tell("kill")

    assert (1, []) == (code, list(tmp_path.iterdir()))  # what it says may be Ray's own lines about a node
    assert complained.startswith("error: RAY_ADDRESS: two nodes differ: 127.0.0.1 (")
    assert "has cpu_capability: DEFAULT" in complained
    assert 1 == len(complained.splitlines())


def test_a_folder_that_a_node_does_not_see_is_named(tmp_path):
    from segline.scheduling import nodes

    assert f"{nodes.FAULT}there is no folder {tmp_path}/none" == nodes.machine(f"{tmp_path}/none", {})


def test_a_driver_that_is_killed_takes_its_tasks_along(nodes, tmp_path):
    driver = Driver(tmp_path, nodes, "wait", "wait too")
    driver.until_running(["wait", "wait too"])
    driver.process.kill()

    assert -9 == driver.end()[0]
    until(lambda: driver.running() == [])
