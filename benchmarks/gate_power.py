"""What the gate catches on the default pipeline, and its rate of false alarms: one command for each question.

    python -m benchmarks.gate_power seeds --folder RUNS --runs 24   # runs that differ only in the seed: false alarms
    python -m benchmarks.gate_power drops --folder RUNS             # planted drops of mIoU against the seed deviation
    python -m benchmarks.gate_power faults --folder RUNS            # planted faults in training: caught or not
    python -m benchmarks.gate_power sequential --folder RUNS        # several seeds a side: false alarms, losses found
    python -m benchmarks.gate_power normal                          # the same from normal scores, few images too
    python -m benchmarks.gate_power folds                           # cross-validations compared, from normal scores
    python -m benchmarks.gate_power broken                          # broken baselines: none may be green

`seeds` and `faults` train in this process, on the `data/` of `make repro`, and keep their results in RUNS; a repeated
command resumes. `drops`, `faults` and `sequential` use the runs of `seeds`.
"""

import argparse
import contextlib
import io
import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks import gate_broken, gate_drops, gate_folds, gate_normal, gate_runs, gate_sequential
from segline.__main__ import main as segline
from segline.core import params
from segline.dataset import onehot
from segline.gate import decision, rules
from segline.gate.decision import Verdict
from segline.gate.rules import SeedNoise
from segline.monitoring import console
from segline.reproducibility import seed_noise

SEED = 1


def seeds(folder: Path, runs: int) -> None:
    """Prints the verdicts on all ordered pairs, and on disjoint pairs, which are independent."""
    paths = gate_runs.series(folder, runs, params.load())
    draw = np.random.default_rng(SEED)
    tally: dict[tuple[str, str], Counter[Verdict]] = {}
    for i, j in itertools.permutations(range(runs), 2):
        known = decision.gather(gate_runs.paired(paths[i], paths[j]), gate_runs.claims())
        others = [path for place, path in enumerate(paths) if place not in (i, j)]
        few = [others[place] for place in draw.permutation(len(others))[: gate_drops.FEW]]
        sources: dict[str, SeedNoise | None] = {"none": None}
        sources |= {f"{len(few)} others": gate_runs.noise(few), "all others": gate_runs.noise(others)}
        for source, spread in sources.items():
            said = decision.overall(decision.decide(known, gate_runs.claims(), gate_runs.noises(spread)))
            for pairs in ["all ordered"] + ["disjoint"] * (i % 2 == 0 and j == i + 1):
                tally.setdefault((source, pairs), Counter())[said] += 1
    over = gate_runs.noise(paths).metrics
    console.say(f"standard deviation over {runs} seeds: accuracy {over.accuracy:.4f}, mIoU {over.miou:.4f}\n")
    console.say("| seed noise from | pairs | number | false alarms | 95 % (Clopper-Pearson) | inconclusive | pass |")
    console.say("|---|---|---|---|---|---|---|")
    for (source, pairs), verdicts in sorted(tally.items()):
        total, alarms = verdicts.total(), verdicts[Verdict.REGRESSION]
        ends = stats.binomtest(alarms, total).proportion_ci(method="exact")
        rest = " | ".join(f"{verdicts[other] / total:.1%}" for other in (Verdict.INCONCLUSIVE, Verdict.OK))
        share = f"{alarms / total:.1%} | {ends.low:.1%} to {ends.high:.1%}"
        console.say(f"| {source} | {pairs} | {total} | {share} | {rest} |")


def shifted(classes: onehot.Uint8, _: int) -> onehot.Uint8:
    """The labels, those of 5 % of the images shifted to the right by an eighth of the width."""
    classes = classes.copy()
    rows = np.random.default_rng(SEED).permutation(len(classes))[: max(1, round(0.05 * len(classes)))]
    classes[rows] = np.roll(classes[rows], classes.shape[2] // 8, axis=2)
    return classes


def swapped(classes: onehot.Uint8, num_classes: int) -> onehot.Uint8:
    """The labels with two classes swapped: the middle ones by number of pixels."""
    order = np.argsort(np.bincount(classes.ravel(), minlength=num_classes)[:num_classes])
    table = np.arange(256, dtype=np.uint8)
    first, second = order[(num_classes - 1) // 2], order[(num_classes - 1) // 2 + 1]
    table[[first, second]] = table[[second, first]]
    return np.asarray(table[classes])


def faults(folder: Path) -> None:
    """Prints the verdict on a training with a fault, against the sound run with the same seed."""
    document = params.load()
    section = document["train"]
    document = gate_runs.changed(document, "train", seed=1)
    base = folder / "seed-1"
    known = sorted(path for path in folder.glob("seed-*") if path != base)
    spread = gate_runs.noise(known) if len(known) >= seed_noise.FEWEST else None
    made = {
        "labels of 5 % of the images shifted": gate_runs.make(folder / "shifted", document, shifted),
        "two classes swapped": gate_runs.make(folder / "swapped", document, swapped),
        "learning rate x10": gate_runs.make(
            folder / "rate", gate_runs.changed(document, "train", learning_rate=10 * section["learning_rate"])
        ),
        "a quarter of the epochs": gate_runs.make(
            folder / "epochs", gate_runs.changed(document, "train", epochs=max(1, section["epochs"] // 4))
        ),
    }
    names = [claim.name for claim in gate_runs.claims()]
    console.say(f"seed noise from {len(known)} other runs\n\n| fault | verdict | {' | '.join(names)} |")
    console.say("|---" * (2 + len(names)) + "|")
    for fault, run in made.items():
        judged = decision.decide(
            decision.gather(gate_runs.paired(base, run), gate_runs.claims()),
            gate_runs.claims(),
            gate_runs.noises(spread),
        )
        cells = [f"{one.difference:+.4f} ({one.interval.low:+.4f} to {one.interval.high:+.4f})" for one in judged]
        console.say(f"| {fault} | {decision.overall(judged)} | {' | '.join(cells)} |")


def broken(metrics: Path) -> int:
    """Prints the exit code for each broken baseline; returns 1 if any was green."""
    codes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "project"
        shutil.copytree(metrics, project / "metrics")
        shutil.copy2(rules.FILE, project)
        (project / "dvc.yaml").touch()
        for kind, breaking in gate_broken.kinds().items():
            base = Path(scratch) / "base"
            shutil.rmtree(base, ignore_errors=True)
            shutil.copytree(metrics, base)
            breaking(base)
            codes[kind] = _exit_code(project, str(base))
        for kind, revision in gate_broken.revisions(project).items():
            codes[kind] = _exit_code(project, revision)
    console.say("| baseline | exit code |\n|---|---|")
    for kind, code in codes.items():
        console.say(f"| {kind} | {code} |")
    console.say(f"\n{len(codes)} kinds, {list(codes.values()).count(0)} green")
    return int(0 in codes.values())


def _exit_code(project: Path, base: str) -> int:
    with (
        contextlib.chdir(project),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        return segline(["gate", "--base", base]) or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one part."""
    parser = console.parser(__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--folder", type=Path, required=True)
    parts.add_parser("seeds", parents=[runs]).add_argument("--runs", type=int, default=24)
    parts.add_parser("drops", parents=[runs]).add_argument("--trials", type=int, default=200)
    parts.add_parser("sequential", parents=[runs]).add_argument("--trials", type=int, default=2000)
    for name in ("normal", "folds"):
        parts.add_parser(name).add_argument("--trials", type=int, default=20_000)
    parts.add_parser("faults", parents=[runs])
    parts.add_parser("broken").add_argument("--metrics", type=Path, default=Path("metrics"))
    args = parser.parse_args(argv)
    if args.part == "broken":
        return broken(args.metrics)
    if args.part == "normal":
        gate_normal.table(args.trials)
    elif args.part == "folds":
        gate_folds.table(args.trials)
    elif args.part == "seeds":
        seeds(args.folder, args.runs)
    elif args.part == "drops":
        gate_drops.drops(args.folder, args.trials)
    elif args.part == "sequential":
        gate_sequential.sequential(args.folder, args.trials)
    else:
        faults(args.folder)
    return 0


if __name__ == "__main__":
    console.run(main)
