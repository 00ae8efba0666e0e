"""Times the whole pipeline: a first run, then `dvc repro` and `dvc status` with nothing to do, beside the same for
five empty stages.

    python -m benchmarks.pipeline

Works in a temporary clone of the committed state, with this interpreter. The goals on two cores: a first run in at most
120 s, a run with nothing to do in at most 1.3 times that of five empty stages. CPU seconds are those of all processes
of a command; other programs disturb them less.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from segline.monitoring import console

ROOT = Path(__file__).parents[1]
ROUNDS = 7


class Seconds(NamedTuple):
    """The time of a command: wall clock, and CPU time of its processes."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        """Two cells of a table."""
        return f"{self.wall:.2f} s | {self.cpu:.2f} s"


def seconds(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Seconds:
    """Times a command; its output is shown only if it fails."""
    began, before = time.perf_counter(), _cpu()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return Seconds(time.perf_counter() - began, _cpu() - before)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def empty_project(folder: Path, environment: dict[str, str]) -> None:
    """A project of five stages that only touch a file each."""
    folder.mkdir()
    stages = "".join(f"  s{i}:\n    cmd: touch out{i}\n    deps: [dep]\n    outs: [out{i}]\n" for i in range(5))
    (folder / "dep").write_text("dep")
    (folder / "dvc.yaml").write_text(f"stages:\n{stages}")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, env=environment, check=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    console.parser(__doc__).parse_args(argv)
    dvc = [sys.executable, "-m", "dvc"]
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(scratch / "site"), "DVC_NO_ANALYTICS": "1"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        project = scratch / "project"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(project)], check=True)
        (project / "dvc.lock").unlink(missing_ok=True)  # otherwise stages whose outputs it records would be skipped
        environment["PYTHONPATH"] = str(project)
        first = seconds([*dvc, "repro"], project, environment)
        empty = scratch / "empty"
        empty_project(empty, environment)
        seconds([*dvc, "repro"], empty, environment)
        times: dict[tuple[str, Path], list[Seconds]] = {
            (c, f): [] for c in ("repro", "status") for f in (project, empty)
        }
        for _ in range(ROUNDS):
            for (command, folder), series in times.items():
                series.append(seconds([*dvc, command], folder, environment))
        shutil.rmtree(project)
    console.say(f"| median of {ROUNDS}, except the first | wall | CPU |\n|---|---|---|")
    console.say(f"| first `dvc repro`, MLflow included | {first} |")
    for command in ("repro", "status"):
        ours, theirs = (Seconds(*map(median, zip(*times[command, folder], strict=True))) for folder in (project, empty))
        console.say(f"| `dvc {command}` with nothing to do | {ours} |")
        console.say(f"| the same of five empty stages | {theirs} |")
        console.say(f"| ratio of the two | {ours.wall / theirs.wall:.2f} | {ours.cpu / theirs.cpu:.2f} |")


if __name__ == "__main__":
    console.run(main)
