"""Where a task runs: how many run at once on this machine, and what a task learns of its place."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from segline.core import parallel
from segline.core.errors import DeviceError

WORKERS = "SEGLINE_WORKERS"
_GPUS = "CUDA_VISIBLE_DEVICES"


class Stopped(Exception):  # noqa: N818 - no error: another task failed, or the user pressed Ctrl-C
    """A task that ended early because it was told to."""


@dataclass(frozen=True)
class Place:
    """Where one task runs.

    `environment` is what the processes of the task see besides the variables of this one. Processes that stay `quiet`
    write to no terminal: others write there too. `threads` is the task's share of the cores.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    quiet: bool = False
    stopped: Callable[[], bool] = lambda: False
    threads: int = field(default_factory=parallel.count)

    def check(self) -> None:
        """For a task that waits, now and then: raises Stopped if it shall end."""
        if self.stopped():
            raise Stopped


def workers() -> int:
    """How many processes compute at once on this machine: SEGLINE_WORKERS, else 1. Raises DeviceError."""
    text = os.environ.get(WORKERS) or "1"
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise DeviceError(WORKERS, f"expected a number of processes, got {text!r}", "Set it to 1 or more, or unset it.")
    return int(text)


def environments(count: int) -> list[dict[str, str]]:
    """The environment of each of `count` processes of one worker: they take the GPUs of this machine in turn."""
    gpus = _gpus()
    alone = {WORKERS: "1"}
    return [alone | ({_GPUS: gpus[number % len(gpus)]} if gpus else {}) for number in range(count)]


def _gpus() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them; importing torch would take a second."""
    if _GPUS in os.environ:
        return [name.strip() for name in os.environ[_GPUS].split(",") if name.strip()]
    import pynvml  # noqa: PLC0415

    with suppress(pynvml.NVMLError):  # no driver, no GPU
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        return [pynvml.nvmlDeviceGetUUID(handle) for handle in handles]
    return []
