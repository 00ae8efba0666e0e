"""Tasks on a Ray cluster that RAY_ADDRESS names: one a GPU where it has any, else one for each OMP_NUM_THREADS cores.

Its nodes see the folder of the project under the same path, and have the same Python and packages. Tasks get paths and
small values: what they read and write lies in that folder. A task whose node dies runs again on another one.
"""

import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from segline.core.errors import DeviceError, PipelineError, portable
from segline.scheduling import nodes, places
from segline.scheduling.places import Place

Item = TypeVar("Item")
Result = TypeVar("Result")

DEATHS = 3  # of a task's process or node, after which it is given up
CLEANING = 30  # seconds for tasks that are stopped
# Of the driver's variables those that may change a byte; the rest is each node's own.
PREFIXES = ("SEGLINE_", "OMP_", "MKL_", "ATEN_", "DNNL_", "ONEDNN_", "CUBLAS_", "NVIDIA_TF32")


@dataclass(frozen=True)
class Failed:
    """An error that a user is told, on its way here: Ray would wrap it, and its line in a traceback."""

    error: Exception


def perform(function: Callable[[Item, Place], Result], folder: str, variables: dict[str, str], item: Item) -> Any:
    """On a node: the result of the function in the folder and with the variables of the driver, or Failed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # how Ray cancels; nodes started in the background lack it
    os.chdir(folder)
    os.environ.pop(nodes.ADDRESS, None)
    os.environ.update(variables)
    try:
        return function(item, Place({places.WORKERS: "1"}, quiet=True, threads=int(variables[nodes.THREADS])))
    except (PipelineError, OSError) as error:
        return Failed(portable(error))


def is_named() -> bool:
    """Whether RAY_ADDRESS is set."""
    return bool(os.environ.get(nodes.ADDRESS))


def environment() -> dict[str, str]:
    """What tasks see of the driver's variables. Without OMP_NUM_THREADS they compute with one thread."""
    seen = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES)}
    seen.pop(nodes.PARENT, None)  # a process of this machine
    return {nodes.THREADS: "1"} | seen


def run(function: Callable[[Item, Place], Result], items: Sequence[Item]) -> Generator[Result]:
    """`function` of each item and its place, as they end; see `tasks.run`."""
    with joined() as compute:
        yield from compute(function, items)


@contextmanager
def joined(*, on_gpu: bool = True) -> Iterator[Callable[..., Generator[Any]]]:
    """`run`, any number of times with one connection. Without `on_gpu` no task takes a GPU."""
    with connected() as ray:
        variables = environment()
        needs = nodes.resources(ray, variables if on_gpu else {**variables, "SEGLINE_DEVICE": "cpu"})
        nodes.require_alike(ray, needs, variables)
        yield partial(_run, ray, needs, variables)


def _run(
    ray: Any,
    needs: dict[str, int],
    variables: dict[str, str],
    function: Callable[[Item, Place], Result],
    items: Sequence[Item],
) -> Generator[Result]:
    remote = ray.remote(perform).options(max_retries=DEATHS, scheduling_strategy="SPREAD", **needs)
    waiting = [remote.remote(function, str(Path.cwd()), variables, item) for item in items]
    try:
        yield from _ended(ray, waiting)
    finally:
        for reference in waiting:
            ray.cancel(reference)
        ray.wait(waiting, num_returns=len(waiting), timeout=CLEANING)


def _ended(ray: Any, references: Sequence[Any]) -> Iterator[Any]:
    """The results as they come; after the first failure those that are there already, and then that failure.

    Waits for futures: a signal that interrupts `ray.wait` comes out of it as Ctrl-C, whatever it was.
    """
    failure: Exception | None = None
    waiting = {reference.future() for reference in references}
    while waiting:
        done, waiting = wait(waiting, timeout=0 if failure else None, return_when=FIRST_COMPLETED)
        if failure and not done:
            break
        for future in done:
            result = _result(ray, future)
            if not isinstance(result, Failed):
                yield result
            elif failure is None:
                failure = result.error
    if failure:
        raise failure


def _result(ray: Any, future: Future[Any]) -> Any:
    try:
        return future.result()
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        problem = f"a task's process or node died {DEATHS + 1} times ({str(error).strip().splitlines()[0]})"
        return Failed(DeviceError(nodes.ADDRESS, problem, "See the logs of Ray, and the memory of its nodes."))


@contextmanager
def connected() -> Iterator[Any]:
    """Ray's module, connected to the cluster. Raises DeviceError without Ray, or if no cluster answers."""
    if find_spec("ray") is None:
        raise DeviceError(nodes.ADDRESS, "set, but Ray is not installed", "make setup EXTRAS=cluster, or unset it.")
    import ray  # noqa: PLC0415 - an extra, and slow

    require_answer(os.environ[nodes.ADDRESS])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(os.environ[nodes.ADDRESS], log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DeviceError(
            nodes.ADDRESS, f"no Ray cluster at {os.environ[nodes.ADDRESS]} ({reason})", "See `ray status`."
        ) from None
    finally:
        for number, handler in handlers.items():  # Ray sets its own
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def require_answer(address: str) -> None:
    """Raises DeviceError if nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():  # such as "auto"
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        problem = f"no Ray cluster at {address} ({error.strerror or error})"
        raise DeviceError(nodes.ADDRESS, problem, "Start it, or unset the variable.") from None
