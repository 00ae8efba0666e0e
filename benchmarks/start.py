"""The overhead of a stage: its start, the packages that it imports, and MLflow during a training.

    python -m benchmarks.start

The goal: a stage that needs no torch starts in at most 0.5 s.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import yaml

from benchmarks.pipeline import ROOT, Seconds, seconds
from segline.core import params
from segline.monitoring import console, mlflow_run

STAGES = ("download", "preprocess", "train", "evaluate", "plot")
HEAVY = {"cv2", "jinja2", "matplotlib", "mlflow", "numpy", "pydantic", "requests", "scipy", "torch"}
REPEATS = 5
EPOCHS, COUNTS = 2, {"train": 16, "val": 4, "test": 4}
TRAIN = [
    *("-m", "stages.train", "--train", "processed/train", "--val", "processed/val", "--augmented", "augmented"),
    *("--model", "model.safetensors", "--history", "history.csv", "--metrics", "train.json"),
]

Command = tuple[list[str], dict[str, str]]  # arguments of this interpreter, and its environment


def medians(commands: Mapping[str, Command], folder: Path) -> dict[str, Seconds]:
    """Wall and CPU seconds of each, after a warm-up. They take turns, so that a busy machine slows all of them."""
    times: dict[str, list[Seconds]] = {name: [] for name in commands}
    for _ in range(REPEATS + 1):
        for name, (arguments, environment) in commands.items():
            times[name].append(seconds([sys.executable, *arguments], folder, environment))
    return {name: Seconds(*map(median, zip(*kept[1:], strict=True))) for name, kept in times.items()}


def imported(stage: str, environment: dict[str, str]) -> str:
    """The packages of HEAVY that a stage imports before it parses its arguments."""
    code = f"import sys, stages.{stage}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return ", ".join(sorted(HEAVY.intersection(done.stdout.split())))


def starts(environment: dict[str, str]) -> None:
    """Prints how long each stage takes to print its help."""
    commands: dict[str, Command] = {stage: (["-m", f"stages.{stage}", "--help"], environment) for stage in STAGES}
    times = medians({"pass": (["-c", "pass"], environment), **commands}, ROOT)
    console.say("| start of | wall | CPU | heavy packages imported |\n|---|---|---|---|")
    console.say(f"| `python -c pass` | {times['pass']} | - |")
    for stage in STAGES:
        console.say(f"| {stage} | {times[stage]} | {imported(stage, environment)} |")


def logging(folder: Path, environment: dict[str, str]) -> None:
    """Prints how long a small training takes with and without MLflow, whose store already exists."""
    document = params.load(ROOT / "presets/synthetic.yaml")
    document["data"]["synthetic"] |= COUNTS
    document["train"]["epochs"] = EPOCHS
    (folder / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    prepare = "from segline.monitoring import mlflow_run; mlflow_run.prepare()"
    for command in (
        ["-m", "stages.download", "--input", str(ROOT / "segline/sources/streets"), "--raw", "raw"],
        ["-m", "stages.preprocess", "--raw", "raw", "--processed", "processed"],
        ["-c", prepare],
    ):
        seconds([sys.executable, *command], folder, environment)
    switches = ("off", "on")
    times = medians({switch: (TRAIN, {**environment, mlflow_run.SWITCH: switch}) for switch in switches}, folder)
    console.say(f"\n| training of {EPOCHS} epochs of {COUNTS['train']} images | wall | CPU |\n|---|---|---|")
    for switch in switches:
        console.say(f"| {mlflow_run.SWITCH}={switch} | {times[switch]} |")
    difference = (on - off for on, off in zip(times["on"], times["off"], strict=True))
    console.say(f"| difference: MLflow | {Seconds(*difference)} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables: medians of REPEATS."""
    console.parser(__doc__).parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        # The tables measure this code, not the user's own store or switch.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment |= {"PYTHONPATH": str(ROOT), "DVC_ROOT": temporary, mlflow_run.SWITCH: "on"}
        starts(environment)
        logging(Path(temporary), environment)


if __name__ == "__main__":
    console.run(main)
