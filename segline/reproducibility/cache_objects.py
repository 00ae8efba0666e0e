"""Objects in DVC's cache whose bytes are no longer those of their name.

DVC trusts an object that is read-only (3.67) and links it into the project. So a damaged one is removed, after which
DVC itself fetches it or runs the stage again, and a good copy takes its place if there is one.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segline.core import atomic, git
from segline.reproducibility import dvc_lock

READ_ONLY = 0o444


@dataclass(frozen=True)
class Removed:
    """A damaged object of an output, the file in that output (or itself), and where good bytes came from, if any.

    `actual` is the md5 of the damaged bytes: a file of the project that has it was made from them.
    """

    output: str
    path: str
    source: str | None
    actual: str

    def __str__(self) -> str:
        result = f"replaced by the one from {self.source}" if self.source else "no good copy found"
        return f"{self.path}: damaged in DVC's cache; removed, {result}"


def heal(root: Path, store: dvc_lock.Store, outputs: dict[str, str]) -> list[Removed]:
    """Removes every damaged object of these outputs and replaces it by good bytes.

    They come from the project's folder, from the last commit, or from a remote.
    """
    damaged = list(_damaged(store, outputs))
    actual = {md5: dvc_lock.md5(store.cached(md5)) for _, _, md5 in damaged}
    sources: dict[str, str] = {}
    for _, path, md5 in damaged:
        if md5 in sources:  # another file with the same bytes
            continue
        content = _in_folder(root / path, md5) or _in_git(root, path, md5)
        store.cached(md5).unlink(missing_ok=True)
        if content:
            sources[md5], data = content
            with atomic.file(store.cached(md5)) as temporary:
                temporary.write_bytes(data)
                temporary.chmod(READ_ONLY)
    if missing := [(output, md5) for output, _, md5 in damaged if md5 not in sources]:
        fetched = _fetched(root, store, missing)
        sources |= dict.fromkeys(fetched, "the remote")
    return [Removed(output, path, sources.get(md5), actual[md5]) for output, path, md5 in damaged]


def _damaged(store: dvc_lock.Store, outputs: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for output in outputs:
        for path, md5 in store.objects(output).items():
            if not _is_good(store, md5):
                yield output, path, md5


def _is_good(store: dvc_lock.Store, md5: str) -> bool:
    """True also for an object that the cache lacks."""
    with suppress(FileNotFoundError):
        return dvc_lock.md5(store.cached(md5)) == md5.removesuffix(dvc_lock.FOLDER)
    return True


def _in_folder(path: Path, md5: str) -> tuple[str, bytes] | None:
    if not path.exists() or dvc_lock.md5(path) != md5:
        return None
    return "this folder", dvc_lock.folder_list(dvc_lock.contents(path)) if path.is_dir() else path.read_bytes()


def _in_git(root: Path, path: str, md5: str) -> tuple[str, bytes] | None:
    content = git.answer(root, "show", f"HEAD:./{path}")
    return ("git", content) if content is not None and dvc_lock.md5_of(content) == md5 else None


def _fetched(root: Path, store: dvc_lock.Store, missing: list[tuple[str, str]]) -> list[str]:
    """Those of the missing objects that a remote has, unless they are damaged there too."""
    if dvc_lock.dvc(root, "remote", "list").stdout:
        dvc_lock.dvc(root, "fetch", *dict.fromkeys(output for output, _ in missing))
    there = [md5 for _, md5 in missing if store.cached(md5).exists()]
    for md5 in [md5 for md5 in there if not _is_good(store, md5)]:
        store.cached(md5).unlink()
        there.remove(md5)
    return there
