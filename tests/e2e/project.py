"""A copy of this repository that DVC runs in, in a folder and an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e import reruns

VALUES = {"preprocess.merge"}  # sections whose keys are the user's
SECONDS = 600  # for one command, on a machine that has other things to do
# Results that this repository may have committed: those of other parameters than the tests'.
COMMITTED_RESULTS = ("dvc.lock", "metrics/", "data/", "models/")
# The smallest run there is, laid over the committed params.yaml.
TINY = {
    **reruns.CHOSEN,
    "data.synthetic": {"seed": 1, "height": 96, "width": 128, "train": 4, "val": 2, "test": 2},
    "preprocess": {"height": 16, "width": 16},
    "model.unet": {"width": 2, "depth": 1, "norm": "none", "dropout": 0.0},
    "train": {"epochs": 2, "batch_size": 2, "learning_rate": 0.003, "precision": "float32", "schedule": "constant"},
    "evaluate": {"batch_size": 2, "resamples": 100},
    "plot": {"images": 1},
}


@dataclass(frozen=True)
class Project:
    """`root` is the checkout; `environment` is all that its commands get to see."""

    root: Path
    environment: Mapping[str, str]

    def run(self, *command: str, fails: bool = False, **environment: str) -> str:
        """What the command says on standard output and error; it must succeed, or fail with `fails`."""
        done = self._execute(command, environment, subprocess.STDOUT)
        assert (done.returncode != 0) is fails, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def dvc(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """What `dvc ARGUMENTS` says."""
        return self.run("python", "-m", "dvc", *arguments, fails=fails, **environment)

    def dvc_json(self, *arguments: str) -> Any:
        """The document that `dvc ARGUMENTS` prints; nothing may be warned of."""
        done = self._execute(("python", "-m", "dvc", *arguments), {}, subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, ""), f"dvc {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def git(self, *arguments: str) -> str:
        """What `git ARGUMENTS` says."""
        return self.run("git", *arguments)

    def _execute(
        self, command: Sequence[str], environment: Mapping[str, str], errors: int
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )

    def commit(self, message: str) -> None:
        """Everything that git does not ignore, committed."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def changed(self) -> set[str]:
        """The stages that `dvc status` calls changed."""
        return set(self.dvc_json("status", "--json"))

    def parameters(self) -> dict[str, Any]:
        """params.yaml as it is."""
        document: dict[str, Any] = yaml.safe_load(self.read("params.yaml"))
        return document

    def write_parameters(self, document: Mapping[str, Any]) -> None:
        """Writes params.yaml anew, without comments."""
        self.write("params.yaml", yaml.safe_dump(dict(document), sort_keys=False))

    def set(self, **values: Any) -> None:
        """Sets parameters; `train__epochs=1` is train.epochs."""
        self.write_parameters(overlaid(self.parameters(), {key.replace("__", "."): v for key, v in values.items()}))

    def read(self, path: str) -> str:
        """The text of a file."""
        return (self.root / path).read_text(encoding="utf-8")

    def write(self, path: str, text: str) -> None:
        """Replaces the text of a file."""
        (self.root / path).write_text(text, encoding="utf-8")

    def append(self, path: str, text: str) -> None:
        """Adds to the end of a file."""
        self.write(path, self.read(path) + text)

    def locked(self) -> dict[str, str]:
        """Output of every stage -> its md5, as dvc.lock has it."""
        stages = yaml.safe_load(self.read("dvc.lock"))["stages"].values()
        return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}

    def copy(self, root: Path) -> "Project":
        """This project with its history, its data and its cache, elsewhere."""
        shutil.copytree(self.root, root, symlinks=True)
        return Project(root, self.environment)

    def clone(self, root: Path) -> "Project":
        """A git clone: what is committed, and nothing else."""
        self.git("clone", "--quiet", ".", str(root))
        return Project(root, self.environment)


def create(root: Path, home: Path) -> Project:
    """A committed checkout of the working tree, with tiny parameters, in which nothing has been run."""
    home.mkdir()
    project = Project(root, environment(home))
    for name in working_files():
        if not name.startswith(COMMITTED_RESULTS) or name.endswith(".gitignore"):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(reruns.ROOT / name, target)
    project.write_parameters(tiny_parameters())
    project.git("init", "--quiet", "--initial-branch", "main")
    project.commit("Start")
    return project


def environment(home: Path) -> dict[str, str]:
    """The environment of a user who has the project's Python first on PATH, and nothing else set."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "DVC_SITE_CACHE_DIR": str(home / "dvc"),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "e2e@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "SEGLINE_TRACKING": "off",
        "SEGLINE_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
    }


def tiny_parameters() -> dict[str, Any]:
    """The committed parameters made tiny, with a section for each source and network that a preset uses."""
    document: dict[str, Any] = yaml.safe_load((reruns.ROOT / "params.yaml").read_text(encoding="utf-8"))
    for preset in sorted((reruns.ROOT / "presets").glob("*.yaml")):
        other = yaml.safe_load(preset.read_text(encoding="utf-8"))
        for key in ("data", "model"):
            document[key] = {**other[key], **document[key]}
    return overlaid(document, TINY)


def overlaid(document: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the values at these dotted keys; sections are merged, all else is replaced."""
    result = dict(document)
    for key, value in values.items():
        first, _, rest = key.partition(".")
        inner = {rest: value} if rest else value
        result[first] = overlaid(result.get(first, {}), inner) if isinstance(inner, Mapping) else inner
    return result


def leaves(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of nested sections by its dotted key; lists, empty sections and those in VALUES are values."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        nested = isinstance(value, Mapping) and value and f"{prefix}{key}" not in VALUES
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def working_files() -> list[str]:
    """Every file of this repository that is committed or could be, sorted."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=reruns.ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted({name for name in listed if name and (reruns.ROOT / name).is_file()})


def stages_run(output: str) -> list[str]:
    """The stages whose command `dvc repro` ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def stages_from_cache(output: str) -> list[str]:
    """The stages that `dvc repro` took from its run-cache, in order."""
    return [line.split("'")[1] for line in output.splitlines() if "is cached - skipping run" in line]
