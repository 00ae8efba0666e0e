"""Images/s of one optimiser step of the 34.5M U-Net of `loops` at 128x128: plain loops and ours, in one run.

    python -m benchmarks.training_step [--keras PYTHON]

The same network, dropout and optimiser on the same random images in batches of 16: (a) as in a torch tutorial; (b) this
project in float32; (c) in bfloat16; (d) in Keras, if this interpreter or PYTHON has tensorflow (the extra `bench`).
Each runs in a process of its own (about 11 GB in all), and they take turns. The ceiling is the speed limit set by the
convolutions, measured in the same turns. The goals on two AVX-512 cores: (c) at 3 times (a), 1.8 times (d) and 75 % of
its ceiling.
"""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks import ceiling, loops
from benchmarks.turns import Loop
from segline.monitoring import console
from segline.networks import unet

ROUNDS = 3
FIRST = "a. plain torch, float32"


def has_keras(python: str) -> bool:
    """True if that interpreter can import TensorFlow."""
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('tensorflow') is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def commands(keras: str) -> dict[str, list[str]]:
    """The command for each row of the table, and for the ceilings, by name; bfloat16 and Keras only if available."""
    names = {FIRST: "plain", "b. ours, float32": "float32", "float32": "ceiling float32"}
    if torch.cpu._is_avx512_bf16_supported():
        names |= {"c. ours, bfloat16": "bfloat16", "bfloat16": "ceiling bfloat16"}
    served = {title: [sys.executable, "-m", "benchmarks.loops", name] for title, name in names.items()}
    if has_keras(keras):
        threads, batch = str(torch.get_num_threads()), str(loops.BATCH)
        quiet = ["env", "TF_CPP_MIN_LOG_LEVEL=3"]
        served["d. Keras, float32"] = [*quiet, keras, "-m", "benchmarks.keras_seed", threads, batch]
    return served


def measure(served: dict[str, list[str]], rounds: int) -> dict[str, list[Any]]:
    """The results of each one's turns. Everyone has one turn in each round, so that a busy machine slows all."""
    times: dict[str, list[Any]] = {name: [] for name in served}
    with ExitStack() as stack:
        running = {name: Loop(command) for name, command in served.items()}
        for loop in running.values():
            stack.callback(loop.close)
        for _ in range(rounds):
            for name, loop in running.items():
                times[name].append(loop.turn())
    return times


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table of the loops and that of the ceilings."""
    parser = console.parser(__doc__)
    parser.add_argument("--keras", metavar="PYTHON", default=sys.executable, help="interpreter that has tensorflow")
    times = measure(commands(parser.parse_args(argv).keras), ROUNDS)
    work = ceiling.multiply_adds(unet.build(loops.NETWORK, 3, loops.NUM_CLASSES), 3, loops.SIZE)
    levels, allowed = {}, {}
    for precision in times.keys() & {"float32", "bfloat16"}:
        seconds = [statistics.median(level) for level in zip(*times.pop(precision), strict=True)]
        levels[precision] = ceiling.rates(seconds, loops.BATCH)
        allowed[precision] = ceiling.images_a_second(levels[precision], work)
    rates = {name: loops.BATCH / statistics.median(series) for name, series in sorted(times.items())}
    operations = ceiling.PASSES * work.total() / 1e9
    console.say("| loop | images/s | GFLOP/s | ratio to a | share of the ceiling |\n|---|---|---|---|---|")
    for name, rate in rates.items():
        share = rate / allowed[name.split()[-1]]
        console.say(f"| {name} | {rate:.2f} | {rate * operations:.0f} | {rate / rates[FIRST]:.2f} | {share:.0%} |")
    sizes = "".join(f" {channels}@{size} |" for size, channels in ceiling.LEVELS.items())
    console.say(f"\n| ceiling, GFLOP/s |{sizes} of this network |\n|---|{'---|' * (len(ceiling.LEVELS) + 1)}")
    for precision in sorted(levels, reverse=True):
        row = "".join(f" {rate / 1e9:.0f} |" for rate in levels[precision])
        console.say(f"| {precision} |{row} {allowed[precision] * operations:.0f} |")
    if "d. Keras, float32" not in rates:
        console.say("\nKeras: not measured, because tensorflow is not installed (--keras, or the extra `bench`)")


if __name__ == "__main__":
    console.run(main)
