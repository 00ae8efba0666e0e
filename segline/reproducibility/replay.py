"""Whether stages are deterministic, which DVC only assumes: run again, elsewhere, do they give the bytes of dvc.lock?

Every stage starts from the locked inputs, so that one that differs does not spoil the next.
"""

import hashlib
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from segline.core import params
from segline.core.errors import ParameterError, suggestion
from segline.monitoring import console
from segline.reproducibility import dvc_lock, first_difference, provenance, sandbox
from segline.reproducibility.dvc_lock import Stage

MODEL = ".safetensors"


def replay(root: Path, names: Sequence[str]) -> bool:
    """Runs the named stages again, or all, and says of each output what came of it. True if all are identical.

    Nothing of the user's is written. Raises DataError if the folder is not in the state of dvc.lock or inputs are lost,
    PipelineError if a stage fails.
    """
    locked = dvc_lock.stages(root)
    chosen = [_stage(locked, name) for name in names or locked]
    store = dvc_lock.Store(root, locked)
    sandbox.require_locked(root, store, chosen)
    sandbox.require_inputs(root, store, [[stage] for stage in chosen])
    differs = [path for stage in chosen for path in _differing(root, store, stage)]
    total = sum(len(stage.outputs) for stage in chosen)
    if not differs:
        console.say(f"identical: all {total} outputs of {', '.join(stage.name for stage in chosen)}")
        return True
    console.say(f"different: {len(differs)} of {total} outputs")
    if line := _machines(store, dvc_lock.outputs(locked)):
        console.say(line)
    return False


def _stage(locked: Mapping[str, Stage], name: str) -> Stage:
    if name not in locked:
        remedy = suggestion(name, list(locked), f"It has: {', '.join(locked)}.")
        raise ParameterError(name, f"no stage of {dvc_lock.FILE}", remedy)
    return locked[name]


def _differing(root: Path, store: dvc_lock.Store, stage: Stage) -> list[str]:
    """The outputs of a stage that came out with other bytes, each told when it is found."""
    console.say(f"{stage.name}: runs again on the inputs that {dvc_lock.FILE} names")
    differs = []
    with sandbox.project(root, store, [stage]) as clone:
        sandbox.run(clone, stage)
        for path, expected in stage.outputs.items():
            made = clone / path
            if made.exists() and dvc_lock.md5(made) == expected:
                console.say(f"  {path}: identical")
            else:
                differs.append(path)
                console.say(f"  {path}: different: {_words(made, path, store)}")
    return differs


def _words(made: Path, path: str, store: dvc_lock.Store) -> str:
    if not made.exists():
        return "it was not written"
    if not store.has(path):
        return "the cache no longer has its bytes, so nobody can say where; `dvc pull` may bring them"
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        expected = Path(folder, made.name)
        store.copy(path, expected)
        return first_difference.between(made, expected)


def _machines(store: dvc_lock.Store, outputs: Mapping[str, str]) -> str | None:
    model = next((path for path in outputs if path.endswith(MODEL)), None)
    if model is None or not store.has(model):
        return None
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        store.copy(model, Path(folder, "model"))
        return provenance.comparison(hashlib.sha256(Path(folder, "model").read_bytes()).hexdigest())


def command(args: Namespace) -> int:
    """`segline replay [STAGE...]`: 0 if all bytes are those of dvc.lock, else 1."""
    params.require_top_folder(dvc_lock.FILE)
    return 0 if replay(Path.cwd(), args.stages) else 1
