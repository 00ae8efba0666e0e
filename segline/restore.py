"""Brings back the outputs that dvc.lock names.

DVC removes the outputs of a stage before it runs it. When the stage then fails, `dvc checkout` brings back the cached
ones only; the metrics and pictures that git holds (`cache: false`) lie in DVC's cache too, for its run-cache, and are
copied from there.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from segline import atomic
from segline.errors import DataError

LOCK = "dvc.lock"


def restore(root: Path) -> list[Path]:
    """Restores every missing file output of dvc.lock, then runs `dvc checkout`; returns the files it copied.

    Raises DataError naming what cannot be restored.
    """
    restored = [path for path, md5 in _file_outputs(root) if not (root / path).exists() and _copy(root, path, md5)]
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "--quiet"], cwd=root, check=False)
    if missing := [str(path) for path, _ in _file_outputs(root) if not (root / path).exists()]:
        raise DataError(root / LOCK, f"not in the cache: {', '.join(missing)}", "Run `dvc repro` to make them anew.")
    return restored


def _file_outputs(root: Path) -> list[tuple[Path, str]]:
    try:
        lock: Any = yaml.safe_load((root / LOCK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(root / LOCK, "missing: nothing was ever produced here", "Run `make repro`.") from None
    outputs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    return [(Path(out["path"]), out["md5"]) for out in outputs if not out["md5"].endswith(".dir")]


def _copy(root: Path, path: Path, md5: str) -> bool:
    cached = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    if not cached.is_file():
        return False
    content = cached.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return False  # a rotten cache object: better missing than wrong
    with atomic.file(root / path) as temporary:
        temporary.write_bytes(content)
    return True
