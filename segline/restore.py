"""Brings back the outputs that dvc.lock names.

DVC removes the outputs of a stage before it runs it. When the stage then fails, `dvc checkout` brings back the cached
ones only; the metrics and pictures that git holds (`cache: false`) lie in DVC's cache too, for its run-cache, and are
copied from there. What a stage wrote before it failed is replaced: it belongs to no complete run.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from segline import atomic
from segline.errors import DataError

LOCK = "dvc.lock"
REMEDY = "Run `make repro` to make them anew."
CONFLICT = re.compile(r"^<{7} ", re.MULTILINE)


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
        shared = "`dvc pull` to fetch them, or " if _dvc(root, "remote", "list").stdout else ""
        remedy = f"Run {shared}`make repro` to make them anew from params.yaml, which is left as it is."
        raise DataError(root / LOCK, f"not in the cache: {', '.join(missing)}", remedy)
    if checkout.returncode:
        reason = checkout.stderr.strip() or "`dvc checkout` failed"
        raise DataError(root / LOCK, reason, REMEDY)
    return lost


def _outputs(root: Path) -> dict[Path, str]:
    """Path -> md5, which ends with .dir for a folder."""
    try:
        text = (root / LOCK).read_text(encoding="utf-8")
        if CONFLICT.search(text):
            remedy = "Take one side of it, git checkout --ours dvc.lock (or --theirs), then run again."
            raise DataError(root / LOCK, "holds an unsettled merge conflict", remedy)
        lock: Any = yaml.safe_load(text)
        outputs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        return {Path(out["path"]): out["md5"] for out in outputs}
    except FileNotFoundError:
        raise DataError(root / LOCK, "missing: nothing was ever produced here", "Run `make repro`.") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        remedy = "Take the committed one: git checkout HEAD dvc.lock"
        raise DataError(root / LOCK, "not a lock file of DVC", remedy) from None


def _is_there(path: Path, md5: str) -> bool:
    """Of a folder only whether it exists: its files are for `dvc checkout` to compare."""
    if md5.endswith(".dir"):
        return path.is_dir()
    return path.is_file() and _has(path.read_bytes(), md5)


def _cache(root: Path) -> Path:
    """DVC's cache, which may have been configured to lie elsewhere."""
    return root / (_dvc(root, "cache", "dir").stdout.strip() or ".dvc/cache") / "files" / "md5"


def _copy(cache: Path, md5: str, target: Path) -> None:
    """Puts the cached or committed file at `target`; nothing if neither has that md5: better missing than wrong."""
    if md5.endswith(".dir"):
        return
    cached = cache / md5[:2] / md5[2:]
    content = cached.read_bytes() if cached.is_file() else b""
    if not _has(content, md5):
        content = _committed(target)
    if _has(content, md5):
        with atomic.file(target) as temporary:
            temporary.write_bytes(content)


def _committed(target: Path) -> bytes:
    """What git holds of a file, nothing where it holds none: a fresh clone has metrics, but no cache yet."""
    command = ["git", "show", f"HEAD:./{target.name}"]
    if not target.parent.is_dir():
        return b""
    return subprocess.run(command, cwd=target.parent, capture_output=True, check=False).stdout


def _has(content: bytes, md5: str) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def _dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=False)
