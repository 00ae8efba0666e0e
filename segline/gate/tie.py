"""What dvc.lock says of the metrics: whether they are those of the last run, and which recipe made them."""

from collections.abc import Mapping
from pathlib import Path

from segline import lock, recipe
from segline.errors import DataError
from segline.gate import baseline
from segline.gate.baseline import Saved
from segline.gate.pairing import Pair

MODEL = "models/model.safetensors"  # as dvc.lock names it
Stages = Mapping[str, lock.Stage]


def read(root: Path) -> Stages:
    """The stages of the working tree at `root`; none where nothing was ever reproduced."""
    return lock.stages(root) if (root / lock.FILE).exists() else {}


def holds(locked: Stages, candidate: Saved) -> bool:
    """Whether dvc.lock names the very files of metrics as what evaluate made; False where it names none.

    Raises DataError if it says that they are of an earlier model, or names others.
    """
    if not {"train", "evaluate"} <= locked.keys():
        return False
    made = locked["evaluate"].outputs
    if locked["train"].outputs.get(MODEL) != locked["evaluate"].inputs.get(MODEL):
        where = baseline.FOLDER / baseline.EVALUATION
        raise DataError(where, f"is of an earlier model, says {lock.FILE}", "Run `make repro`.")
    contents = {baseline.EVALUATION: candidate.evaluation, baseline.IMAGES: candidate.images}
    for name, content in contents.items():
        path = baseline.FOLDER / name
        if made.get(path.as_posix()) not in (None, lock.md5_of(content)):
            raise DataError(path, f"not the file that evaluate wrote, says {lock.FILE}", "Run `make repro`.")
    return all((baseline.FOLDER / name).as_posix() in made for name in contents)


def recipes(locked: Stages, pair: Pair, root: Path) -> set[str]:
    """Those of both sides, as far as their dvc.lock tells."""
    return {found for stages in (locked, _of_base(pair, root)) if (found := recipe.of(stages))}


def _of_base(pair: Pair, root: Path) -> Stages:
    """The stages of the base; none where its lock is missing or broken, since nothing is refused for it."""
    content = baseline.beside(pair.base.label, pair.base.commit, lock.FILE, root)
    try:
        return {} if content is None else lock.parse(content, lock.FILE)
    except DataError:
        return {}
