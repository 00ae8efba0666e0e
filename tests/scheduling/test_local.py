"""Tasks on this machine: several at once, each result handed over, nothing left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from segline.core.errors import DataError, DeviceError
from segline.scheduling import local, places, tasks
from segline.scheduling.places import Place

ROOT = Path(__file__).parents[2]


def wait(place: Place) -> NoReturn:
    """As a task does whose process runs until it is stopped."""
    while True:
        place.check()
        time.sleep(0.01)


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name]


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_item_gives_its_result_once(at_once):
    assert {n * n for n in range(20)} == set(local.run(lambda n, _: n * n, range(20), at_once))


def test_no_items_give_no_results():
    assert [] == list(tasks.run(lambda item, _: item, []))


def test_as_many_run_at_once_as_asked_for():
    """Each waits until three are there, which one after another would never be."""
    barrier = threading.Barrier(3, timeout=60)

    assert 3 == len(list(local.run(lambda _item, _place: barrier.wait(), range(3), 3)))


def test_a_result_comes_when_it_is_there_and_not_in_turn():
    second_is_there = threading.Event()

    def task(item: str, _: Place) -> str:
        if item == "first":
            assert second_is_there.wait(60)
        return item

    found = []
    for result in local.run(task, ["first", "second"], 2):
        found.append(result)
        second_is_there.set()

    assert ["second", "first"] == found


def test_after_a_failure_nothing_starts_what_runs_is_stopped_and_what_is_done_is_kept():
    done, started = threading.Event(), []

    def task(item: str, place: Place) -> str:
        started.append(item)
        if item in ("waits", "never"):
            wait(place)
        if item == "fails":
            assert done.wait(60)
            raise DataError("x", "broken", "Repair it.")
        return item

    found = []
    with pytest.raises(DataError, match=r"^x: broken"):  # noqa: PT012 - what came before it is the point
        for result in local.run(task, ["waits", "fails", "works", *["never"] * 5], 3):
            found.append(result)
            done.set()

    assert ["works"] == found
    assert len(started) < 8
    assert [] == pool_threads()


def test_whoever_leaves_early_stops_the_rest():
    def task(item: int, place: Place) -> int:
        if item:
            wait(place)
        return item

    with closing(local.run(task, range(3), 2)) as results:
        assert 0 == next(results)

    assert [] == pool_threads()


def test_ctrl_c_ends_the_tasks_also_between_two_results(tmp_path):
    """Also if nobody closes the iterator: a thread that still waits would keep the process."""
    code = f"""
        import time; from pathlib import Path
        from segline.monitoring import console; from segline.scheduling import local
        from tests.scheduling.test_local import wait
        def task(item, place):
            if item: (Path({str(tmp_path)!r}) / "started").touch(); wait(place)
        def main(_):
            for _ in local.run(task, [0, 1], 2): time.sleep(600)
        console.run(main)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)

    assert "error: stopped by Ctrl-C\n" == process.communicate(timeout=60)[1]
    assert 130 == process.returncode
    assert not psutil.pid_exists(process.pid)


def test_tasks_take_the_gpus_in_turn_and_one_that_ends_gives_its_gpu_back(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    barrier = threading.Barrier(2, timeout=60)

    def task(_: int, place: Place) -> str:
        barrier.wait()
        return place.environment["CUDA_VISIBLE_DEVICES"]

    assert ["3", "3", "5", "5"] == sorted(local.run(task, range(4), 2))


def test_without_a_gpu_a_task_is_told_of_none(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    assert [{places.WORKERS: "1"}] == places.environments(1)


@pytest.mark.parametrize(("text", "expected"), [("", 1), ("1", 1), ("12", 12)])
def test_the_number_of_workers_is_read_from_the_environment(monkeypatch, text, expected):
    monkeypatch.setenv(places.WORKERS, text)

    assert expected == places.workers()


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "\u0662"])
def test_a_number_of_workers_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(places.WORKERS, text)

    with pytest.raises(DeviceError, match=r"^SEGLINE_WORKERS: expected a number of processes, got"):
        places.workers()
