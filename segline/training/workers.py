"""The workers on this machine: started together, watched, and started again if one of them dies.

There are as many as SEGLINE_WORKERS says and `train.shards` allows; no output depends on their number. The stage
starts its own command once for each, and waits. If a worker dies, the others cannot go on: all are started again, and
resume from the saved state. Not torch's elastic launcher: it would also start a training again that has diverged, and
leave its workers behind if it were killed.
"""

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import IO, Protocol

import torch

from segline.core.errors import ParameterError, TrainingError
from segline.model import device
from segline.monitoring import console, mlflow_run, process
from segline.scheduling import cluster, gang, places
from segline.training import group
from segline.training.group import Lost, Place

THREADS = "OMP_NUM_THREADS"
LOOPBACK = "127.0.0.1"
DEATHS = 3
LOST = 75  # exit status of a worker that lost another, or was told to end: EX_TEMPFAIL of BSD's sysexits.h
PATIENCE = 10.0  # seconds, for a worker to end by itself
POLLED = 0.1  # seconds


class Process(Protocol):
    """What is asked of a worker's `subprocess.Popen`, or of one that runs elsewhere."""

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self) -> int | None: ...


Worker = tuple[Process, IO[bytes]]
Start = Callable[[Sequence[str], int], AbstractContextManager[list[Worker]]]


def wanted(shards: int) -> int:
    """How many workers this machine starts: of SEGLINE_WORKERS as many as have work and, if it has GPUs, one of their
    own; a power of two. Raises DeviceError if it is no number.
    """
    asked = places.workers()
    if asked == 1:
        return 1
    gpus = torch.cuda.device_count() if device.pick().type == "cuda" else asked
    return 1 << (min(asked, shards, gpus).bit_length() - 1)


def fewer(shards: int) -> str | None:
    """Why the workers are fewer than SEGLINE_WORKERS, in one line; None if they are not."""
    asked, count = places.workers(), wanted(shards)
    if count == asked or cluster.is_named():  # which has its own limits
        return None
    limits = "a power of two, at most train.shards" + (" and one a GPU" if device.pick().type == "cuda" else "")
    return f"{places.WORKERS} is {asked} and train.shards {shards}: {count} train{'s' * (count == 1)} ({limits})"


def require_work(count: int, shards: int, where: str) -> None:
    """Raises ParameterError unless `count` workers can share the shards evenly."""
    if shards % count:
        problem = f"{count} workers, but train.shards is {shards}"
        raise ParameterError(where, problem, "Start a power of two, at most train.shards.")


def limit_threads() -> None:
    """From here on this process computes with OMP_NUM_THREADS threads, 1 if unset: sums depend on their number, and
    torch's own choice depends on the machine.
    """
    if THREADS not in os.environ:
        torch.set_num_threads(1)


def work(train: Callable[[], None], rank: int) -> int:
    """Calls `train` in the worker `rank` and returns the exit status. A death is for `run` to tell: the first worker
    says nothing of it, the others why they noticed.
    """
    try:
        with process.ended_within(PATIENCE, LOST):  # also while it waits for the others inside torch
            train()
    except KeyboardInterrupt:
        return LOST
    except Lost as error:
        if rank:
            sys.stderr.write(f"{error}\n")
        return LOST
    return 0


def run(command: Sequence[str], count: int, start: Start | None = None) -> int:
    """Runs `python COMMAND` in each of `count` workers, until all have finished: 0, or the exit status of one that says
    what is wrong. Raises TrainingError after `DEATHS` deaths. However it ends, no worker is left.
    `start` starts them elsewhere than on this machine, and may start fewer.
    """
    for deaths in range(1, DEATHS + 1):
        statuses, noticed = _together(start or started, command, count)
        if statuses[0] == 0:  # it has written the results, and needs the others no more
            return 0
        if (failure := _failed(statuses)) is not None:
            return statuses[failure]
        killed = [f"worker {rank} was ended by {_name(-status)}" for rank, status in enumerate(statuses) if status < 0]
        death = " and ".join(killed) or "the workers lost each other"
        if deaths < DEATHS:
            console.warn(f"train: {death}; all start again from the saved state (death {deaths} of {DEATHS})")
    problem = f"{death}, as {DEATHS - 1} times before" + ("" if killed or not noticed else f" ({noticed})")
    remedy = "Look for what ends them, such as a lack of memory, then run again: the training resumes."
    raise TrainingError("train", problem, remedy)


def _failed(statuses: Sequence[int]) -> int | None:
    """The first worker that ended with an error; None if there were only deaths, or if all have finished."""
    deaths = (0, LOST, 128 + signal.SIGINT, 128 + signal.SIGTERM)
    return next((rank for rank, status in enumerate(statuses) if status > 0 and status not in deaths), None)


def _name(number: int) -> str:
    if number == -gang.GONE:
        return "the death of its node"
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _together(start: Start, command: Sequence[str], count: int) -> tuple[list[int], str]:
    """The exit statuses by rank, `LOST` for a worker that had to be ended because of another; and how the others
    noticed a death.
    """
    with start(command, count) as workers:
        processes = [each for each, _ in workers]
        _wait(processes, lambda: any(each.returncode for each in processes), math.inf)
        if any(each.returncode for each in processes):  # the others notice, and one may be about to say why
            _wait(processes, lambda: False, PATIENCE)
        statuses = [LOST if each.returncode is None else each.returncode for each in processes]
        if failure := _failed(statuses):  # the first worker has said itself what is wrong
            sys.stderr.write(_said(workers[failure]))
        noticed = [_said(worker).strip().split("\n")[-1] for worker in workers[1:]]
    return statuses, next(filter(None, noticed), "")


def _said(worker: Worker) -> str:
    _, said = worker
    said.seek(0)
    return said.read().decode(errors="replace")


def _wait(processes: Sequence[Process], over: Callable[[], bool], seconds: float) -> None:
    """Until all have ended, or it is over, or the time is up."""
    end = time.monotonic() + seconds
    while any([each.poll() is None for each in processes]) and not over() and time.monotonic() < end:  # noqa: C419 - all are polled
        time.sleep(POLLED)


@contextmanager
def started(command: Sequence[str], count: int) -> Iterator[list[Worker]]:
    """The workers, each with what it writes to standard error; the first one writes to that of this process, and to its
    standard output. Whoever still runs at the end is ended.
    """
    with ExitStack() as stack:
        store = group.host(LOOPBACK)
        workers: list[Worker] = []
        stack.callback(end, workers)
        for rank in range(count):
            said = stack.enter_context(tempfile.TemporaryFile())
            worker = subprocess.Popen(
                [sys.executable, *command],
                env=_environment(Place(rank, count, LOOPBACK, store.port)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if rank else None,
                stderr=said if rank else None,
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )
            workers.append((worker, said))
        yield workers


def _environment(place: Place) -> dict[str, str]:
    """Of a worker: it ends with this process, and is not the stage, which DVC starts once. One of them is tracked."""
    own = {**mlflow_run.environment(), **place.environment(), process.PARENT: str(os.getpid())}
    own.pop(process.STAGE, None)
    return own | ({mlflow_run.SWITCH: "off"} if place.rank else {})


def end(workers: Sequence[Worker]) -> None:
    """Ends those that still run: they may clean up for `PATIENCE` seconds."""
    processes = [each for each, _ in workers]
    for each in processes:
        each.terminate()  # does nothing to one that has ended
    _wait(processes, lambda: False, PATIENCE)
    for each in processes:
        each.kill()
        each.wait()
