"""Lets `dvc repro` use its run-cache where dvc.lock names outputs that are in no cache, as those of another machine.

DVC (3.67) looks for such outputs alone if a stage's inputs are those of dvc.lock, and runs the stage if it has none of
them, though its run-cache may have the same run as it was made here. So that run's outputs are written into dvc.lock,
as `dvc repro` does after the run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from segline.core import atomic, yaml_files
from segline.core.errors import DataError
from segline.reproducibility import dvc_lock

DEFAULT = Path(".dvc/cache/files/md5")
UNHASHED = ("size", "nfiles")


def prefer(root: Path) -> list[str]:
    """Writes the outputs of recorded runs into dvc.lock where those there are in no cache; returns a line for each."""
    try:
        locked = dvc_lock.stages(root)
    except DataError:
        return []
    if _are_there(root / DEFAULT, dvc_lock.outputs(locked).values()):
        return []
    cache = dvc_lock.Store(root, locked).folder
    file = root / dvc_lock.FILE
    text = file.read_text(encoding="utf-8")
    locked, entries = dvc_lock.parse(text.encode(), file), yaml_files.read(text)["stages"]
    lines = []
    for name, stage in locked.items():
        if not _are_there(cache, stage.outputs.values()) and (recorded := _recorded(cache, entries[name])):
            text = _with_outputs(text, name, recorded)
            lines.append(f"{name}: outputs in {dvc_lock.FILE} are in no cache; those of the same run here are used")
    if lines:
        with atomic.file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return lines


def _are_there(folder: Path, checksums: Iterable[str]) -> bool:
    """Whether the cache has objects of these names, and of those that folders list."""
    return all(_is_there(folder, md5) for md5 in checksums)


def _is_there(folder: Path, md5: str) -> bool:
    path = folder / md5[:2] / md5[2:]
    if not path.is_file():
        return False
    if not md5.endswith(dvc_lock.FOLDER):
        return True
    with suppress(ValueError, KeyError, TypeError):  # a damaged list
        return _are_there(folder, [entry["md5"] for entry in json.loads(path.read_bytes())])
    return False


def _recorded(cache: Path, entry: Mapping[str, Any]) -> list[str]:
    """The lines of the outputs of the newest run with the command, inputs and parameters of this entry of dvc.lock.

    Empty if there was none, or if the cache lacks an output.
    """
    key = _key(entry)
    runs = sorted((cache.parents[1] / "runs" / key[:2] / key).glob("*"), key=lambda path: path.stat().st_mtime)
    if not runs:
        return []
    try:
        text = runs[-1].read_text(encoding="utf-8")
        outputs = yaml_files.read(text)["outs"]
        is_complete = _are_there(cache, [output["md5"] for output in outputs])
    except (yaml_files.NotYamlError, UnicodeDecodeError, KeyError, TypeError):
        return []
    return _block(text.splitlines(keepends=True), "outs:", "") if is_complete else []


def _block(lines: Sequence[str], key: str, indent: str) -> list[str]:
    """The lines below a key, as DVC writes them: a list is as deep as its key."""
    start = lines.index(f"{indent}{key}\n") + 1
    inside = takewhile(lambda line: line.startswith((f"{indent}- ", f"{indent}  ")), lines[start:])
    return list(inside)


def _with_outputs(text: str, stage: str, outputs: Sequence[str]) -> str:
    """dvc.lock with other outputs of a stage, and every other line as DVC wrote it."""
    lines = text.splitlines(keepends=True)
    start = lines.index(f"  {stage}:\n")
    start = lines.index("    outs:\n", start) + 1
    end = start + len(_block(lines[start - 1 :], "outs:", "    "))
    return "".join([*lines[:start], *(f"    {line}" for line in outputs), *lines[end:]])


def _key(entry: Mapping[str, Any]) -> str:
    """The name that DVC gives a run (`_get_cache_hash` in dvc/stage/cache.py)."""
    content = {**entry, "outs": [output["path"] for output in entry.get("outs", [])]}
    return hashlib.sha256(json.dumps(_hashed(content), sort_keys=True).encode()).hexdigest()


def _hashed(content: Any) -> Any:
    if isinstance(content, list):
        return [_hashed(item) for item in content]
    if isinstance(content, dict):
        return {key: _hashed(value) for key, value in content.items() if key not in UNHASHED}
    return content
