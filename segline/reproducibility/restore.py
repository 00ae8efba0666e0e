"""Brings back the outputs that dvc.lock records.

DVC removes the outputs of a stage before running it. If the stage then fails, `dvc checkout` brings back only cached
outputs, and with --force deletes what it cannot replace. But the metrics and pictures that are in git (`cache: false`)
are also in DVC's cache, for its run-cache. So everything is copied from there, each output only if it is complete.
What a stage wrote before it failed is replaced, since it belongs to no complete run.
"""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from segline.core import atomic, git, params
from segline.core.errors import DataError
from segline.monitoring import console
from segline.reproducibility import cache_objects, dvc_lock, dvc_state


def restore(root: Path) -> list[Path]:
    """Restores every output that differs from dvc.lock, and returns those.

    Raises DataError naming outputs whose bytes are lost: these are left alone, while all others are restored.
    """
    locked = dvc_lock.stages(root)
    outputs = dvc_lock.outputs(locked)
    store = dvc_lock.Store(root, locked)
    changed = [path for path, md5 in outputs.items() if not _is_there(root / path, md5)]
    lost = [path for path in changed if not _restored(root, store, path, outputs[path])]
    if lost:
        shared = "`dvc pull` to fetch them, or " if dvc_lock.dvc(root, "remote", "list").stdout else ""
        remedy = f"Run {shared}`make repro` to rebuild them from params.yaml, which is left as it is."
        raise DataError(root / dvc_lock.FILE, f"not in the cache: {', '.join(lost)}", remedy)
    return [Path(path) for path in changed]


def heal_cache(root: Path) -> Iterator[str]:
    """Replaces damaged objects in DVC's cache, and the outputs that DVC made from them; yields a line for each object.

    Then raises DataError naming the outputs without a good copy. Those that have the damaged bytes are removed: DVC
    takes them for good, and would neither run their stage nor see that they differ.
    """
    locked = dvc_lock.stages(root)
    outputs = dvc_lock.outputs(locked)
    store = dvc_lock.Store(root, locked)
    removed = cache_objects.heal(root, store, outputs)
    lost = list(dict.fromkeys(each.output for each in removed if not each.source))
    for path in dict.fromkeys(each.output for each in removed if _is_there(root / each.path, each.actual)):
        if not _is_there(root / path, outputs[path]):
            if path in lost:
                atomic.remove(root / path)
            else:
                _restored(root, store, path, outputs[path])
    yield from map(str, removed)
    if lost:
        stages = [name for name, stage in locked.items() if not stage.outputs.keys().isdisjoint(lost)]
        problem = f"damaged in DVC's cache and removed, without a good copy: {', '.join(lost)}"
        raise DataError(root / dvc_lock.FILE, problem, f"Run `make repro`: it runs {' and '.join(stages)} again.")


def doubts(root: Path) -> list[str]:
    """At most one sentence, on outputs made from earlier versions of their inputs, such as scores of an old model."""
    locked = dvc_lock.stages(root)
    store = dvc_lock.Store(root, locked)
    results: dict[str, None] = {}  # ordered sets
    causes: dict[str, None] = {}
    for stage in locked.values():
        rebuilt = [path for path, md5 in stage.inputs.items() if store.md5(path) not in {None, md5}]
        if rebuilt:
            results |= dict.fromkeys(stage.outputs)
            causes |= dict.fromkeys(rebuilt)
    if not causes:
        return []
    return [f"{', '.join(results)}: made from an earlier {', '.join(causes)}; run `make repro`"]


def _is_there(path: Path, md5: str) -> bool:
    return path.exists() and dvc_lock.md5(path) == md5


def _restored(root: Path, store: dvc_lock.Store, path: str, md5: str) -> bool:
    """Restores `path` from the cached or committed bytes. False, and nothing is touched, if neither has that md5."""
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
    root = Path.cwd()
    for line in dvc_state.heal(root):
        console.say(line)
    try:
        for line in heal_cache(root):
            console.say(line)
    except DataError as error:
        console.warn(str(error))
    restored = list(restore(root))
    for path in restored:
        console.say(f"restored {path}")
    if not restored:
        console.say("every output is there: nothing to restore")
    for doubt in doubts(root):
        console.warn(doubt)
