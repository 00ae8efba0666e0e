"""Whether stages are deterministic, which DVC only assumes: run again, elsewhere, do they give the bytes of dvc.lock?

Every stage starts from the locked inputs, so that one that differs does not spoil the next.
"""

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from segline import cli, difference, lock, provenance, scratch
from segline.errors import ParameterError, suggestion
from segline.lock import Stage

MODEL = ".safetensors"


def replay(root: Path, names: Sequence[str]) -> bool:
    """Runs the named stages again, or all, and says of each output what came of it. True if all are identical.

    Nothing of the user's is written. Raises DataError if the folder is not in the state of dvc.lock or inputs are lost,
    PipelineError if a stage fails.
    """
    locked = lock.stages(root)
    chosen = [_stage(locked, name) for name in names or locked]
    store = lock.Store(root, locked)
    scratch.require_locked(root, store, chosen)
    scratch.require_inputs(root, store, [[stage] for stage in chosen])
    differs = [path for stage in chosen for path in _differing(root, store, stage)]
    total = sum(len(stage.outputs) for stage in chosen)
    if not differs:
        cli.say(f"identical: all {total} outputs of {', '.join(stage.name for stage in chosen)}")
        return True
    cli.say(f"different: {len(differs)} of {total} outputs")
    if line := _machines(store, lock.outputs(locked)):
        cli.say(line)
    return False


def _stage(locked: Mapping[str, Stage], name: str) -> Stage:
    if name not in locked:
        remedy = suggestion(name, list(locked), f"It has: {', '.join(locked)}.")
        raise ParameterError(name, f"no stage of {lock.FILE}", remedy)
    return locked[name]


def _differing(root: Path, store: lock.Store, stage: Stage) -> list[str]:
    """The outputs of a stage that came out with other bytes, each told when it is found."""
    cli.say(f"{stage.name}: runs again on the inputs that {lock.FILE} names")
    differs = []
    with scratch.project(root, store, [stage]) as clone:
        scratch.run(clone, stage)
        for path, expected in stage.outputs.items():
            made = clone / path
            if made.exists() and lock.md5(made) == expected:
                cli.say(f"  {path}: identical")
            else:
                differs.append(path)
                cli.say(f"  {path}: different: {_words(made, path, store)}")
    return differs


def _words(made: Path, path: str, store: lock.Store) -> str:
    if not made.exists():
        return "it was not written"
    if not store.has(path):
        return "the cache no longer has its bytes, so nobody can say where; `dvc pull` may bring them"
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        expected = Path(folder, made.name)
        store.copy(path, expected)
        return difference.between(made, expected)


def _machines(store: lock.Store, outputs: Mapping[str, str]) -> str | None:
    model = next((path for path in outputs if path.endswith(MODEL)), None)
    if model is None or not store.has(model):
        return None
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        store.copy(model, Path(folder, "model"))
        return provenance.comparison(hashlib.sha256(Path(folder, "model").read_bytes()).hexdigest())
