"""What a killed DVC leaves behind, and then fails on or shows to git: repaired while no DVC runs in the project.

DVC writes dvc.lock and .dvc/tmp/rwlock in place (3.67), so a kill or a full disk cuts them short, and it takes an entry
of the latter for alive if any program has its process id. Files that it copies have names such as `.x8Jd...w.tmp`.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from segline.core import atomic, git, pipeline
from segline.core.errors import DataError
from segline.reproducibility import dvc_lock

PRIVATE = Path(".dvc/tmp")
RWLOCK = PRIVATE / "rwlock"
GUARDS = ("lock", "rwlock.lock")  # in PRIVATE: DVC holds the first while it works, the second while it edits RWLOCK
DAMAGED = PRIVATE / "dvc.lock.damaged"
_LEFTOVER = re.compile(r"\.[\w-]{22}\.tmp")

Entry = dict[str, Any]  # {"pid": number, "cmd": sys.argv}


def heal(root: Path) -> list[str]:
    """Repairs what is damaged; one line for each repair, or one that says why nothing was done."""
    if not (root / ".dvc").is_dir() or not any(_damage(root)):
        return []
    with _locked(root) as is_locked:
        if not is_locked or (running := processes(root)):
            who = f" (process {running[0]})" if is_locked else ""
            return [f"DVC is running in this folder{who}: what an earlier run left behind stays"]
        return [
            *(line for name in _leftovers(root) for line in _removed(root, name)),
            *_healed_rwlock(root),
            *_healed_lock(root),
        ]


def _damage(root: Path) -> Iterator[bool]:
    yield _is_cut(root)
    yield _kept(root / RWLOCK) != _document(root / RWLOCK)
    yield bool(_leftovers(root))


@contextmanager
def _locked(root: Path) -> Iterator[bool]:
    """Holds DVC's own locks; False if another process does. As slow as an import of DVC, so only after damage."""
    from dvc.lock import LockError, make_lock  # noqa: PLC0415

    folder = root / PRIVATE
    folder.mkdir(exist_ok=True)
    links = dvc_lock.dvc(root, "config", "core.hardlink_lock").stdout.strip().lower() == "true"
    with ExitStack() as held:
        try:
            for name in GUARDS:
                held.enter_context(make_lock(str(folder / name), tmp_dir=str(folder), hardlink_lock=links))
        except LockError:
            is_locked = False
        else:
            is_locked = True
        yield is_locked


def processes(root: Path) -> list[int]:
    """The DVC processes that work in this project: while a stage runs, DVC holds neither lock."""
    return [each.pid for each in _processes(root) if _is_dvc(each.info["cmdline"] or [])]


def _processes(root: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cwd", "cmdline"]) if _is_in(root, each.info["cwd"])]


def _is_dvc(command: list[str]) -> bool:
    return any(Path(word).name == "dvc" for word in command) and "queue-worker" not in command


def _writes(process: psutil.Process) -> bool:
    """Whether it is a stage or another `segline` command, which may be restoring outputs."""
    command = process.info["cmdline"] or []
    is_command = any(Path(word).name == "segline" for word in command) and process.pid != os.getpid()
    return is_command or any(word.startswith("stages.") for word in command)


def _is_in(root: Path, folder: str | None) -> bool:
    here = root.resolve()
    return folder is not None and Path(folder).is_relative_to(here) and not Path(folder).is_relative_to(here / ".dvc")


def _removed(root: Path, name: Path) -> Iterator[str]:
    atomic.remove(root / name)
    yield f"{name}: left behind by a run that was killed; removed"


def _leftovers(root: Path) -> list[Path]:
    """Half-copied files beside the outputs, and outputs that no stage is still writing, relative to `root`."""
    outputs = pipeline.outputs()
    copies = [
        path.relative_to(root)
        for folder in sorted({path.parent for path in outputs})
        for path in sorted((root / folder).glob(".*.tmp"))
        if _LEFTOVER.fullmatch(path.name)
    ]
    partial = [name for name in map(atomic.temporary_name, _written(outputs)) if (root / name).exists()]
    if partial and any(map(_writes, _processes(root))):
        partial = []  # its DVC was killed: it is about to end, and removes them itself
    return copies + partial


def _written(outputs: list[Path]) -> list[Path]:
    """What stages write at once: each output, or the folder of several."""
    return sorted({*outputs, *(path.parent for path in outputs)})


def _document(path: Path) -> dict[str, Any] | None:
    """The entries of rwlock, none if there is no such file; None if DVC could not read it."""
    try:
        document = json.loads(path.read_bytes())
        shape = {"write": document.pop("write", {}), "read": document.pop("read", {})}
        entries = [*shape["write"].values(), *(each for every in shape["read"].values() for each in every)]
        is_valid = all(isinstance(each["pid"], int) and isinstance(each["cmd"], str) for each in entries)
    except FileNotFoundError:
        return {"write": {}, "read": {}}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return shape if is_valid and not document else None


def _kept(path: Path) -> dict[str, Any]:
    """The entries whose process still runs."""
    document = _document(path) or {"write": {}, "read": {}}
    if not any(document.values()):
        return document
    written = path.stat().st_mtime
    read = {name: [each for each in every if _is_alive(each, written)] for name, every in document["read"].items()}
    return {
        "write": {name: each for name, each in document["write"].items() if _is_alive(each, written)},
        "read": {name: every for name, every in read.items() if every},
    }


def _is_alive(entry: Entry, written: float) -> bool:
    """Whether its process is still the one that made the entry: it was there by then, and has the same arguments."""
    try:
        process = psutil.Process(entry["pid"])
        command = " ".join(process.cmdline())
        started = process.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # that of another user
        return True
    _, _, arguments = entry["cmd"].partition(" ")
    return started <= written + 1 and command.endswith(arguments)


def _healed_rwlock(root: Path) -> Iterator[str]:
    path = root / RWLOCK
    document, kept = _document(path), _kept(path)
    if document is None:
        path.unlink()
        yield f"{RWLOCK}: cut short when DVC was killed; removed"
    elif kept != document:
        with atomic.file(path) as temporary:
            temporary.write_text(json.dumps(kept), encoding="utf-8")
        yield f"{RWLOCK}: held by a DVC that has ended; released"


def _is_cut(root: Path) -> bool:
    """Whether dvc.lock is neither readable nor in conflict, which is for its user to settle."""
    try:
        content = (root / dvc_lock.FILE).read_bytes()
        dvc_lock.parse(content, dvc_lock.FILE)
    except FileNotFoundError:
        return False
    except DataError:
        return not dvc_lock.CONFLICT.search(content.decode("utf-8", errors="replace"))
    return False


def _healed_lock(root: Path) -> Iterator[str]:
    """Puts the committed dvc.lock in place of a damaged one, or moves that away: DVC's run-cache has what it named.

    The damaged one is kept, under a name of its own content.
    """
    if not _is_cut(root):
        return
    kept = DAMAGED.with_name(f"{DAMAGED.name}-{dvc_lock.md5(root / dvc_lock.FILE)[:8]}")
    (root / dvc_lock.FILE).replace(root / kept)
    committed = git.answer(root, "show", f"HEAD:./{dvc_lock.FILE}")
    line = f"{dvc_lock.FILE}: cut short when DVC was killed; "
    if committed is None:
        yield f"{line}moved to {kept}, and git has none: `make repro` takes the results from DVC's run-cache"
        return
    with atomic.file(root / dvc_lock.FILE) as temporary:
        temporary.write_bytes(committed)
    yield f"{line}moved to {kept}, and the committed one restored"
