"""Outputs appear whole or not at all: written under a temporary name beside the target, then renamed.

The temporary name is fixed (`.<name>.partial`, or `.<hash>.partial` for a long name), so the next run removes what a
killed run left behind, and one pattern makes git ignore it. Two runs that write the same target at once would use the
same name: stages hold a lock against that (`segline.monitoring.process`).
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)  # of the disk, or of what a user may store on it
_UNNAMED = (*FULL, errno.EIO, errno.EFBIG)  # a failing write names no file
_LONG = 40  # bytes of a name; a hash takes fewer, so a file system that allows the target allows the temporary name


def temporary_name(path: Path) -> Path:
    """The name that `path` has until it is complete."""
    name = os.fsencode(path.name)
    return path.with_name(f".{path.name if len(name) <= _LONG else hashlib.sha256(name).hexdigest()[:32]}.partial")


def _partial(path: Path) -> Path:
    partial = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
    except OSError as error:
        _name(error, path, partial)
        raise
    return partial


def _name(error: OSError, path: Path, partial: Path) -> None:
    """Makes an error of the disk name the output that was to be written, never its temporary name."""
    if error.filename is None and error.errno in _UNNAMED:
        error.filename = str(path)
        if partial.is_file():
            error.strerror = f"{error.strerror} after {partial.stat().st_size} bytes"
    elif error.filename is not None:
        error.filename = str(error.filename).replace(str(partial), str(path))


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
    except BaseException as error:
        if isinstance(error, OSError):
            _name(error, path, partial)
        with suppress(OSError):  # the first error is the cause; what stays is removed by the next run
            remove(partial)
        raise


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yields a new empty folder; it replaces `path` when the block succeeds and is removed when it raises."""
    partial = _partial(path)
    try:
        partial.mkdir()
        yield partial
        remove(path)
        partial.rename(path)
    except BaseException as error:
        if isinstance(error, OSError):
            _name(error, path, partial)
        with suppress(OSError):  # the first error is the cause; what stays is removed by the next run
            remove(partial)
        raise
