"""The workers on this machine: started together, watched, and started again if one of them dies.

    SEGLINE_WORKERS=N    processes that train together, a power of two up to `train.shards`; 1 if unset

Not a parameter: no output depends on it. The stage starts its own command N times and waits. If a worker dies, the
others cannot go on: all are started again, and resume from the saved state. Not torch's elastic launcher: it would
start a training again that has diverged, and leave its workers behind if it were killed.
"""

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

import torch

from segline.core.errors import DeviceError, ParameterError, TrainingError
from segline.model import device
from segline.monitoring import console, mlflow_run, process
from segline.training import group
from segline.training.group import Lost, Place

VARIABLE = "SEGLINE_WORKERS"
THREADS = "OMP_NUM_THREADS"
LOOPBACK = "127.0.0.1"
DEATHS = 3
LOST = 75  # exit status of a worker that lost another, or was told to end: EX_TEMPFAIL of BSD's sysexits.h
PATIENCE = 10.0  # seconds, for a worker to end by itself
POLLED = 0.1  # seconds

Worker = tuple[subprocess.Popen[bytes], IO[bytes]]


def wanted(shards: int) -> int:
    """How many workers this machine is to start. Raises ParameterError or DeviceError for a number it cannot."""
    text = os.environ.get(VARIABLE) or "1"
    count = int(text) if text.isdecimal() else 0
    if count < 1 or count & (count - 1):
        raise ParameterError(VARIABLE, f"expected a power of two, got {text!r}", "Set it to one or unset it.")
    require_work(count, shards, VARIABLE)
    if count > 1 and device.pick().type == "cuda" and count > (gpus := torch.cuda.device_count()):
        problem = f"{count} workers, but {gpus} GPU{'s' * (gpus != 1)}"
        raise DeviceError(VARIABLE, problem, f"Each needs a GPU of its own: set it lower, or {device.VARIABLE}=cpu.")
    return count


def require_work(count: int, shards: int, where: str) -> None:
    """Raises ParameterError if some of `count` workers would have no shard."""
    if count > shards:
        problem = f"{count} workers, but train.shards is {shards}"
        raise ParameterError(where, problem, "A worker computes one shard of each batch or more: set it lower.")


def limit_threads() -> None:
    """From here on this process computes with OMP_NUM_THREADS threads, 1 if unset: sums depend on their number, and
    torch's own choice depends on the machine.
    """
    if THREADS not in os.environ:
        torch.set_num_threads(1)


def work(train: Callable[[], None]) -> int:
    """Calls `train` in a worker and returns the exit status. Of a death it says nothing: that is for `run` to do."""
    try:
        train()
    except (Lost, KeyboardInterrupt):
        return LOST
    return 0


def run(command: Sequence[str], count: int) -> int:
    """Runs `python COMMAND` in each of `count` workers, until all have finished: 0, or the exit status of one that says
    what is wrong. Raises TrainingError after `DEATHS` deaths. However it ends, no worker is left.
    """
    for deaths in range(1, DEATHS + 1):
        statuses = _together(command, count)
        if (failure := _failed(statuses)) is not None:
            return statuses[failure]
        if not any(statuses):
            return 0
        killed = [f"worker {rank} was ended by {_name(-status)}" for rank, status in enumerate(statuses) if status < 0]
        death = " and ".join(killed) or "the workers lost each other"
        if deaths < DEATHS:
            console.warn(f"train: {death}; all start again from the saved state (death {deaths} of {DEATHS})")
    remedy = "Look for what ends them, such as a lack of memory, then run again: the training resumes."
    raise TrainingError("train", f"{death}, as {DEATHS - 1} times before", remedy)


def _failed(statuses: Sequence[int]) -> int | None:
    """The first worker that ended with an error; None if there were only deaths, or if all have finished."""
    deaths = (0, LOST, 128 + signal.SIGINT, 128 + signal.SIGTERM)
    return next((rank for rank, status in enumerate(statuses) if status > 0 and status not in deaths), None)


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _together(command: Sequence[str], count: int) -> list[int]:
    """The exit statuses by rank, `LOST` for a worker that had to be ended because of another."""
    with _started(command, count) as workers:
        processes = [each for each, _ in workers]
        _wait(processes, lambda: any(each.returncode for each in processes), math.inf)
        if any(each.returncode for each in processes):  # the others notice, and one may be about to say why
            _wait(processes, lambda: False, PATIENCE)
        statuses = [LOST if each.returncode is None else each.returncode for each in processes]
        if failure := _failed(statuses):  # the first worker has said itself what is wrong
            said = workers[failure][1]
            said.seek(0)
            sys.stderr.write(said.read().decode(errors="replace"))
    return statuses


def _wait(processes: Sequence[subprocess.Popen[bytes]], over: Callable[[], bool], seconds: float) -> None:
    """Until all have ended, or it is over, or the time is up."""
    end = time.monotonic() + seconds
    while any([each.poll() is None for each in processes]) and not over() and time.monotonic() < end:  # noqa: C419 - all are polled
        time.sleep(POLLED)


@contextmanager
def _started(command: Sequence[str], count: int) -> Iterator[list[Worker]]:
    """The workers, each with what it writes to standard error; the first one writes to that of this process, and to its
    standard output. Whoever still runs at the end is ended.
    """
    with ExitStack() as stack:
        store = group.host(LOOPBACK)
        workers: list[Worker] = []
        stack.callback(_end, workers)
        for rank in range(count):
            said = stack.enter_context(tempfile.TemporaryFile())
            started = subprocess.Popen(
                [sys.executable, *command],
                env=_environment(Place(rank, count, LOOPBACK, store.port)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if rank else None,
                stderr=said if rank else None,
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )
            workers.append((started, said))
        yield workers


def _environment(place: Place) -> dict[str, str]:
    """Of a worker: it ends with this process, and is not the stage, which DVC starts once. One of them is tracked."""
    own = {**mlflow_run.environment(), **place.environment(), process.PARENT: str(os.getpid())}
    own.pop(process.STAGE, None)
    return own | ({mlflow_run.SWITCH: "off"} if place.rank else {})


def _end(workers: Sequence[Worker]) -> None:
    processes = [each for each, _ in workers]
    for each in processes:
        each.terminate()  # does nothing to one that has ended
    _wait(processes, lambda: False, PATIENCE)
    for each in processes:
        each.kill()
        each.wait()
