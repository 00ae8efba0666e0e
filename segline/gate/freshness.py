"""What dvc.lock says of the metrics: whether they are those of the last run, and which recipe made them."""

from collections.abc import Mapping
from pathlib import Path

from segline.core import pipeline
from segline.core.errors import DataError
from segline.gate import baseline
from segline.gate.baseline import Saved
from segline.gate.pairing import Pair
from segline.reproducibility import dvc_lock

Stages = Mapping[str, dvc_lock.Stage]


def read(root: Path) -> Stages:
    """The stages of the working tree at `root`; none where nothing was ever reproduced."""
    return dvc_lock.stages(root) if (root / dvc_lock.FILE).exists() else {}


def holds(locked: Stages, candidate: Saved) -> bool:
    """Whether dvc.lock names the very files of metrics as what evaluate made; False where it names none.

    Raises DataError if it says that they are of an earlier model, or names others.
    """
    if not {"train", "evaluate"} <= locked.keys():
        return False
    made = locked["evaluate"].outputs
    model = pipeline.path("train", "model").as_posix()
    if locked["train"].outputs.get(model) != locked["evaluate"].inputs.get(model):
        where = baseline.FOLDER / baseline.EVALUATION
        raise DataError(where, f"is of an earlier model, says {dvc_lock.FILE}", "Run `make repro`.")
    contents = {baseline.EVALUATION: candidate.evaluation, baseline.IMAGES: candidate.images}
    for name, content in contents.items():
        path = baseline.FOLDER / name
        if made.get(path.as_posix()) not in (None, dvc_lock.md5_of(content)):
            raise DataError(path, f"not the file that evaluate wrote, says {dvc_lock.FILE}", "Run `make repro`.")
    return all((baseline.FOLDER / name).as_posix() in made for name in contents)


def recipes(locked: Stages, pair: Pair, root: Path) -> set[str]:
    """Those of both sides, as far as their dvc.lock tells."""
    return {found for stages in (locked, _of_base(pair, root)) if (found := dvc_lock.recipe(stages))}


def _of_base(pair: Pair, root: Path) -> Stages:
    """The stages of the base; none where its lock is missing or broken, since nothing is refused for it."""
    content = baseline.beside(pair.base.label, pair.base.commit, dvc_lock.FILE, root)
    try:
        return {} if content is None else dvc_lock.parse(content, dvc_lock.FILE)
    except DataError:
        return {}
