"""The workers that train one model together, each in a process: who they are, and what they tell each other.

Every method gives the same bytes to every worker, and the same for any number of workers. gloo carries it between
CPUs, NCCL between GPUs; whoever starts the workers keeps the store through which they find each other.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from segline.core.errors import TrainingError


class Lost(Exception):  # noqa: N818 - it is no fault of this process
    """Another worker has ended, or cannot be reached."""


@dataclass(frozen=True)
class Place:
    """Worker `rank` of `size`, and where the store is: an address, not a name, which others may not resolve alike."""

    rank: int
    size: int
    address: str
    port: int

    @classmethod
    def given(cls) -> Self | None:
        """That of this process, in the variables that torch's launchers set; None if it is no worker."""
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if not all(name in os.environ for name in names):
            return None
        rank, size, address, port = (os.environ[name] for name in names)
        return cls(int(rank), int(size), address, int(port))

    def take_gpu(self) -> None:
        """From here on `cuda` is the GPU of this worker: its own one of those that it sees."""
        torch.cuda.set_device(self.rank % torch.cuda.device_count())

    def environment(self) -> dict[str, str]:
        """The variables that `given` reads."""
        facts = {"RANK": self.rank, "WORLD_SIZE": self.size, "MASTER_ADDR": self.address, "MASTER_PORT": self.port}
        return {name: str(value) for name, value in facts.items()}


@dataclass(frozen=True)
class Group:
    """Worker `rank` of `size`, a power of two. One alone sends nothing."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this worker writes the results. The others only compute."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Which of `count` things, in order, are this worker's: as many as everybody's."""
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def tree_sum(self, own: Tensor) -> Tensor:
        """The sum of every worker's tensor along a binary tree: neighbours, then pairs of neighbours, and so on.

        At each of the log2(size) levels two workers exchange their sums and add them in the order of their ranks
        (recursive doubling: Thakur et al. 2005, sec. 4.3), so that all of them compute the same sums.
        """
        for level in range(self.size.bit_length() - 1):
            partner = self.rank ^ (1 << level)
            other = torch.empty_like(own)
            sent = [dist.P2POp(dist.isend, own, partner), dist.P2POp(dist.irecv, other, partner)]
            with _reached():
                for each in dist.batch_isend_irecv(sent):
                    each.wait()
            own = own + other if self.rank < partner else other + own
        return own

    def exact_sum(self, own: Tensor) -> Tensor:
        """The sum of every worker's tensor, in place, whose values must add without rounding: integers, or numbers of
        which all but one are 0.
        """
        if self.size > 1:
            with _reached():
                dist.all_reduce(own)
        return own

    def require_same(self, sha256: str, target: torch.device) -> None:
        """Raises TrainingError, on all workers of more than one, unless each of them has the same sha256."""
        lowest = torch.tensor(list(bytes.fromhex(sha256)), device=target)
        highest = lowest.clone()
        with _reached():
            dist.all_reduce(lowest, dist.ReduceOp.MIN)
            dist.all_reduce(highest, dist.ReduceOp.MAX)
        if not torch.equal(lowest, highest):
            problem = "the workers differ in their machine, their code, their data or the saved state they resume from"
            raise TrainingError("train", problem, "Compare `segline machine` of each, and the project folder they see.")


ALONE = Group()
_Store: Any = dist.TCPStore  # type: ignore[attr-defined]  # torch exports it without saying so


def host(address: str) -> Any:
    """A store through which workers find each other, at `port` of the address and of no other: torch's own way would
    open the port to every network. It lives as long as what is returned.
    """
    listener = socket.create_server((address, 0))
    port = listener.getsockname()[1]
    return _Store(address, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())


@contextmanager
def joined(place: Place | None, target: torch.device) -> Iterator[Group]:
    """The group, once all workers are there; `ALONE` without a place. On GPUs each has taken its own before.

    Raises Lost if the store or another worker cannot be reached.
    """
    if place is None or place.size == 1:
        yield ALONE
        return
    if interface := _interface_to(place.address, place.port):
        for library in ("GLOO", "NCCL"):  # which would look the name of this machine up, and find any address
            os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)
    with _reached():
        store = _Store(place.address, place.port, is_master=False)
        backend = "nccl" if target.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
    try:
        yield Group(place.rank, place.size)
    finally:
        dist.destroy_process_group()


def _interface_to(address: str, port: int) -> str | None:
    """The network interface of this machine from which the address is reached, such as `lo`; None if it has no name."""
    family, *_, target = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(target)  # sends nothing
        own = probe.getsockname()[0]
    found = psutil.net_if_addrs().items()
    return next((name for name, each in found if own in [entry.address for entry in each]), None)


@contextmanager
def _reached() -> Iterator[None]:
    """Turns what torch raises when another process does not answer into `Lost`."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise Lost(str(error).split("\n", maxsplit=1)[0]) from error
