"""How much the scores vary with the training seed alone: variation that the gate must not mistake for a regression."""

import itertools
import json
import statistics
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from segline.core import git, params, pipeline, records
from segline.core.errors import DataError, ParameterError
from segline.monitoring import console
from segline.reproducibility import dvc_lock, sandbox, trainings
from segline.reproducibility.trainings import Training

STAGES = ("train", "evaluate")
FILE = Path("metrics/noise.json")
FEWEST = 3
RATES = {"accuracy": "accuracy", "miou": "mIoU"}
OBJECT_RATES = ("ap50", "pq")
# noise.json names a commit only if these are unchanged since.
DESCRIBED = ("dvc.yaml", "dvc.lock", "params.yaml", "segline", "stages")


def measure(root: Path, num_seeds: int) -> None:
    """Writes metrics/noise.json from runs with train.seed + 1 to train.seed + `num_seeds`; prints each one's scores.

    The user's own run does not count: its seed may have been chosen for its score, and it may be from another machine.
    Writes nothing else into the project; a failure keeps the old file. Raises DataError as `sandbox.require_locked`.
    """
    if num_seeds < FEWEST:
        raise ParameterError("--seeds", f"expected at least {FEWEST}, got {num_seeds}", "Fewer tell nothing.")
    locked = dvc_lock.stages(root)
    if missing := [name for name in STAGES if name not in locked]:
        raise DataError(root / dvc_lock.FILE, f"stage {missing[0]} is missing", "Run `make repro`.")
    commit = current_commit(root)
    store = dvc_lock.Store(root, locked)
    stages = [locked[name] for name in STAGES]
    sandbox.require_locked(root, store, locked.values())
    sandbox.require_inputs(root, store, [stages])
    seed = int(params.find(params.load(root / params.FILE), "train.seed"))
    seeds = list(range(seed + 1, seed + 1 + num_seeds))
    results = _results(root, store, stages, seeds)
    content = {
        "commit": commit,
        "metrics": deviations(results),
        "protocol": results[0]["protocol"],
        "recipe": dvc_lock.recipe(locked),
        "seeds": seeds,
    }
    records.write_json(root / FILE, content)
    spread = ", ".join(f"{label} {100 * content['metrics'][name]:.2f}" for name, label in RATES.items())
    console.say(f"{FILE}: standard deviation over {num_seeds} seeds, in percentage points: {spread}")


def _results(
    root: Path, store: dvc_lock.Store, stages: Sequence[dvc_lock.Stage], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """eval.json of a training from each seed, in their order, in which the scores are printed too."""
    path = pipeline.path("evaluate", "metrics")
    runs = [Training(f"seed {seed}", root, store, stages, {"train.seed": seed}, [path]) for seed in seeds]
    found: dict[str, dict[str, Any]] = {}
    results: list[dict[str, Any]] = []
    with closing(trainings.run(runs)) as ended:
        for each in ended:
            found[each.training.name] = json.loads(each.files[path])
            for name in itertools.takewhile(found.__contains__, [run.name for run in runs[len(results) :]]):
                results.append(found[name])
                rates = ", ".join(f"{label} {100 * found[name][key]:.1f} %" for key, label in RATES.items())
                console.say(f"{name}: {rates}")
    return results


def deviations(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sample standard deviation (n - 1) of accuracy, mIoU, ECE, the IoU of each class, and AP50 and PQ of objects."""
    rates = {name: statistics.stdev(scores[name] for scores in results) for name in RATES}
    classes = results[0]["iou"]
    deviating = {"iou": {name: statistics.stdev(scores["iou"][name] for scores in results) for name in classes}}
    if all("ece" in scores for scores in results):
        rates["ece"] = statistics.stdev(scores["ece"] for scores in results)
    objects = [scores.get("objects", {}) for scores in results]
    if found := [name for name in OBJECT_RATES if all(name in each for each in objects)]:
        deviating["objects"] = {name: statistics.stdev(each[name] for each in objects) for name in found}
    return rates | deviating


def current_commit(root: Path) -> str | None:
    """The current commit; None without git, or if code, parameters or results differ from it."""
    head = git.answer(root, "rev-parse", "--verify", "HEAD")
    is_clean = git.answer(root, "status", "--porcelain", "--", *DESCRIBED) == b""
    return head.decode().strip() if head and is_clean else None


def command(args: Namespace) -> None:
    """`segline noise`."""
    params.require_top_folder(dvc_lock.FILE)
    measure(Path.cwd(), args.seeds)
