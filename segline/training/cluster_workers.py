"""The workers on a Ray cluster: as on one machine (see `workers`), but each on a GPU or core of any node.

There are as many as SEGLINE_WORKERS says, else as fit, and as `train.shards` allows; fewer once nodes have died.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TextIO

from segline.monitoring import console, mlflow_run
from segline.scheduling import gang, places
from segline.scheduling.gang import Gang
from segline.training import group, workers
from segline.training.group import Place

# Beside those that tasks see: what tracks the run, and where Python finds the modules of this process.
SEEN = ("MLFLOW_", "GIT_PYTHON_", "DO_NOT_TRACK", "DVC_ROOT", "PYTHONPATH")


def run(command: Sequence[str], shards: int) -> int:
    """As `workers.run`, on the cluster that RAY_ADDRESS names."""
    with gang.connected() as cluster:
        return workers.run(command, wanted(shards, cluster.places), partial(_started, cluster))


def wanted(shards: int, fit: int) -> int:
    """How many workers start where `fit` have a place; a power of two. Raises DeviceError."""
    asked = places.workers() if os.environ.get(places.WORKERS) else shards
    return 1 << (min(asked, shards, fit).bit_length() - 1)


@contextmanager
def _started(cluster: Gang, command: Sequence[str], most: int) -> Iterator[list[workers.Worker]]:
    """As `workers.started`, and at most as many: what the nodes that live can run."""
    with cluster.reserved(most) as (reserved, count):
        console.say(f"train: {count} worker{'s' * (count > 1)} on Ray")
        address = cluster.address
        store = group.host(address)
        here: list[workers.Worker] = []
        try:
            for rank in range(count):
                said = BytesIO()
                out, err = (_nothing, said.write) if rank else (partial(_show, sys.stdout), partial(_show, sys.stderr))
                variables = _variables(Place(rank, count, address, store.port))
                here.append((cluster.start(reserved, command, variables, out, err), said))
            yield here
        finally:
            workers.end(here)


def _variables(place: Place) -> dict[str, str]:
    """Of a worker, beside those that every task sees. One of them is tracked."""
    seen = {name: value for name, value in mlflow_run.environment().items() if name.startswith(SEEN)}
    return {**seen, **place.environment()} | ({mlflow_run.SWITCH: "off"} if place.rank else {})


def _show(stream: TextIO, said: bytes) -> None:
    stream.buffer.write(said)
    stream.flush()


def _nothing(_: bytes) -> None:
    """For what the other workers say on standard output."""
