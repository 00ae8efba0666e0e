"""Tasks on this machine. Each waits in a thread of its own for the processes that it starts."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import TypeVar

from segline.scheduling import places
from segline.scheduling.places import Place, Stopped

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(function: Callable[[Item, Place], Result], items: Sequence[Item], at_once: int) -> Generator[Result]:
    """`function` of each item and its place, as they end; see `tasks.run`."""
    stop = threading.Event()
    free: SimpleQueue[dict[str, str]] = SimpleQueue()
    for environment in places.environments(at_once):
        free.put(environment)

    def task(item: Item) -> Result:
        environment = free.get()
        try:
            return function(item, Place(environment, quiet=at_once > 1, stopped=stop.is_set))
        finally:
            free.put(environment)

    with ThreadPoolExecutor(at_once) as pool:
        try:
            yield from _ended([pool.submit(task, item) for item in items], stop)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _ended(futures: Sequence[Future[Result]], stop: threading.Event) -> Iterator[Result]:
    """The results as they come; after the first failure those that are left, and then that failure."""
    failure: BaseException | None = None
    for future in as_completed(futures):
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            yield future.result()
        elif failure is None and not isinstance(error, Stopped):
            failure = error
            stop.set()
            for other in futures:
                other.cancel()
    if failure:
        raise failure
