"""Entries of the input that DVC fails on or waits for: it hashes everything there, not only images and masks."""

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from segline.core.errors import DataError

SHOWN = 20
IGNORED = frozenset({".git", ".hg", ".dvc", "__pycache__"})  # by DVC and .dvcignore
KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}


def problems(place: Path) -> list[DataError]:
    """The first links without a target, pipes, sockets, devices and unreadable folders at or below `place`.

    Follows no links to folders, as DVC does not. No file is opened; 100,000 take a fifth of a second.
    """
    return list(islice(_problems(place), SHOWN))


def _problems(place: Path) -> Iterator[DataError]:
    if not place.is_dir():
        if place.exists() and not place.is_file():
            yield _special(place, place.stat().st_mode)
        return
    folders = [str(place)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield DataError(folder, error.strerror or str(error), "Make the folder readable, or move it elsewhere.")
            continue
        for entry in listed:
            if entry.is_dir(follow_symlinks=False):
                folders += [] if entry.name in IGNORED else [entry.path]
            elif not entry.is_file(follow_symlinks=False):  # known from the listing, without a look at the file
                yield from _entry_problems(entry)


def _entry_problems(entry: os.DirEntry[str]) -> Iterator[DataError]:
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        is_link = entry.is_symlink()
        problem = (
            f"a link to {Path(entry.path).readlink()}: {error.strerror}" if is_link else error.strerror or str(error)
        )
        yield DataError(entry.path, problem, "Remove it, or move it out of data.input: DVC reads everything there.")
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        yield _special(entry.path, mode)


def _special(path: object, mode: int) -> DataError:
    kind = KINDS.get(stat.S_IFMT(mode), "neither a file nor a folder")
    return DataError(path, kind, "Remove it, or move it out of data.input: DVC reads everything there.")
