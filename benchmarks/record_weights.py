"""The weights of a finished project in half precision, small enough for git, and their scores."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

from segline.core import atomic, records
from segline.core.errors import DataError
from segline.model import checkpoint, device
from segline.reproducibility import dvc_lock, sandbox

MODEL, EVALUATION = "models/model.safetensors", "metrics/eval.json"
MOST_BYTES = 15_000_000


def export(project: Path, target: Path, facts: dict[str, Any]) -> None:
    """Writes the project's model to `target` in float16, and beside it a .json: facts, the scores of that file, and the
    machine that scored it.

    Raises DataError if it is too large, IntegrityError if a weight is too large for float16.
    """
    half = project.with_name(target.name)
    halved(project / MODEL, half)
    if (size := half.stat().st_size) > MOST_BYTES:
        raise DataError(half, f"{size:,} bytes, expected at most {MOST_BYTES:,}", "Choose a smaller network.")
    about = {
        **facts,
        "scored_on": device.fingerprint(),
        "metrics": scores(project, half),
        "sha256": hashlib.sha256(half.read_bytes()).hexdigest(),
    }
    with atomic.file(target) as partial:
        shutil.copyfile(half, partial)
    records.write_json(target.with_suffix(".json"), about)


def halved(model: Path, target: Path) -> None:
    """Writes the model to `target`, its floating-point weights in float16."""
    network, description = checkpoint.read(model)
    weights = {name: w.half() if w.is_floating_point() else w for name, w in network.state_dict().items()}
    checkpoint.write(target, weights, description)
    checkpoint.read(target)  # refuses weights that overflowed


def scores(project: Path, model: Path) -> Any:
    """eval.json of a model file other than the project's, from a copy of the project."""
    locked = dvc_lock.stages(project)
    with sandbox.project(project, dvc_lock.Store(project, locked), [locked["evaluate"]]) as copy:
        shutil.copyfile(model, copy / MODEL)
        sandbox.run(copy, locked["evaluate"])
        return records.read_json(copy / EVALUATION)
