"""Processes that run together on the nodes of a Ray cluster, and look like `subprocess.Popen` from here.

Each is the child of an actor; all actors lie in one placement group, so that either all start or none ("gang
scheduling"). A process ends with its actor, and an actor with the driver. No answer of Ray is waited for without end.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from segline.core.errors import DeviceError
from segline.scheduling import cluster, nodes

GONE = -256  # the status of a process whose node or actor is no more; signals give -64 and above
ANSWERED = 0.5  # seconds in which an actor says how its process is
SILENT = 120.0  # seconds without an answer after which an actor counts as gone; Ray takes up to one minute to start it
CROWDED = 300.0  # seconds to wait for the places that other programs use
POLLED = 0.1  # seconds

Say = Callable[[bytes], object]


class Runner:
    """On a node: one process, what it says, and how it ended."""

    def __init__(self, command: Sequence[str], folder: str, variables: Mapping[str, str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name != nodes.ADDRESS}
        environment |= {**variables, nodes.PARENT: str(os.getpid())}
        self._said: list[IO[bytes]] = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115 - until the end
        self._read = [0, 0]
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._said[0],
            stderr=self._said[1],
            start_new_session=True,
        )

    def look(self) -> tuple[int | None, bytes, bytes]:
        """The exit status, None while it runs, and what it has said on standard output and error since the last look;
        after a while, or once it has ended, and then for the last time.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ANSWERED)
        status, out, err = self._process.returncode, self._new(0), self._new(1)
        if status is not None:
            for file in self._said:
                file.close()
        return status, out, err

    def _new(self, stream: int) -> bytes:
        file, start = self._said[stream].fileno(), self._read[stream]
        said = os.pread(file, os.fstat(file).st_size - start, start)  # the process writes at the place of the file
        self._read[stream] += len(said)
        return said

    def signal(self, number: int) -> None:
        """Sends a signal to the process, if it still runs."""
        self._process.send_signal(number)


class Process:
    """What `subprocess.Popen` offers, of one that runs on a node. What it says goes to `out` and `err`."""

    def __init__(self, ray: Any, actor: Any, out: Say, err: Say) -> None:
        self._ray, self._actor, self._streams = ray, actor, (out, err)
        self._look: Future[Any] | None = None
        self._since = 0.0
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status; None while it runs, `GONE` if its node is. Does not wait."""
        if self.returncode is not None:
            return self.returncode
        if self._look is None:
            self._look, self._since = self._actor.look.remote().future(), time.monotonic()
        if self._look.done():
            self._see(self._look)
            self._look = None
        elif time.monotonic() - self._since > SILENT:
            self.returncode = GONE
        return self.returncode

    def _see(self, look: Future[Any]) -> None:
        try:
            self.returncode, *said = look.result()
        except self._ray.exceptions.RayError:
            self.returncode = GONE
            return
        for stream, new in zip(self._streams, said, strict=True):
            if new:
                stream(new)

    def terminate(self) -> None:
        """Sends SIGTERM, unless it has ended."""
        if self.returncode is None:
            self._actor.signal.remote(int(signal.SIGTERM))

    def kill(self) -> None:
        """Ends it at once, and its actor."""
        if self.returncode is None:
            with suppress(self._ray.exceptions.RayError, TimeoutError):
                self._actor.signal.remote(int(signal.SIGKILL)).future().result(timeout=10 * ANSWERED)
            self.returncode = -signal.SIGKILL
        self._ray.kill(self._actor)

    def wait(self) -> int | None:
        """Its exit status; it has ended, or was killed."""
        return self.returncode


class Gang:
    """The nodes of a cluster on which processes can start together. They are of one kind."""

    def __init__(self, ray: Any) -> None:
        self._ray, self._variables = ray, cluster.environment()
        self._needs = nodes.resources(ray, self._variables)
        nodes.require_alike(ray, self._needs, self._variables)

    @property
    def address(self) -> str:
        """By which the nodes reach this one: an IP address."""
        own = self._ray.get_runtime_context().get_node_id()
        return next(str(node["NodeManagerAddress"]) for node in self._ray.nodes() if node["NodeID"] == own)

    @property
    def places(self) -> int:
        """How many processes the nodes that live can run at once."""
        alive = (node["Resources"] for node in self._ray.nodes() if node["Alive"])
        return sum(min(int(have.get(nodes.KIND[name], 0) // n) for name, n in self._needs.items()) for have in alive)

    @contextmanager
    def reserved(self, count: int) -> Iterator[tuple[Any, int]]:
        """A placement group, and for how many processes: `count`, or half of them, and so on, where nodes have died.

        Raises DeviceError if other programs keep its places for `CROWDED` seconds.
        """
        end = time.monotonic() + CROWDED
        while True:
            while count > max(1, self.places):
                count //= 2
            with self._group(count) as group:
                while count <= max(1, self.places) and time.monotonic() < end:
                    if self._ray.util.placement_group_table(group)["state"] == "CREATED":
                        yield group, count
                        return
                    time.sleep(POLLED)
            if time.monotonic() >= end:
                problem = f"no place for {count} of {self._needs} within {CROWDED:g} s"
                raise DeviceError(nodes.ADDRESS, problem, "See `ray status` for who uses the cluster, and run again.")

    @contextmanager
    def _group(self, count: int) -> Generator[Any]:
        bundle = {nodes.KIND[name]: amount for name, amount in self._needs.items()}
        group = self._ray.util.placement_group([bundle] * count, strategy="PACK")
        try:
            yield group
        finally:
            self._ray.util.remove_placement_group(group)

    def start(self, group: Any, command: Sequence[str], variables: Mapping[str, str], out: Say, err: Say) -> Process:
        """`python COMMAND` in the folder of this process, on one of the places of a group."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

        place = PlacementGroupSchedulingStrategy(group)
        actor = self._ray.remote(Runner).options(scheduling_strategy=place, **self._needs)
        started = actor.remote(list(command), str(Path.cwd()), {**self._variables, **variables})
        return Process(self._ray, started, out, err)


@contextmanager
def connected() -> Iterator[Gang]:
    """The cluster that RAY_ADDRESS names. Raises DeviceError as `cluster.connected` and `nodes.require_alike`."""
    with cluster.connected() as ray:
        yield Gang(ray)
