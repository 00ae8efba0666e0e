"""Workers on this machine: one model for any number of them, whoever dies meanwhile."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from segline.core.errors import DeviceError, ParameterError, TrainingError
from segline.scheduling import places
from segline.training import group, workers
from stages import train
from tests import tiny
from tests.stages.test_train import forget, written

ROOT = Path(__file__).parents[2]
SECONDS = 300
# Python imports this first in every process of the stage: states are saved after every epoch, in an epoch from which
# deaths are left, the worker of rank DYING ends itself, and in epoch HELD all wait for whoever ends them.
DYING = """
import os, pathlib, signal, time
from segline.training import loop, resume

resume.SAVED_EVERY = 0.0
one_pass = loop.one_pass

def mortal(state, section, train, number, *arguments, **more):
    deaths = pathlib.Path("deaths")
    if os.environ.get("RANK") == os.environ["DYING"] and number >= 3 and (left := int(deaths.read_text())):
        deaths.write_text(str(left - 1))
        os.kill(os.getpid(), getattr(signal, os.environ["DEATH"]))
    if number == int(os.environ["HELD"]):
        time.sleep(600)
    return one_pass(state, section, train, number, *arguments, **more)

loop.one_pass = mortal
"""
# A worker that says when it is about to wait for the others.
JOINING = """
import sys, torch
from segline.monitoring import console
from segline.training import group, workers

def join():
    print("joins", flush=True)
    with group.joined(group.Place.given(), torch.device("cpu")):
        pass

workers.PATIENCE = 0.5
console.run(lambda _: workers.work(join, rank=0))
"""
CHANGES: dict[str, Any] = {
    "train__shards": 4,
    "train__batch_size": 5,
    "train__epochs": 5,
    "train__ema": 0.9,
    "train__clip_norm": 0.5,
    "train__frozen_epochs": 1,
    "augment__rotation": 20.0,
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with processed data, in which stages run as DVC runs them."""
    tiny.begin(tmp_path, monkeypatch, **CHANGES)
    (tmp_path / "first").mkdir()
    (tmp_path / "first/sitecustomize.py").write_text(DYING)
    (tmp_path / "deaths").write_text("0")
    return tmp_path


def start(count: int, dying: int = -1, death: str = "SIGKILL", held: int = 0) -> subprocess.Popen[str]:
    """The train stage with `count` workers, of which one may die, or all wait in an epoch."""
    paths = os.pathsep.join([str(Path("first").absolute()), str(ROOT)])
    own = {"PYTHONPATH": paths, "DYING": str(dying), "DEATH": death, "HELD": str(held), places.WORKERS: str(count)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, "-m", "stages.train", *tiny.TRAIN]
    return subprocess.Popen(command, env={**os.environ, **own}, text=True, **pipes)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Exit status and lines; no worker is left."""
    output, errors = process.communicate(timeout=SECONDS)
    until(lambda: not here())
    return process.returncode, output.splitlines(), errors.splitlines()


def here() -> list[psutil.Process]:
    """Processes of the stage in this folder."""
    found = [each.info | {"process": each} for each in psutil.process_iter(["cmdline", "cwd"])]
    here = str(Path.cwd())
    return [each["process"] for each in found if each["cwd"] == here and "stages.train" in (each["cmdline"] or [])]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def expected(project) -> dict[str, bytes]:
    """What one process writes."""
    train.main(tiny.TRAIN)
    files = written(project)
    forget(project)
    return files


def epochs(lines: list[str]) -> list[int]:
    return [int(line.split("/")[0].removeprefix("epoch ")) for line in lines if line.startswith("epoch ")]


@pytest.mark.slow
def test_a_driver_that_is_killed_takes_its_workers_along_and_one_process_resumes(project, expected):
    driver = start(count=2, held=4)
    assert driver.stdout
    for line in driver.stdout:
        if line.startswith("epoch 3/5"):
            break
    assert 3 == len(here())
    driver.kill()
    ended(driver)
    status, lines, errors = ended(start(count=1))

    assert (0, []) == (status, errors)
    assert re.match(r"resumes after epoch 3 of 5; ", lines[0])
    assert expected == written(project)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "death"), [(1, "SIGKILL"), (0, "SIGTERM")])
def test_all_start_again_from_the_saved_state_when_one_dies(project, expected, rank, death):
    (project / "deaths").write_text("1")
    status, lines, errors = ended(start(count=2, dying=rank, death=death))
    how = "worker 1 was ended by SIGKILL" if rank else "the workers lost each other"

    assert (0, [f"warning: train: {how}; all start again from the saved state (death 1 of 3)"]) == (status, errors)
    assert [1, 2, 3, 4, 5] == epochs(lines)
    assert expected == written(project)


@pytest.mark.slow
def test_the_third_death_ends_the_training_which_resumes_when_it_is_run_again(project, expected):
    (project / "deaths").write_text("3")
    status, lines, errors = ended(start(count=2, dying=1))
    _, again, _ = ended(start(count=2))

    assert (1, [1, 2]) == (status, epochs(lines))
    assert errors[-1].startswith("error: train: worker 1 was ended by SIGKILL, as 2 times before. Look for what ends")
    assert [3, 4, 5] == epochs(again)
    assert expected == written(project)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_ends_all_workers_and_is_said_once(project, number, status):
    driver = start(count=2, held=2)
    assert driver.stdout
    first = driver.stdout.readline()
    driver.send_signal(number)
    ended_with, _, errors = ended(driver)

    assert first.startswith("epoch 1/5")
    assert (status, [f"error: stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}"]) == (ended_with, errors)
    assert {} == written(project)


@pytest.mark.slow
def test_what_is_wrong_with_the_training_is_said_once_and_nothing_starts_again(project):
    unfit = {"width": 8, "depth": 5, "norm": "none", "dropout": 0.0}
    changes = {"learning_rate": 10.0, "schedule": "constant", "epochs": 9, "weight_decay": 0.0, "shards": 2}
    tiny.write_params(project, model__unet=unfit, **{f"train__{name}": value for name, value in changes.items()})
    status, _, [error] = ended(start(count=2))

    assert 1 == status
    assert re.match(r"error: train: loss is (nan|inf) at step \d+ of epoch \d+; no model is written\. Lower", error)


def run(*lines: str) -> int:
    """What `workers.run` returns for two workers that are not the stage: Python, which knows its `rank`."""
    known = ["import os, signal, sys, time", "rank = int(os.environ['RANK'])"]
    return workers.run(["-c", "\n".join([*known, *lines])], count=2)


def test_an_error_of_one_worker_is_said_while_another_waits_for_it(tmp_path, monkeypatch, capfd):
    """As one waits in torch for the others to join, where SIGTERM does not reach it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    waits = "signal.signal(signal.SIGTERM, signal.SIG_IGN); open(str(os.getpid()), 'x'); time.sleep(99)"
    fails = "sys.stderr.write('error: no memory'); sys.exit(3)"

    assert 3 == run(f"if rank == 0: {waits}", "while not os.listdir(): time.sleep(0.01)", fails)
    assert ("", "error: no memory") == capfd.readouterr()
    assert not any(psutil.pid_exists(int(file.name)) for file in tmp_path.iterdir())


def test_sigterm_ends_a_worker_that_waits_inside_torch_for_another():
    """Where no handler of Python is called."""
    store = group.host(workers.LOOPBACK)
    own = group.Place(0, 2, workers.LOOPBACK, store.port).environment()
    command = [sys.executable, "-c", JOINING]
    with subprocess.Popen(command, env={**os.environ, **own}, stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout
            assert "joins\n" == worker.stdout.readline()
            time.sleep(1)  # it is in torch by then; before, it would end as well
            worker.terminate()

            assert workers.LOST == worker.wait(60)
        finally:
            worker.kill()


def test_how_a_death_was_noticed_is_said_in_the_end(capfd):
    with pytest.raises(TrainingError, match=r"lost each other, as 2 times before \(no route to worker 0\)\. Look for"):
        run("if rank: sys.stderr.write('a line of torch\\nno route to worker 0\\n')", "sys.exit(75)")

    assert 2 == capfd.readouterr().err.count("the workers lost each other; all start again")


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGSEGV)", "sys.exit(1)"])
def test_once_the_first_worker_has_finished_the_others_may_fail(capfd, end):
    assert 0 == run(f"if rank: {end}")
    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize(
    ("asked", "shards", "count"), [("1", 1, 1), ("2", 4, 2), ("3", 4, 2), ("8", 4, 4), ("4", 1, 1), ("7", 8, 4)]
)
def test_workers_are_a_power_of_two_and_have_a_shard_each(monkeypatch, asked, shards, count):
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    monkeypatch.setenv(places.WORKERS, asked)
    line = workers.fewer(shards)

    assert count == workers.wanted(shards)
    assert (line is None) is (int(asked) == count)


def test_fewer_workers_than_asked_for_are_said(monkeypatch):
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    monkeypatch.setenv(places.WORKERS, "6")

    expected = "SEGLINE_WORKERS is 6 and train.shards 4: 4 train (a power of two, at most train.shards)"
    assert expected == workers.fewer(shards=4)


def test_each_worker_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv(places.WORKERS, "8")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)

    assert 2 == workers.wanted(shards=8)


def test_a_number_of_workers_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv(places.WORKERS, "two")

    with pytest.raises(DeviceError, match="SEGLINE_WORKERS: expected a number of processes, got 'two'"):
        workers.wanted(shards=4)


@pytest.mark.parametrize("size", [3, 8])
def test_a_group_that_cannot_share_the_shards_is_refused(project, monkeypatch, size):
    """One that another launcher has started."""
    for name, value in {"RANK": "0", "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ParameterError, match=rf"^WORLD_SIZE: {size} workers, but train.shards is 4\. "):
        train.main(tiny.TRAIN)
