"""Outputs appear whole or not at all: written under a temporary name beside the target, then renamed.

The temporary name is fixed (`.<name>.partial`), so the next run removes what a killed run left behind, and one
pattern makes git ignore it. DVC's lock prevents two runs of a stage from using it at once.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    return partial


def remove(path: Path) -> None:
    """Removes the file, link or folder at `path`, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def file(path: Path) -> Iterator[Path]:
    """Yields the name to write to; it becomes `path` when the block succeeds and is removed when it raises."""
    partial = _partial(path)
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
    except BaseException:
        remove(partial)
        raise


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yields a new empty folder; it replaces `path` when the block succeeds and is removed when it raises."""
    partial = _partial(path)
    partial.mkdir()
    try:
        yield partial
        remove(path)
        partial.rename(path)
    except BaseException:
        remove(partial)
        raise
