"""Brings back the outputs that dvc.lock names.

DVC removes the outputs of a stage before it runs it. When the stage then fails, `dvc checkout` brings back the cached
ones only, and with --force it deletes what it cannot replace; the metrics and pictures that git holds (`cache: false`)
lie in DVC's cache too, for its run-cache. So all are copied from there, each only if it is there whole. What a stage
wrote before it failed is replaced: it belongs to no complete run.
"""

from argparse import Namespace
from pathlib import Path

from segline.core import atomic, git, params
from segline.core.errors import DataError
from segline.monitoring import console
from segline.reproducibility import dvc_lock


def restore(root: Path) -> list[Path]:
    """Every output is again as dvc.lock has it; returns those that were not.

    Raises DataError naming those whose bytes are lost: they are left as they are, the others are restored all the same.
    """
    locked = dvc_lock.stages(root)
    outputs = dvc_lock.outputs(locked)
    store = dvc_lock.Store(root, locked)
    changed = [path for path, md5 in outputs.items() if not _is_there(root / path, md5)]
    lost = [path for path in changed if not _restored(root, store, path, outputs[path])]
    if lost:
        shared = "`dvc pull` to fetch them, or " if dvc_lock.dvc(root, "remote", "list").stdout else ""
        remedy = f"Run {shared}`make repro` to make them anew from params.yaml, which is left as it is."
        raise DataError(root / dvc_lock.FILE, f"not in the cache: {', '.join(lost)}", remedy)
    return [Path(path) for path in changed]


def doubts(root: Path) -> list[str]:
    """What does not belong together in dvc.lock, in at most one sentence: results of a stage that has not run since
    what it reads was made anew, such as scores of an earlier model."""
    locked = dvc_lock.stages(root)
    store = dvc_lock.Store(root, locked)
    results: dict[str, None] = {}  # sets that keep their order
    causes: dict[str, None] = {}
    for stage in locked.values():
        made_anew = [path for path, md5 in stage.inputs.items() if store.md5(path) not in {None, md5}]
        if made_anew:
            results |= dict.fromkeys(stage.outputs)
            causes |= dict.fromkeys(made_anew)
    if not causes:
        return []
    return [f"{', '.join(results)}: made from an earlier {', '.join(causes)}; run `make repro`"]


def _is_there(path: Path, md5: str) -> bool:
    return path.exists() and dvc_lock.md5(path) == md5


def _restored(root: Path, store: dvc_lock.Store, path: str, md5: str) -> bool:
    """Puts the cached or committed bytes at `path`. False, and nothing is touched, if neither has that md5."""
    whole = atomic.folder if md5.endswith(dvc_lock.FOLDER) else atomic.file
    if store.has(path):
        with whole(root / path) as temporary:
            store.copy(path, temporary)
        return True
    content = git.answer(root, "show", f"HEAD:./{path}")  # a fresh clone has metrics, but no cache yet
    if content is None or dvc_lock.md5_of(content) != md5:
        return False
    with atomic.file(root / path) as temporary:
        temporary.write_bytes(content)
    return True


def command(_: Namespace) -> None:
    """`segline restore`."""
    params.require_top_folder(dvc_lock.FILE)
    for path in restore(Path.cwd()):
        console.say(f"restored {path}")
    for doubt in doubts(Path.cwd()):
        console.warn(doubt)
