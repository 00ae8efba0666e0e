"""Many independent tasks: on this machine, SEGLINE_WORKERS at once, or on a Ray cluster that RAY_ADDRESS names.

How many run at once, and where, is environment and no parameter: no output byte depends on it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol, TypeVar

from segline.scheduling import cluster, local, places, processes
from segline.scheduling.places import Place

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(function: Callable[[Item, Place], Result], items: Sequence[Item]) -> Generator[Result]:
    """`function` of each item and of the place where it runs, in the order in which they end.

    When one fails, no other starts and those that run are stopped; the results that are there still come, then the
    failure is raised. Leaving the iterator early, as Ctrl-C does, stops all tasks and waits for their end: iterate
    within `contextlib.closing`.
    """
    if items and cluster.is_named():
        return cluster.run(function, items)
    return local.run(function, items, min(places.workers(), max(len(items), 1)))


class Compute(Protocol):
    """As `run`, of a function that computes in the process where it is called; each result with its item's number."""

    def __call__(
        self, function: Callable[[Item, Place], Result], items: Sequence[Item]
    ) -> Generator[tuple[int, Result]]: ...


def are_shared(count: int) -> bool:
    """Whether `computing` has more to offer for so many items than this process."""
    return cluster.is_named() or min(places.workers(), count) > 1


@contextmanager
def computing(most: int, *, on_gpu: bool = True) -> Iterator[Compute]:
    """What computes up to `most` items, any number of times: a cluster, without `on_gpu` by its cores alone, or as many
    processes of this machine as SEGLINE_WORKERS says, or else this one. Functions are those of a module, and items and
    results small: they are sent.
    """
    where: AbstractContextManager[Callable[..., Generator[Any]]] = nullcontext(_here)
    if cluster.is_named():
        where = cluster.joined(on_gpu=on_gpu)
    elif are_shared(most):
        where = processes.started(min(places.workers(), most))
    with where as run_all:

        def compute(function: Callable[[Item, Place], Result], items: Sequence[Item]) -> Generator[tuple[int, Result]]:
            return run_all(partial(_numbered, function), [*enumerate(items)])

        yield compute


def _here(function: Callable[[Item, Place], Result], items: Sequence[Item]) -> Generator[Result]:
    for item in items:
        yield function(item, Place())


def _numbered(function: Callable[[Item, Place], Result], item: tuple[int, Item], place: Place) -> tuple[int, Result]:
    number, own = item
    return number, function(own, place)


def cut(sizes: Iterable[int], limit: int) -> Iterator[tuple[int, int]]:
    """The first and the last item, exclusive, of chunks of items with these sizes: of at most `limit`, unless one item
    is larger. At least one chunk."""
    first, last, total = 0, 0, 0
    for number, size in enumerate(sizes):
        if number > first and total + size > limit:
            yield first, number
            first, total = number, 0
        total += size
        last = number + 1
    yield first, last
