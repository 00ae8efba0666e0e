"""What shards and workers cost: images/s and CPU milliseconds an image, as ratios to the loop on whole batches.

    python -m benchmarks.shards

The U-Net of the default parameters (width 16, depth 4, batch normalisation) on batches of 8 random images of 96x128,
12 classes, float32, one thread a worker. The cases run one after another, several times; the medians are compared, as
wall-clock time and as CPU time of all workers, which a busy machine disturbs less.
"""

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from benchmarks import loops
from segline.model import batches, device, randomness
from segline.monitoring import console
from segline.networks import unet
from segline.training import group, loop, workers
from segline.training.augmentation import plan
from segline.training.augmentation.samples import Augmented

NETWORK = unet.Section(width=16, depth=4, norm="batch", dropout=0.0)
BATCH, STEPS, ROUNDS = 8, 4, 3
CASES = ((1, 1), (4, 1), (4, 2))  # shards, workers
CPU = torch.device("cpu")


def epochs(shards: int, place: group.Place) -> list[tuple[float, float]]:
    """Seconds and CPU seconds of this worker for each epoch after a first one."""
    torch.set_num_threads(1)
    randomness.deterministic(1)
    device.keep_memory()
    section = loops.section("float32", BATCH).model_copy(update={"shards": shards})
    network = unet.build(NETWORK, 3, loops.NUM_CLASSES).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    data: batches.Samples = loops.samples(CPU, BATCH * STEPS, 96, 128)
    shown, state = Augmented(data, plan.Section(**loops.OFF)), loop.start(network, section, len(data))
    taken = []
    with group.joined(place, CPU) as together:
        for number in range(1, ROUNDS + 2):
            began, busy = time.perf_counter(), time.process_time()
            loop.one_pass(state, section, shown, number, group=together)
            taken.append((time.perf_counter() - began, time.process_time() - busy))
    return taken[1:]


def measured(shards: int, size: int) -> tuple[float, float]:
    """Median seconds and CPU seconds of an image, those of all workers together."""
    store = group.host(workers.LOOPBACK)
    places = [group.Place(rank, size, workers.LOOPBACK, store.port) for rank in range(size)]
    with ProcessPoolExecutor(size, multiprocessing.get_context("spawn")) as pool:
        taken = list(pool.map(epochs, [shards] * size, places))
    wall = statistics.median(seconds for seconds, _ in taken[0])
    busy = statistics.median(sum(cpu for _, cpu in each) for each in zip(*taken, strict=True))
    return wall / (BATCH * STEPS), busy / (BATCH * STEPS)


def main(_: Sequence[str] | None = None) -> None:
    """Prints a table."""
    console.say("| shards | workers | images/s | of whole batches | CPU ms an image | of whole batches |")
    console.say("|---|---|---|---|---|---|")
    first: tuple[float, float] | None = None
    for shards, size in CASES:
        wall, busy = measured(shards, size)
        first = first or (wall, busy)
        figures = f"{1 / wall:.1f} | {first[0] / wall:.2f} | {1000 * busy:.0f} | {busy / first[1]:.2f}"
        console.say(f"| {shards} | {size} | {figures} |")


if __name__ == "__main__":
    console.run(main)
