"""Runs of the gate that were made before: the metrics of each, by what determined them, in a folder git ignores.

`dvc add gate-runs` shares them through a DVC remote. Nothing in there is trusted: files are read as those of any base.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segline.core import atomic, records, untrusted
from segline.core.errors import DataError
from segline.gate import saved_metrics
from segline.gate.saved_metrics import Saved

FOLDER = Path("gate-runs")
RECIPE = "recipe.json"  # for people: what the name of the folder is a hash of
MAX_BYTES = 1 << 28
REMEDY = "Delete that folder: the run is then made again."


def place(key: str, seed: int) -> Path:
    """The folder of a run."""
    return FOLDER / key / f"seed-{seed}"


def read(root: Path, key: str, seed: int, label: str, commit: str | None) -> Saved:
    """A kept run as one of the side `label`, not yet checked. Raises DataError if it is incomplete."""
    folder = place(key, seed)
    evaluation, per_image = (
        _content(root, folder / path.name) for path in (saved_metrics.evaluation(), saved_metrics.per_image())
    )
    return Saved(label, f"{folder}/", commit, evaluation, per_image, REMEDY)


def _content(root: Path, path: Path) -> bytes:
    try:
        return untrusted.read(root / path, MAX_BYTES)
    except OSError as error:
        raise DataError(path, untrusted.problem(error), REMEDY) from None


def write(root: Path, key: str, seed: int, recipe: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Keeps the files of a run, whole or not at all, and what it is a run of."""
    if not (root / FOLDER / key / RECIPE).exists():
        records.write_json(root / FOLDER / key / RECIPE, recipe)
    with atomic.folder(root / place(key, seed)) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
