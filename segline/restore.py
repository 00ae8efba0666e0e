"""Brings back the outputs that dvc.lock names.

DVC removes the outputs of a stage before it runs it. When the stage then fails, `dvc checkout` brings back the cached
ones only; the metrics and pictures that git holds (`cache: false`) lie in DVC's cache too, for its run-cache, and are
copied from there. What a stage wrote before it failed is replaced: it belongs to no complete run.
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
REMEDY = "Run `make repro` to make them anew."


def restore(root: Path) -> list[Path]:
    """Every output is again as dvc.lock has it; returns those that were not.

    Raises DataError naming what cannot be restored.
    """
    outputs = _outputs(root)
    lost = [path for path, md5 in outputs.items() if not _is_there(root / path, md5)]
    cache = _cache(root)
    for path in lost:
        _copy(cache, outputs[path], root / path)
    checkout = _dvc(root, "checkout", "--force")
    if missing := [str(path) for path in lost if not _is_there(root / path, outputs[path])]:
        raise DataError(root / LOCK, f"not in the cache: {', '.join(missing)}", REMEDY)
    if checkout.returncode:
        reason = checkout.stderr.strip() or "`dvc checkout` failed"
        raise DataError(root / LOCK, reason, REMEDY)
    return lost


def _outputs(root: Path) -> dict[Path, str]:
    """Path -> md5, which ends with .dir for a folder."""
    try:
        lock: Any = yaml.safe_load((root / LOCK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(root / LOCK, "missing: nothing was ever produced here", "Run `make repro`.") from None
    outputs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    return {Path(out["path"]): out["md5"] for out in outputs}


def _is_there(path: Path, md5: str) -> bool:
    """Of a folder only whether it exists: its files are for `dvc checkout` to compare."""
    if md5.endswith(".dir"):
        return path.is_dir()
    return path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5


def _cache(root: Path) -> Path:
    """DVC's cache, which may have been configured to lie elsewhere."""
    return root / (_dvc(root, "cache", "dir").stdout.strip() or ".dvc/cache") / "files" / "md5"


def _copy(cache: Path, md5: str, target: Path) -> None:
    """The cached file at `target`; nothing if the cache has none, or a rotten one: better missing than wrong."""
    cached = cache / md5[:2] / md5[2:]
    if not md5.endswith(".dir") and _is_there(cached, md5):
        with atomic.file(target) as temporary:
            temporary.write_bytes(cached.read_bytes())


def _dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False)
