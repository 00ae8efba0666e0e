"""The cost of streaming a split from its memory map: images/s and memory, compared with a split on the device.

    python -m benchmarks.streaming

Batches of 8 random images (256x256, 12 classes) in random order are read and turned into inputs, without augmentation
or network: these would hide the cost of reading, and use more memory themselves. Memory is the peak growth of the
process's own (Linux's RssAnon, without the page cache); streamed, it must not grow with the split. All take turns, each
in a process of its own.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from segline.dataset import parts
from segline.model import batches, randomness
from segline.monitoring import console

COUNT, SIZE, NUM_CLASSES, BATCH = 400, 256, 12, 8
ROUNDS = 3
MEASURED = "--measured"
PARTS = 16  # of the split that is read in parts; the others have one
CASES = (("on the device", 1), ("streamed", 1), ("streamed", 4), ("streamed in parts", 4), ("on the device", 4))
ARRAYS = {"images": 3, "onehot": 2}  # with the bytes of a pixel


def write(folder: Path, count: int, each: int) -> None:
    """A split of random pixels and classes, in parts of `each` rows."""
    random = np.random.default_rng(1)
    images, onehot = ((name, (count, SIZE, SIZE, depth), each) for name, depth in ARRAYS.items())
    with parts.writing(folder, *images) as image, parts.writing(folder, *onehot) as mask:
        for number in range(count):
            image.put(number, random.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
            labels = random.integers(0, NUM_CLASSES, (SIZE, SIZE))
            mask.put(number, np.stack([(1 << labels) & 255, (1 << labels) >> 8], axis=-1).astype(np.uint8))


def rows_of_part(how: str, count: int) -> int:
    """How many rows of a split are in one file."""
    return count // PARTS if how.endswith("parts") else count


def own_memory() -> float:
    """MiB of this process that are not backed by a file."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def highest_memory(function: Callable[[], None]) -> float:
    """The peak of `own_memory` while `function` runs."""
    seen, done = [own_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            seen.append(own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        done.set()
        watcher.join()
    return max(seen)


def measured(how: str, folder: Path, count: int) -> tuple[float, float]:
    """Images a second, and MiB."""
    before, each = own_memory(), rows_of_part(how, count)
    images, packed = (
        parts.read(parts.paths(folder, name, count, each), (count, SIZE, SIZE, depth), each)
        for name, depth in ARRAYS.items()
    )
    target, rates = torch.device("cpu"), []

    def read() -> None:
        streamed = batches.Streamed(images, packed, NUM_CLASSES, target)
        samples = streamed if how.startswith("streamed") else batches.load(images, packed, NUM_CLASSES, target)
        picks = batches.portions(randomness.permutation(1, 1, len(samples)), BATCH)
        began = time.perf_counter()
        for batch in samples.picked(picks):
            batches.inputs(batch.images, batches.MEAN, batches.STD)
        rates.append(len(samples) / (time.perf_counter() - began))

    highest = highest_memory(read)
    return rates[-1], highest - before


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = console.parser(__doc__)
    parser.add_argument(MEASURED, nargs=3, help="one measurement: how, the folder of the split, its images")
    if only := parser.parse_args(argv).measured:
        console.say(" ".join(map(str, measured(only[0], Path(only[1]), int(only[2])))))
        return
    samples: dict[tuple[str, int], list[list[float]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {case: Path(temporary) / "-".join(map(str, case)) for case in CASES}
        for (how, times), folder in folders.items():
            folder.mkdir()
            write(folder, COUNT * times, rows_of_part(how, COUNT * times))
        for _ in range(ROUNDS):
            for (how, times), folder in folders.items():
                command = [sys.executable, "-m", "benchmarks.streaming", MEASURED, how, str(folder), str(COUNT * times)]
                line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                samples[how, times].append([float(number) for number in line.split()])
    console.say("| split | images | MiB on disk | images/s | MiB of memory |\n|---|---|---|---|---|")
    for (how, times), runs in samples.items():
        rate, memory = (statistics.median(series) for series in zip(*runs, strict=True))
        disk = COUNT * times * SIZE * SIZE * 5 / 2**20
        console.say(f"| {how} | {COUNT * times} | {disk:.0f} | {rate:.0f} | {memory:.0f} |")


if __name__ == "__main__":
    console.run(main)
