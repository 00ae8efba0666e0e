"""Brings back the outputs that dvc.lock names.

DVC removes the outputs of a stage before it runs it. When the stage then fails, `dvc checkout` brings back the cached
ones only; the metrics and pictures that git holds (`cache: false`) lie in DVC's cache too, for its run-cache, and are
copied from there. What a stage wrote before it failed is replaced: it belongs to no complete run.
"""

import subprocess
from pathlib import Path

from segline import atomic, lock
from segline.errors import DataError

REMEDY = "Run `make repro` to make them anew."


def restore(root: Path) -> list[Path]:
    """Every output is again as dvc.lock has it; returns those that were not.

    Raises DataError naming what cannot be restored.
    """
    locked = lock.stages(root)
    outputs = lock.outputs(locked)
    lost = [path for path, md5 in outputs.items() if not _is_there(root / path, md5)]
    store = lock.Store(root, locked)
    for path in lost:
        if not outputs[path].endswith(lock.FOLDER):
            _copy(store, path, outputs[path], root / path)
    checkout = lock.dvc(root, "checkout", "--force")
    if missing := [path for path in lost if not _is_there(root / path, outputs[path])]:
        shared = "`dvc pull` to fetch them, or " if lock.dvc(root, "remote", "list").stdout else ""
        remedy = f"Run {shared}`make repro` to make them anew from params.yaml, which is left as it is."
        raise DataError(root / lock.FILE, f"not in the cache: {', '.join(missing)}", remedy)
    if checkout.returncode:
        reason = checkout.stderr.strip() or "`dvc checkout` failed"
        raise DataError(root / lock.FILE, reason, REMEDY)
    return [Path(path) for path in lost]


def _is_there(path: Path, md5: str) -> bool:
    """Of a folder only whether it exists: its files are for `dvc checkout` to compare."""
    if md5.endswith(lock.FOLDER):
        return path.is_dir()
    return path.is_file() and lock.md5(path) == md5


def _copy(store: lock.Store, path: str, md5: str, target: Path) -> None:
    """Puts the cached or committed file at `target`; nothing if neither has that md5: better missing than wrong."""
    if store.has(path):
        with atomic.file(target) as temporary:
            store.copy(path, temporary)
    elif lock.md5_of(content := _committed(target)) == md5:
        with atomic.file(target) as temporary:
            temporary.write_bytes(content)


def _committed(target: Path) -> bytes:
    """What git holds of a file, nothing where it holds none: a fresh clone has metrics, but no cache yet."""
    command = ["git", "show", f"HEAD:./{target.name}"]
    if not target.parent.is_dir():
        return b""
    return subprocess.run(command, cwd=target.parent, capture_output=True, check=False).stdout
