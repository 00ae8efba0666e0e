"""Many independent tasks: on this machine, SEGLINE_WORKERS at once, or on a Ray cluster that RAY_ADDRESS names.

How many run at once, and where, is environment and no parameter: no output byte depends on it.
"""

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from segline.scheduling import cluster, local, places
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
