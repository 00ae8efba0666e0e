"""A user's images and masks -> the raw data set, byte for byte. Decodes no pixels.

They are copied, not linked: `data/raw` is an output that DVC may move into its cache and make read-only. Where the
file system has reflinks (Btrfs, XFS), a copy is one: a file of its own, which shares blocks until either is changed.
"""

import fcntl
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from io import BufferedRandom, BufferedReader
from pathlib import Path

from segline.core.errors import DataError
from segline.dataset.raw import Pair
from segline.monitoring import console
from segline.sources.collecting.listing import Entry

CHUNK = 1 << 20
FICLONE = 0x40049409  # of linux/fs.h; `Path.copy` does the same from Python 3.14 on


def copy(
    listed: Mapping[str, Sequence[Entry]], folder: Path, objects: Mapping[str, Sequence[Path]] | None = None
) -> dict[str, list[Pair]]:
    """The pairs, their files copied to `folder/<split>/images` and `folder/<split>/masks` and hashed on the way.

    `objects` are the object numbers of each pair, copied to `folder/<split>/objects` unless they are its mask.

    Raises DataError before the first byte if the disk has no space for them and for DVC's copy: its cache is usually
    on the same disk, and shares blocks only where the file system has reflinks.
    """
    numbers: dict[str, Sequence[Path | None]] = {split: [None] * len(entries) for split, entries in listed.items()}
    numbers |= objects or {}
    files = [path for entries in listed.values() for e in entries for path in (e.image, e.mask)]
    files += [path for paths in numbers.values() for path in paths if path is not None]
    require_space(folder, list(dict.fromkeys(files)))
    return {split: _copied(entries, numbers[split], folder / split) for split, entries in listed.items()}


def require_space(folder: Path, paths: Sequence[Path]) -> None:
    """Makes `folder`. Raises DataError if its disk has no space for copies of the files, and for DVC's copies.

    Reflinks take none: `folder` shares blocks with the files, and DVC's cache with `folder`.
    """
    needed = 2 * sum(path.stat().st_size for path in paths)
    folder.mkdir(parents=True, exist_ok=True)
    if paths and _has_reflinks(paths[0], folder):
        return
    if needed > (free := shutil.disk_usage(folder).free):
        expected = f"at least {(needed >> 20) + 1} MiB, twice the size of the data: a copy, and another in DVC's cache"
        raise DataError(folder, f"{free >> 20} MiB free on its disk, expected {expected}", "Free some space.")


def _copied(entries: Sequence[Entry], numbers: Sequence[Path | None], folder: Path) -> list[Pair]:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    pairs = []
    both = zip(entries, numbers, strict=True)
    for entry, objects in console.progress(both, len(entries), f"copy {folder.name}", "pair"):
        above = f"{entry.stem.rpartition('/')[0]}/".lstrip("/")  # equal names in different folders stay apart
        image, mask = f"images/{above}{entry.image.name}", f"masks/{above}{entry.mask.name}"
        for name in (image, mask):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        hashes = copy_file(entry.image, folder / image), copy_file(entry.mask, folder / mask)
        of_objects: tuple[str, str] | tuple[None, None] = (None, None)
        if objects == entry.mask:
            of_objects = mask, hashes[1]
        elif objects is not None:
            name = f"objects/{above}{objects.name}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            of_objects = name, copy_file(objects, folder / name)
        pairs.append(Pair(entry.stem, entry.group, image, mask, *hashes, *of_objects))
    return pairs


def copy_file(source: Path, target: Path) -> str:
    """SHA-256 of the bytes written."""
    sha256 = hashlib.sha256()
    with source.open("rb") as reader, target.open("x+b") as writer:
        if _reflinked(reader, writer):
            return hashlib.file_digest(writer, "sha256").hexdigest()
        while chunk := reader.read(CHUNK):
            sha256.update(chunk)
            writer.write(chunk)
    return sha256.hexdigest()


def _has_reflinks(source: Path, folder: Path) -> bool:
    probe = folder / ".reflink"
    try:
        with source.open("rb") as reader, probe.open("w+b") as writer:
            return _reflinked(reader, writer)
    finally:
        probe.unlink(missing_ok=True)


def _reflinked(reader: BufferedReader, writer: BufferedRandom) -> bool:
    """Whether the empty file `writer` now has the content of `reader`, by reference."""
    try:
        fcntl.ioctl(writer, FICLONE, reader.fileno())
    except OSError:  # another file system than this one's, or one without reflinks
        return False
    return True
