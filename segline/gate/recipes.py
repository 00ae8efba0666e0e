"""A side that can be trained again: its code, parameters and inputs, as its own dvc.lock records them."""

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from segline.core import git, params
from segline.core.errors import DataError, PipelineError
from segline.reproducibility import dvc_lock, sandbox, seed_noise
from segline.reproducibility.dvc_lock import Stage, Store

PINS = Path("constraints.txt")


@dataclass(frozen=True)
class Recipe:
    """Code and parameters of a side at `root`, the stages that train and evaluate it, and where their inputs are."""

    label: str
    commit: str | None
    root: Path
    stages: tuple[Stage, ...]
    store: Store

    @property
    def seed(self) -> int:
        """The seed of its own run."""
        return int(params.find(params.load(self.root / params.FILE), "train.seed"))

    def content(self, machine: Mapping[str, str]) -> dict[str, Any]:
        """All that determines its scores, except the seed: what its stages do and read, and the kind of machine."""
        made = {path for stage in self.stages for path in stage.outputs}
        stages = {
            stage.name: {
                "command": stage.command,
                "inputs": {path: md5 for path, md5 in stage.inputs.items() if path not in made},
                "parameters": {file: dvc_lock.without_seed(values) for file, values in stage.parameters.items()},
            }
            for stage in self.stages
        }
        return {"machine": machine, "stages": stages}


def key(content: Mapping[str, Any]) -> str:
    """The name of a recipe's runs: 32 hex digits of a SHA-256."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def of_working_tree(root: Path) -> Recipe:
    """The project at `root`. Raises DataError unless it is what its dvc.lock records, with all inputs."""
    locked = dvc_lock.stages(root)
    store = Store(root, locked)
    recipe = Recipe("the working tree", None, root, _stages(locked, str(root / dvc_lock.FILE)), store)
    sandbox.require_locked(root, store, locked.values())
    sandbox.require_inputs(root, store, [recipe.stages])
    return recipe


def of_revision(base: str, commit: str, root: Path, folder: Path) -> Recipe:
    """The project at a commit, unpacked to an empty folder. Its inputs come from the cache of the project at `root`.

    Raises DataError unless the commit is what its dvc.lock records, with all inputs.
    """
    where = f"{base}:{dvc_lock.FILE}"
    _unpack(commit, root, folder)
    if not (folder / dvc_lock.FILE).exists():
        raise DataError(where, "not in that commit", "Commit what `make repro` makes there, or name another base.")
    locked = dvc_lock.parse((folder / dvc_lock.FILE).read_bytes(), where)
    recipe = Recipe(base, commit, folder, _stages(locked, where), Store(root, locked))
    document = params.load(folder / params.FILE)
    sandbox.link_named(document, root, folder)
    if changed := [*_other_files(recipe), *_other_parameters(recipe, document)]:
        problem = f"does not match that commit: {', '.join(changed)}"
        raise DataError(where, problem, "Run `make repro` there and commit the result, or name another base.")
    try:
        sandbox.require_inputs(folder, recipe.store, [recipe.stages])
    except DataError as error:
        remedy = (
            f"Run `dvc fetch --all-commits`; without a remote: git switch --detach {base}; make repro; git switch -"
        )
        raise DataError(where, error.problem, remedy) from None
    return recipe


def _stages(locked: Mapping[str, Stage], where: str) -> tuple[Stage, ...]:
    if missing := [name for name in seed_noise.STAGES if name not in locked]:
        raise DataError(where, f"stage {missing[0]} is missing", "Run `make repro`.")
    return tuple(locked[name] for name in seed_noise.STAGES)


def _unpack(commit: str, root: Path, folder: Path) -> None:
    done = git.ask(root, "archive", "--format=tar", commit)
    if done.returncode:
        reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise PipelineError(commit, f"git archive failed: {reason}", "Is the clone complete? Run: git fsck")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _other_files(recipe: Recipe) -> list[str]:
    """Inputs in the repository that are not those that the lock records."""
    inputs = {path: md5 for stage in recipe.stages for path, md5 in stage.inputs.items()}
    own = {path: md5 for path, md5 in inputs.items() if recipe.store.owner(path) is None}
    places = {path: recipe.root / path for path in own}
    return [path for path, place in places.items() if not place.exists() or dvc_lock.md5(place) != own[path]]


def _other_parameters(recipe: Recipe, document: params.Document) -> list[str]:
    """Parameters that are not those that the lock records."""
    recorded = {
        key: value for stage in recipe.stages for key, value in stage.parameters.get(str(params.FILE), {}).items()
    }
    return [f"{params.FILE}: {key}" for key, value in recorded.items() if params.find(document, key) != value]


def machine() -> dict[str, str]:
    """The kind of machine that trains here: what `segline machine` says."""
    command = [sys.executable, "-m", "segline", "machine"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PipelineError("segline machine", reason.removeprefix("error: "), "Without it no run can be kept.")
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)


def other_packages(recipe: Recipe) -> list[str]:
    """Packages that the side pins to another version than is installed here: "torch 2.12.0 (here 2.13.0)"."""
    path = recipe.root / PINS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pins = [line.split(";")[0].split("#")[0].strip().partition("==") for line in lines]
    return [f"{name} {version} (here {found})" for name, _, version in pins if (found := _other(name, version))]


def _other(name: str, version: str) -> str | None:
    try:
        found = metadata.version(name) if name and version else version
    except metadata.PackageNotFoundError:  # such as those of extras
        return None
    return found if found.partition("+")[0] != version.partition("+")[0] else None
