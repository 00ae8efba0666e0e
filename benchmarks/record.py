"""A preset trained with several seeds, as a user would: scores with their spread, and the best weights in float16.

    python -m benchmarks.record --folder RUNS [--preset camvid] [--seeds 1 2 3] [--set train.epochs=20]

Each seed is a clone of HEAD, RUNS/<preset>-<seed>, in which `dvc repro evaluate` runs; all share the cache RUNS/cache.
If stopped, the same command resumes: DVC skips finished stages, and a training resumes from its last saved state.
Minutes are the sum over the epochs, whenever they ran. The seed with the highest mIoU becomes
pretrained/<preset>.safetensors; the .json beside it has the scores of that very file.
"""

import argparse
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import record_weights
from segline.commands import presets
from segline.core import atomic, params, records
from segline.core.errors import DataError, PipelineError
from segline.dataset import processed
from segline.monitoring import console
from segline.reproducibility import sandbox

ROOT = Path(__file__).parents[1]
CODE = ("dvc.yaml", "presets", "segline", "stages", "benchmarks")
EVALUATION, HISTORY = "metrics/eval.json", "metrics/history.csv"
EPOCH = re.compile(r"epoch (\d+)/.* ([\d.]+) images/s$", re.MULTILINE)  # as the train stage prints it


@dataclass(frozen=True)
class Result:
    """The result of a seed; `seconds` of training are None if unknown."""

    seed: int
    project: Path
    scores: dict[str, Any]
    epochs: int
    images: int
    seconds: float | None

    @property
    def rate(self) -> float | None:
        """Training images a second."""
        return self.epochs * self.images / self.seconds if self.seconds else None


def git(folder: Path, *arguments: str) -> str:
    """The output of `git ARGUMENTS`."""
    return subprocess.run(["git", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def head() -> str:
    """The commit of this code. Raises DataError if it is edited."""
    if edited := git(ROOT, "status", "--porcelain", "--", *CODE):
        problem = f"contains uncommitted code: {', '.join(line.split()[-1] for line in edited.splitlines())}"
        raise DataError(ROOT, problem, "Commit it first: the record names the commit that made it.")
    return git(ROOT, "rev-parse", "HEAD")


def clone(folder: Path, commit: str) -> None:
    """Makes `folder` a clone at this commit. Raises DataError if it is one at another commit."""
    if not folder.is_dir():
        with atomic.folder(folder) as partial:
            git(ROOT, "clone", "--quiet", "--no-checkout", str(ROOT), str(partial))
            git(partial, "checkout", "--quiet", "--detach", commit)
            (partial / ".dvc/config.local").write_text("[cache]\n    dir = ../../cache\n", encoding="utf-8")
    if (head := git(folder, "rev-parse", "HEAD")) != commit:
        raise DataError(
            folder, f"is at commit {head}, this code at {commit}", "Check that one out, or name another --folder."
        )


def changed(document: params.Document, settings: Sequence[str]) -> params.Document:
    """The document with `key=value` settings; values are JSON or else text. Raises ParameterError for unknown keys."""
    for setting in settings:
        key, _, text = setting.partition("=")
        params.find(document, key)
        section, _, name = key.rpartition(".")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        params.find(document, section)[name] = value
    return document


def configure(project: Path, document: params.Document) -> None:
    """Writes the document to params.yaml of the project; deletes the log of a different one."""
    text = json.dumps(document, ensure_ascii=False, indent=2)  # JSON is YAML in which no string can be read as a number
    target = project / params.FILE
    if target.read_text(encoding="utf-8") != text:
        log(project).unlink(missing_ok=True)
        target.write_text(text, encoding="utf-8")
    sandbox.link_named(document, ROOT, project)


def log(project: Path) -> Path:
    """The log of the runs in a project."""
    return project.with_name(f"{project.name}.log")


def run(project: Path, *arguments: str) -> None:
    """Runs a Python module in the project; its output is shown and logged. Raises PipelineError if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (
        log(project).open("a", encoding="utf-8") as logged,
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=project,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                logged.write(line)
                logged.flush()
                console.say(line.rstrip("\n"))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
    if process.returncode:
        problem = f"`python -m {' '.join(arguments)}` ended with exit code {process.returncode}"
        raise PipelineError(project, problem, "Its own message is above.")


def result(seed: int, project: Path) -> Result:
    """The result stored in a project."""
    images = len(processed.read(project / "data/processed/train").images)
    epochs = len(records.read_csv(project / HISTORY))
    rates = dict(
        EPOCH.findall(log(project).read_text(encoding="utf-8"))
    )  # the last one, for an epoch that was trained twice
    known = [images / float(rates[number]) for number in map(str, range(1, epochs + 1)) if number in rates]
    seconds = sum(known) if len(known) == epochs else None
    return Result(seed, project, records.read_json(project / EVALUATION), epochs, images, seconds)


def table(results: Sequence[Result]) -> Iterator[str]:
    """A row for each seed, then mean and standard deviation."""
    split = results[0].scores["protocol"]["split"]
    yield f"| seed | epochs | {split} accuracy | {split} mIoU | minutes of training | images/s |"
    yield "|---|---|---|---|---|---|"
    for each in results:
        scores = [
            f"{each.scores[name]:.4f} ({each.scores['interval'][name]['low']:.4f} to"
            f" {each.scores['interval'][name]['high']:.4f})"
            for name in ("accuracy", "miou")
        ]
        times = [f"{each.seconds / 60:.1f}", f"{each.rate:.1f}"] if each.seconds else ["-", "-"]
        yield f"| {' | '.join([str(each.seed), str(each.epochs), *scores, *times])} |"
    if len(results) > 1:
        columns = [[each.scores[name] for each in results] for name in ("accuracy", "miou")]
        spread = [f"{statistics.mean(column):.4f} ({statistics.stdev(column):.4f})" for column in columns]
        yield f"| mean (standard deviation) | | {' | '.join(spread)} | | |"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments."""
    parser = console.parser(__doc__)
    parser.add_argument("--folder", type=Path, required=True, metavar="RUNS", help="where all results are kept")
    parser.add_argument("--preset", default="camvid", choices=presets.names(ROOT), metavar="NAME", help="(%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], metavar="N", help="(1 2 3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another parameter; repeatable")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs what is missing, prints the record, and exports the best weights."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    commit = head()
    document = changed(params.load(ROOT / presets.FOLDER / f"{args.preset}.yaml"), args.set)
    runs = []
    for seed in args.seeds:
        project = args.folder.absolute() / f"{args.preset}-{seed}"
        console.say(f"seed {seed}: {project}")
        clone(project, commit)
        document["train"]["seed"] = seed
        configure(project, document)
        run(project, "segline", "check")
        run(project, "dvc", "repro", "evaluate")
        runs.append(result(seed, project))
    for line in ("", *table(runs), ""):
        console.say(line)
    best = max(runs, key=lambda each: float(each.scores["miou"]))
    command = shlex.join(["python", "-m", "benchmarks.record", *argv])
    facts = {"command": command, "commit": commit, "seed": best.seed, "epochs": best.epochs}
    target = ROOT / "pretrained" / f"{args.preset}.safetensors"
    record_weights.export(best.project, target, facts)
    console.say(f"wrote {target}, the weights of seed {best.seed}")


if __name__ == "__main__":
    console.run(main)
