"""Processes of this machine that compute tasks, one each at a time.

`python -m segline.scheduling.processes DESCRIPTOR` is started for the first task and lives as long as the block, with
an environment and a session of its own: Ctrl-C is for the process that started it, which ends it. It does not outlive
that one, however that ends.
"""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from queue import LifoQueue, SimpleQueue
from typing import Any, NoReturn, TypeVar

from segline.core import parallel
from segline.core.errors import DeviceError, portable
from segline.scheduling import local, places
from segline.scheduling.places import Place

Item = TypeVar("Item")
Result = TypeVar("Result")

POLLED = 0.1  # seconds
PATIENCE = 10.0  # seconds, for a process to clean up before it is killed


class _Process:
    """A process that runs; `environment` is what it sees besides the variables of this one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._connection, theirs = Pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - no terminal, and as long as the process
        with closing(theirs):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "segline.scheduling.processes", str(theirs.fileno())],
                env={**os.environ, **environment},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                start_new_session=True,
            )

    def answer(self, request: bytes, place: Place) -> tuple[bool, Any]:
        """Whether what was asked for is done, and its result or else its error. Raises DeviceError if it dies."""
        try:
            self._connection.send_bytes(request)
            while not self._connection.poll(POLLED):
                place.check()
            answer: tuple[bool, Any] = self._connection.recv()
        except (EOFError, ConnectionError):
            raise self._death() from None
        return answer

    def _death(self) -> DeviceError:
        status = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
        ended = f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status} ({lines[-1]})"
        remedy = "Look for what ends it, such as a lack of memory, or lower the number."
        return DeviceError(places.WORKERS, f"one of the processes {ended}", remedy)

    def end(self) -> None:
        """Ends the process: it may clean up for `PATIENCE` seconds."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()
        self._said.close()


@dataclass
class _Slot:
    """Where one process at a time runs, from its first task on."""

    environment: Mapping[str, str]
    process: _Process | None = None

    def answer(self, request: bytes, place: Place) -> tuple[bool, Any]:
        """See `_Process.answer`."""
        self.process = self.process or _Process(self.environment)
        try:
            return self.process.answer(request, place)
        except BaseException:  # it is dead, or works on what nobody waits for
            self.end()
            raise

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self.process:
            self.process.end()
            self.process = None


@contextmanager
def started(count: int) -> Iterator[Callable[..., Generator[Any]]]:
    """`local.run` of functions that compute, `count` at once, each in one of as many processes that share the cores.

    Functions, items and results are pickled: a function is one of a module that can be imported.
    """
    threads = max(1, parallel.count() // count)
    slots = [_Slot(environment) for environment in places.environments(count)]
    idle: LifoQueue[_Slot] = LifoQueue()  # those with a process come first
    for slot in slots:
        idle.put(slot)

    def compute(function: Callable[[Item, Place], Result], items: Sequence[Item]) -> Generator[Result]:
        def task(item: Item, place: Place) -> Result:
            slot = idle.get()
            try:
                is_done, result = slot.answer(pickle.dumps((function, item, threads)), place)
            finally:
                idle.put(slot)
            if is_done:
                return result  # type: ignore[no-any-return]
            raise result

        return local.run(task, items, count)

    try:
        yield compute
    finally:
        for slot in slots:
            slot.end()


def main() -> NoReturn:
    """In the process: computes what comes, until the other end is closed, or SIGTERM interrupts it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    requests: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, requests), daemon=True).start()
    while True:
        answer: tuple[bool, object]
        try:
            function, item, threads = pickle.loads(requests.get())  # noqa: S301 - from the process that started this one
            answer = True, function(item, Place({places.WORKERS: "1"}, quiet=True, threads=threads))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised there
            answer = False, portable(error)
        connection.send(answer)


def _receive(connection: "Connection[Any, Any]", requests: "SimpleQueue[bytes]") -> None:
    """Listens while the main thread computes."""
    try:
        while True:
            requests.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)  # nobody waits for a result


if __name__ == "__main__":
    main()
