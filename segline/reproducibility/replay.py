"""Are stages deterministic, as DVC assumes? Run again elsewhere, do they give the bytes that dvc.lock records?

Every stage starts from the locked inputs, so that a difference in one does not carry over to the next.
"""

import hashlib
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from segline.core import params
from segline.core.errors import ParameterError, suggestion
from segline.model import device
from segline.monitoring import console, mlflow_lookup
from segline.reproducibility import dvc_lock, first_difference, sandbox
from segline.reproducibility.dvc_lock import Stage

MODEL = ".safetensors"
FACTS = ("device", "torch", "threads", "cpu_capability", "gpu/name", "cuda")  # of `device.description`


def replay(root: Path, names: Sequence[str]) -> bool:
    """Runs the named stages again, or all, and prints the result for each output. True if all are identical.

    Writes nothing into the project. Raises DataError if the folder differs from dvc.lock or inputs are lost,
    PipelineError if a stage fails.
    """
    locked = dvc_lock.stages(root)
    chosen = [_stage(locked, name) for name in names or locked]
    store = dvc_lock.Store(root, locked)
    sandbox.require_locked(root, store, chosen)
    sandbox.require_inputs(root, store, [[stage] for stage in chosen])
    different = [path for stage in chosen for path in _different(root, store, stage)]
    total = sum(len(stage.outputs) for stage in chosen)
    if not different:
        console.say(f"identical: all {total} outputs of {', '.join(stage.name for stage in chosen)}")
        return True
    console.say(f"different: {len(different)} of {total} outputs")
    if line := _machine(store, dvc_lock.outputs(locked)):
        console.say(line)
    return False


def _stage(locked: Mapping[str, Stage], name: str) -> Stage:
    if name not in locked:
        remedy = suggestion(name, list(locked), f"It has: {', '.join(locked)}.")
        raise ParameterError(name, f"not a stage in {dvc_lock.FILE}", remedy)
    return locked[name]


def _different(root: Path, store: dvc_lock.Store, stage: Stage) -> list[str]:
    """Runs a stage again, prints the result for each of its outputs, and returns those with other bytes."""
    console.say(f"{stage.name}: runs again on the inputs recorded in {dvc_lock.FILE}")
    different = []
    with sandbox.project(root, store, [stage]) as clone:
        sandbox.run(clone, stage)
        for path, expected in stage.outputs.items():
            made = clone / path
            if made.exists() and dvc_lock.md5(made) == expected:
                console.say(f"  {path}: identical")
            else:
                different.append(path)
                console.say(f"  {path}: different: {_difference(made, path, store)}")
    return different


def _difference(made: Path, path: str, store: dvc_lock.Store) -> str:
    if not made.exists():
        return "it was not written"
    if not store.has(path):
        return "the recorded bytes are no longer in the cache, so it is unknown where; try `dvc pull`"
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        expected = Path(folder, made.name)
        store.copy(path, expected)
        return first_difference.between(made, expected)


def _machine(store: dvc_lock.Store, outputs: Mapping[str, str]) -> str | None:
    model = next((path for path in outputs if path.endswith(MODEL)), None)
    if model is None or not store.has(model):
        return None
    with tempfile.TemporaryDirectory(prefix="segline-") as folder:
        store.copy(model, Path(folder, "model"))
        return machine_difference(hashlib.sha256(Path(folder, "model").read_bytes()).hexdigest())


def machine_difference(model_sha256: str) -> str:
    """How this machine differs from the one that trained the model, as MLflow recorded it. One line."""
    tags = mlflow_lookup.tags(model_sha256)
    there, here = {name: tags[name] for name in FACTS if name in tags}, device.description(device.pick())
    if not there:
        facts = ", ".join(f"{name} {value}" for name, value in here.items())
        return f"this machine: {facts}; no MLflow run says which machine trained the model"
    changes = [
        f"{name} {here.get(name, 'unknown')} instead of {there.get(name, 'unknown')}"
        for name in {**there, **here}
        if here.get(name) != there.get(name)
    ]
    if not changes:
        return "this machine matches the one that trained the model (device, torch, threads, CPU capability)"
    return f"this machine differs from the one that trained the model: {', '.join(changes)}"


def command(args: Namespace) -> int:
    """`segline replay [STAGE...]`: 0 if all outputs have the bytes that dvc.lock records, else 1."""
    params.require_top_folder(dvc_lock.FILE)
    return 0 if replay(Path.cwd(), args.stages) else 1
