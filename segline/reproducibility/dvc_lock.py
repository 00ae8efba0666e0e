"""dvc.lock, and the bytes that it names by md5, found in DVC's cache or in the project. Everything is only read."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from segline.core import yaml_files
from segline.core.errors import DataError

FILE = Path("dvc.lock")
FOLDER = ".dir"  # suffix of the md5 of a folder
REMOTE = {"etag", "checksum"}  # instead of an md5, for what is not a local file
SHORTEST = 3  # characters of a checksum that DVC takes
CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)


@dataclass(frozen=True)
class Stage:
    """A stage as it last ran: its command with parameters filled in, and the md5 of what it read and wrote, by path.

    `parameters` are those that it depends on, by file and section.
    """

    name: str
    command: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)


def stages(root: Path) -> dict[str, Stage]:
    """The stages of dvc.lock by name, in its order. Raises DataError if it is missing, broken or in conflict."""
    try:
        return parse((root / FILE).read_bytes(), root / FILE)
    except FileNotFoundError:
        raise DataError(root / FILE, "missing: nothing has been produced here yet", "Run `make repro`.") from None


def parse(content: bytes, where: object) -> dict[str, Stage]:
    """The stages in the bytes of a dvc.lock, by name. Raises DataError if they are broken or in conflict."""
    try:
        text = content.decode("utf-8")
        if CONFLICT.search(text):
            remedy = "Take one side (git checkout --ours dvc.lock, or --theirs), then run again."
            raise DataError(where, "contains an unresolved merge conflict", remedy)
        return {name: _stage(name, entry) for name, entry in yaml_files.read(text)["stages"].items()}
    except (yaml_files.NotYamlError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        remedy = "Take the committed one: git checkout HEAD dvc.lock"
        raise DataError(where, "not a DVC lock file", remedy) from None


def _stage(name: str, entry: Mapping[str, Any]) -> Stage:
    inputs, outputs = (_hashes(entry.get(key, [])) for key in ("deps", "outs"))
    command, parameters = entry["cmd"], entry.get("params", {})
    if isinstance(command, list):  # DVC runs several commands one after another, as a shell does lines
        command = "\n".join(command)
    if not isinstance(command, str) or not all(isinstance(values, dict) for values in parameters.values()):
        raise TypeError
    return Stage(name, command, inputs, outputs, parameters)


def _hashes(entries: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not all(isinstance(entry, dict) for entry in entries):
        raise TypeError
    entries = [entry for entry in entries if not entry.keys() & REMOTE]
    if any(None in entry.values() or len(str(entry["md5"])) < SHORTEST for entry in entries):
        raise TypeError
    return {entry["path"]: entry["md5"] for entry in entries}


def outputs(locked: Mapping[str, Stage]) -> dict[str, str]:
    """The md5 of everything that stages wrote, by path."""
    return {path: checksum for stage in locked.values() for path, checksum in stage.outputs.items()}


def recipe(locked: Mapping[str, Stage], names: Sequence[str] = ("train",)) -> str | None:
    """A hash of everything that determines a training except its seed; None if dvc.lock has no such stage.

    The first 16 hex digits of a SHA-256 over the md5 of what train read, and its parameters without `train.seed`. Other
    stages are hashed with it, if named, without what one of them reads from another, and what a hashed folder contains.
    """
    if not set(names) <= locked.keys():
        return None
    made = {path for name in names for path in locked[name].outputs}
    folders = made.union(*(locked[name].inputs for name in names))
    content: list[Any] = []
    for stage in (locked[name] for name in names):
        inputs = {
            path: checksum
            for path, checksum in stage.inputs.items()
            if path not in made and not folders & set(map(str, PurePosixPath(path).parents))
        }
        content += [inputs, {file: without_seed(values) for file, values in stage.parameters.items()}]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def without_seed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by section, as in dvc.lock, without `train.seed`."""
    section = {key: value for key, value in values.get("train", {}).items() if key != "seed"}
    return {**values, "train": section}


def md5(path: Path) -> str:
    """The hash that DVC gives a file or a folder. That of a folder hashes its list of files and ends in `.dir`."""
    if path.is_dir():
        return _md5_of_folder(contents(path))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, _md5).hexdigest()


def folder_list(files: Mapping[str, str]) -> bytes:
    """What DVC's cache has for a folder with these files, by md5."""
    listed = [{"md5": checksum, "relpath": name} for name, checksum in sorted(files.items())]
    return json.dumps(listed, sort_keys=True).encode()


def _md5_of_folder(files: Mapping[str, str]) -> str:
    return md5_of(folder_list(files)) + FOLDER


def contents(folder: Path) -> dict[str, str]:
    """The md5 of every file in a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): md5(path) for path in folder.rglob("*") if path.is_file()}


def md5_of(content: bytes) -> str:
    """The md5 of bytes in memory."""
    return str(_md5(content).hexdigest())


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished `dvc ARGUMENTS`, whether it succeeded or not."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False)


class Store:
    """The outputs that dvc.lock names. Every byte taken from here has the recorded md5."""

    def __init__(self, root: Path, locked: Mapping[str, Stage]) -> None:
        self._root = root
        self._outputs = outputs(locked)
        self.folder = root / (dvc(root, "cache", "dir").stdout.strip() or ".dvc/cache") / "files" / "md5"

    def owner(self, path: str) -> str | None:
        """The output that is `path` or contains it; None for a path that no stage writes."""
        return next((output for output in self._outputs if Path(path).is_relative_to(output)), None)

    def md5(self, path: str) -> str | None:
        """The md5 of an output, or of a file or folder in one; None for other paths, and if a folder's list is lost."""
        if path in self._outputs:
            return self._outputs[path]
        files = self._files(path)
        if not files:
            return None
        return files.get(path) or _md5_of_folder(
            {Path(file).relative_to(path).as_posix(): checksum for file, checksum in files.items()}
        )

    def has(self, path: str) -> bool:
        """Whether all bytes are available, so that `copy` would succeed."""
        files = self._files(path)
        return files is not None and all(self._find(file, checksum) for file, checksum in files.items())

    def objects(self, output: str) -> dict[str, str]:
        """The md5 of each object that the cache should have for an output: its files, and the list of a folder."""
        checksum = self._outputs[output]
        return {**(self._files(output) or {}), output: checksum}

    def copy(self, path: str, target: Path) -> None:
        """Copies an output, or a file or folder in one, to `target`. Raises DataError if bytes are lost."""
        files = self._files(path)
        if files is None:
            raise _lost(path)
        for file, checksum in files.items():
            source = self._find(file, checksum)
            if source is None:
                raise _lost(file)
            destination = target / Path(file).relative_to(path)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)

    def _files(self, path: str) -> dict[str, str] | None:
        """The md5 of the file at `path`, or of the files below it, by path; None if a folder's list is lost."""
        output = self.owner(path)
        if output is None:
            return None
        checksum = self._outputs[output]
        if not checksum.endswith(FOLDER):
            return {output: checksum}
        listed = self._listed(output, checksum)
        if listed is None:
            return None
        files = {f"{output}/{name}": own for name, own in listed.items()}
        return {file: own for file, own in files.items() if Path(file).is_relative_to(path)}

    def _listed(self, output: str, checksum: str) -> dict[str, str] | None:
        cached = self.cached(checksum)
        if cached.is_file() and md5(cached) + FOLDER == checksum:
            return {entry["relpath"]: entry["md5"] for entry in json.loads(cached.read_bytes())}
        folder = self._root / output
        return contents(folder) if folder.is_dir() and md5(folder) == checksum else None

    def _find(self, path: str, checksum: str) -> Path | None:
        places = (self.cached(checksum), self._root / path)
        return next((place for place in places if place.is_file() and md5(place) == checksum), None)

    def cached(self, checksum: str) -> Path:
        """Where the cache has the object with this md5."""
        return self.folder / checksum[:2] / checksum[2:]


def _lost(path: str) -> DataError:
    return DataError(path, f"the bytes that {FILE} records are not here", "Run `dvc pull`.")
