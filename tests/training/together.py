"""Functions in several processes at once, as the workers of one group over gloo on the loopback."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch

from segline.training import group, workers

CPU = torch.device("cpu")


def results(size: int, function: Callable[[group.Group], Any], target: torch.device = CPU) -> list[Any]:
    """What the function, one of a module, returns for each worker of a group of this size, by rank."""
    store = group.host(workers.LOOPBACK)
    places = [group.Place(rank, size, workers.LOOPBACK, store.port) for rank in range(size)]
    with ProcessPoolExecutor(size, multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(_joined, function, target), places))


def _joined(function: Callable[[group.Group], Any], target: torch.device, place: group.Place) -> Any:
    torch.set_num_threads(1)
    if target.type == "cuda":
        place.take_gpu()
    with group.joined(place, target) as together:
        return function(together)
