"""The whole pipeline on the clock: a first run, a run with nothing to do, and five empty stages beside it.

    python -m benchmarks.pipeline

Works in a temporary clone of the committed state, with this interpreter. The goals on two cores: a first run in at most
120 s, a run with nothing to do in at most 1.3 times that of five empty stages.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from segline import cli

ROOT = Path(__file__).parents[1]
ROUNDS = 5


def seconds(command: Sequence[str], folder: Path, environment: dict[str, str]) -> float:
    """How long a command takes on the wall clock; its output is shown only when it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - began


def empty_project(folder: Path, environment: dict[str, str]) -> None:
    """Five stages that touch a file each."""
    folder.mkdir()
    stages = "".join(f"  s{i}:\n    cmd: touch out{i}\n    deps: [dep]\n    outs: [out{i}]\n" for i in range(5))
    (folder / "dep").write_text("dep")
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, env=environment, check=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    cli.parser(__doc__).parse_args(argv)
    repro = [sys.executable, "-m", "dvc", "repro"]
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(scratch / "site"), "DVC_NO_ANALYTICS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        project = scratch / "project"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
        (project / "dvc.lock").unlink(missing_ok=True)  # else stages whose outputs it names would be skipped
        environment["PYTHONPATH"] = str(project)
        first = seconds(repro, project, environment)
        empty = scratch / "empty"
        empty_project(empty, environment)
        seconds(repro, empty, environment)
        idle = {"this pipeline": project, "five empty stages": empty}
        times: dict[str, list[float]] = {name: [] for name in idle}
        for _ in range(ROUNDS):
            for name, folder in idle.items():
                times[name].append(seconds(repro, folder, environment))
        shutil.rmtree(project)
    medians = {name: statistics.median(series) for name, series in times.items()}
    cli.say("| dvc repro | seconds |\n|---|---|")
    cli.say(f"| first run, MLflow included | {first:.1f} |")
    for name, value in medians.items():
        cli.say(f"| nothing to do: {name} (median of {ROUNDS}) | {value:.2f} |")
    cli.say(f"| ratio of the two | {medians['this pipeline'] / medians['five empty stages']:.2f} |")


if __name__ == "__main__":
    cli.run(main)
