"""Wall time until val accuracy reaches 0.8519 at 128x128, from scratch, and the best within five minutes.

    python -m benchmarks.time_to_accuracy PROCESSED [--preset camvid-fast] [--seeds 1 2 3]

0.8519 was published for S1, a Keras project that this one grew from. PROCESSED is `data/processed` after
`make repro PRESET=camvid-fast`: 367 train and 101 val images, void as a twelfth class. Each seed is one run of the
train stage in a process of its own, without MLflow. The clock starts with the process, so that imports, reading and
every validation count. All seeds are reported.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from segline.core import params
from segline.core.errors import TrainingError
from segline.monitoring import console, mlflow_run

ROOT = Path(__file__).parents[1]
PUBLISHED = 0.8519  # val accuracy of S1, void counted as a class
WITHIN = 300.0
EPOCH = re.compile(r"epoch (\d+)/\d+: .* accuracy (\d\.\d+)")


class Reached(NamedTuple):
    """Seconds from the start of the process to the end of an epoch, and val accuracy then."""

    seconds: float
    epoch: int
    accuracy: float


def epochs(processed: Path, preset: Path, seed: int) -> Iterator[Reached]:
    """The epochs of a run of the train stage, as it prints them. Raises TrainingError if it fails."""
    document = params.load(preset)
    document["train"]["seed"] = seed
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / params.FILE).write_text(yaml.safe_dump(document), encoding="utf-8")
        outputs = {"model": "model.safetensors", "history": "h.csv", "metrics": "t.json", "augmented": "augmented"}
        paths = {"train": processed.absolute() / "train", "val": processed.absolute() / "val"} | outputs
        command = [sys.executable, "-m", "stages.train", *(str(x) for k, v in paths.items() for x in (f"--{k}", v))]
        environment = os.environ | {mlflow_run.SWITCH: "off", "PYTHONPATH": str(ROOT)}
        began = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if match := EPOCH.search(line):
                    yield Reached(time.perf_counter() - began, int(match[1]), float(match[2]))
        if process.returncode:
            raise TrainingError("train", f"seed {seed} ended with exit code {process.returncode}", "See above.")


def seconds_to(accuracy: float, series: Sequence[Reached]) -> float | None:
    """The seconds at which the first epoch with that accuracy ended; None if there is none."""
    return next((reached.seconds for reached in series if reached.accuracy >= accuracy), None)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints every epoch as it ends, then a row for each seed."""
    parser = console.parser(__doc__)
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("processed", type=Path, metavar="PROCESSED", help="data/processed of the preset")
    parser.add_argument("--preset", default="camvid-fast", help="a file of presets/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="training seeds")
    args = parser.parse_args(argv)
    rows = []
    for seed in args.seeds:
        series = []
        for reached in epochs(args.processed, ROOT / "presets" / f"{args.preset}.yaml", seed):
            series.append(reached)
            console.say(
                f"seed {seed}: epoch {reached.epoch} at {reached.seconds:.1f} s, accuracy {reached.accuracy:.4f}"
            )
        first = seconds_to(PUBLISHED, series)
        best = max((reached.accuracy for reached in series if reached.seconds <= WITHIN), default=0.0)
        rows.append((first, best))
        reached_it = "never" if first is None else f"{first:.1f} s"
        console.say(f"| {seed} | {reached_it} | {best:.4f} | {series[-1].accuracy:.4f} | {series[-1].seconds:.1f} s |")
    console.say(f"columns: seed, time to {PUBLISHED}, best within {WITHIN:.0f} s, last epoch, whole run")
    if None not in (firsts := [first for first, _ in rows]):
        console.say(f"median time to {PUBLISHED}: {statistics.median(filter(None, firsts)):.1f} s")
    console.say(f"mean of the best within {WITHIN:.0f} s: {statistics.mean(best for _, best in rows):.4f}")


if __name__ == "__main__":
    console.run(main)
