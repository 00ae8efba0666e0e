"""Tasks that compute in processes of this machine: each result with its number, errors as they are, nothing left."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from segline.core.errors import DataError, DeviceError, Problems
from segline.scheduling import places, tasks
from segline.scheduling.places import Place
from tests.contract.closure import ROOT

pytestmark = pytest.mark.usefixtures("two")


@pytest.fixture
def two(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(places.WORKERS, "2")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def square(number: int, place: Place) -> tuple[int, int, str, bool]:
    return number * number, os.getpid(), os.environ[places.WORKERS], place.quiet


def trouble(name: str, place: Place) -> None:
    """Ends in the way that the name says; "wait" ends by itself only when it is interrupted."""
    if name == "wait":
        Path("waits").write_text(str(os.getpid()))
        try:
            time.sleep(600)
        finally:
            Path("cleaned up").touch()
    while not Path("waits").exists():
        time.sleep(0.01)
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "exit":
        sys.stderr.write("no more\n")
        sys.stderr.flush()
        os._exit(3)
    if name == "disk":
        error = OSError(errno.ENOSPC, "No space left on device")
        error.filename, error.strerror = "a.npy", "No space left on device after 7 bytes"
        raise error
    if name == "data":
        raise Problems("raw", [DataError("a.png", "broken", "Repair it."), DeviceError("b", "missing", "Buy it.")])
    raise ZeroDivisionError(name)


def results(function, items):
    with tasks.computing(2) as compute, closing(compute(function, items)) as ended:
        return dict(ended)


def test_results_have_the_numbers_of_their_items_and_come_from_two_processes():
    found = results(square, range(20))

    assert [number * number for number in range(20)] == [found[number][0] for number in range(20)]
    pids = {pid for _, pid, *_ in found.values()}
    assert len(pids) in (1, 2)
    assert os.getpid() not in pids
    assert {("1", True)} == {(workers, quiet) for *_, workers, quiet in found.values()}
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_the_processes_live_as_long_as_the_block():
    with tasks.computing(2) as compute:
        first, second = (next(compute(square, [1]))[1][1] for _ in range(2))
        assert psutil.pid_exists(first)

    assert first == second
    assert not psutil.pid_exists(first)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("data", Problems, r"^raw: 2 problems found.*\n  a\.png: broken\. Repair it\.\n  b: missing\. Buy it\.$"),
        ("disk", OSError, r"No space left on device after 7 bytes: 'a\.npy'"),
        ("die", DeviceError, r"^SEGLINE_WORKERS: one of the processes was ended by signal 9\. Look"),
        ("exit", DeviceError, r"^SEGLINE_WORKERS: one of the processes ended with exit code 3 \(no more\)\. Look"),
        ("bug", ZeroDivisionError, "bug"),
    ],
)
def test_what_goes_wrong_is_raised_here_and_the_other_task_cleans_up(name, kind, said):
    with pytest.raises(kind, match=said) as raised:
        results(trouble, ["wait", name])

    assert Path("cleaned up").exists()
    assert not psutil.pid_exists(int(Path("waits").read_text()))
    if name == "bug":
        assert "in trouble" in raised.value.__notes__[0]  # the traceback of the process


def test_a_driver_that_is_killed_takes_its_processes_along():
    program = "from tests.scheduling.test_processes import *; results(trouble, ['wait'])"
    driver = subprocess.Popen([sys.executable, "-c", program])
    while not Path("waits").exists() or not Path("waits").read_text():
        assert driver.poll() is None
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    pid = int(Path("waits").read_text())
    end = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_chunks_hold_each_item_once_and_no_more_than_the_limit():
    assert [(0, 2), (2, 3), (3, 5)] == list(tasks.cut([1, 2, 9, 1, 1], 3))
    assert [(0, 1), (1, 2)] == list(tasks.cut([1, 2], 0))
    assert [(0, 0)] == list(tasks.cut([], 3))
