"""A .tar.gz archive -> the wanted files, and nothing else.

An archive is not trusted: it is read from start to end before the first write, it is refused as a whole if one of its
members is unsafe, and its members never choose where they go. tarfile alone bounds neither members, bytes nor extended
headers, and its extraction filters had holes up to Python 3.11.13 (CVE-2025-4517 and others).
"""

import gzip
import hashlib
import re
import tarfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from segline.core.errors import IntegrityError
from segline.monitoring import console

CHUNK = 1 << 20
HEADER = 8 << 10  # bytes of one extended header: enough for a path of 4,096 bytes
REMEDY = "Get a good copy of it."
SHOWN = 3

# What tarfile, gzip and zlib raise on bytes they cannot read. Not OSError: a failing disk is not the archive's fault.
_UNREADABLE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Limits:
    """The maximum that an archive may contain. The public CamVid archive has 1,450 members and less than 400 MB."""

    members: int = 20_000
    file: int = 256 << 20  # bytes of one member
    total: int = 1 << 30  # bytes of the whole archive, unpacked


@dataclass(frozen=True)
class Wanted:
    """Where a member goes, relative to the target folder, and the sha256 its bytes must have."""

    path: str
    sha256: str


class MissingError(IntegrityError):
    """Wanted members that the archive does not contain, sorted."""

    def __init__(self, archive: Path, names: list[str], wanted: int) -> None:
        self.names = names
        super().__init__(archive, f"lacks {len(names)} of {wanted} wanted files: {_first(names)}", REMEDY)


LIMITS = Limits()


def extract(archive: Path, wanted: Mapping[str, Wanted], folder: Path, limits: Limits = LIMITS) -> None:
    """Writes every wanted member into `folder`, once the sha256 of all of them has been verified.

    Keys of `wanted` are paths inside the single top folder of the archive.

    Raises IntegrityError (MissingError if members are missing), with nothing written.
    """
    with archive.open("rb") as compressed, _readable(archive):
        _verify(archive, compressed, wanted, limits)
        for parent in {(folder / target.path).parent for target in wanted.values()}:
            parent.mkdir(parents=True, exist_ok=True)
        for name, _, chunks in _members(archive, compressed, limits):
            if name in wanted:
                _write(chunks, folder / wanted[name].path)


def _write(chunks: Iterator[bytes], path: Path) -> None:
    with path.open("xb") as stream:
        stream.writelines(chunks)


def _verify(archive: Path, compressed: BinaryIO, wanted: Mapping[str, Wanted], limits: Limits) -> None:
    """Raises IntegrityError unless every member is safe and every wanted one has its sha256."""
    missing, wrong = set(wanted), []
    watched = console.progress(_members(archive, compressed, limits), None, "verify", "file")
    for name, member, chunks in watched:
        if name in missing and member.isreg():
            missing.remove(name)
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
            if digest.hexdigest() != wanted[name].sha256:
                wrong.append(f"{name} (expected {wanted[name].sha256}, got {digest.hexdigest()})")
    if wrong:
        raise IntegrityError(archive, f"sha256 differs in {len(wrong)} of {len(wanted)} files: {_first(wrong)}", REMEDY)
    if missing:
        raise MissingError(archive, sorted(missing), len(wanted))


def _members(
    archive: Path, compressed: BinaryIO, limits: Limits
) -> Iterator[tuple[str, tarfile.TarInfo, Iterator[bytes]]]:
    """One pass: path inside the top folder, header, content. Checks each header and, at the end, the gzip checksum."""
    compressed.seek(0)
    with gzip.GzipFile(fileobj=compressed) as unpacked:
        reader = _Reader(archive, unpacked, limits)
        seen: set[str] = set()
        top = None
        with tarfile.open(fileobj=reader, mode="r:") as tar:  # type: ignore[call-overload]  # a file forwards only
            for member in tar:
                problem = _unsafe(member, seen, limits)
                if problem:
                    raise IntegrityError(archive, f"member {_shown(member.name)} {problem}", REMEDY)
                first, _, inside = member.name.partition("/")
                top = top or first
                if first != top or (member.isreg() and not inside):
                    raise IntegrityError(archive, f"member {_shown(member.name)} is outside of folder {top!r}", REMEDY)
                yield inside, member, reader.chunks(member.size)
        reader.drain()


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turns the errors of the readers into one that names the archive."""
    try:
        yield
    except _UNREADABLE as error:
        problem = f"not a whole .tar.gz archive ({str(error) or type(error).__name__})"
        raise IntegrityError(archive, problem, REMEDY) from None


def _unsafe(member: tarfile.TarInfo, seen: set[str], limits: Limits) -> str | None:
    """Why this member is refused, or None. Adds its name to `seen`."""
    name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", member.name).casefold())
    duplicate = name in seen
    seen.add(name)
    rules = {
        "has an unsafe path": re.match("[A-Za-z]:", name) or "\\" in name or not name.isprintable(),
        "leads out of its folder": not set(name.split("/")).isdisjoint(("", ".", "..")),
        "is not a plain file or folder": not (member.isreg() or member.isdir()) or member.issparse(),
        "is a duplicate (ignoring case and Unicode form)": duplicate,
        f"has {member.size:,} bytes, expected 0 to {limits.file:,}": not 0 <= member.size <= limits.file,
        f"exceeds the {limits.members:,} members allowed": len(seen) > limits.members,
    }
    return next((problem for problem, is_broken in rules.items() if is_broken), None)


def _shown(name: str) -> str:
    return ascii(name[:80])  # a hostile name may be long and contain terminal codes


def _first(lines: list[str]) -> str:
    return "; ".join(lines[:SHOWN]) + ("; ..." if len(lines) > SHOWN else "")


class _Reader:
    """Reads forwards only, up to the cap: no header can make tarfile loop or exhaust memory."""

    def __init__(self, archive: Path, stream: gzip.GzipFile, limits: Limits) -> None:
        self.archive, self.stream, self.limits = archive, stream, limits
        self.position = 0

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        """Used by tarfile, which reads headers only."""
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes at {self.position:,}")
        return self._take(size)

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError(f"a header at {self.position:,} points back to {position:,}")
        for _ in self.chunks(position - self.position):
            pass

    def chunks(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes in pieces. Raises EOFError if there are fewer."""
        while size > 0:
            chunk = self._take(min(size, CHUNK))
            if not chunk:
                raise EOFError(f"ends at {self.position:,}, {size:,} bytes too soon")
            size -= len(chunk)
            yield chunk

    def drain(self) -> None:
        """Reads what follows the last member, because the gzip checksum is at the very end."""
        while self._take(CHUNK):
            pass

    def _take(self, size: int) -> bytes:
        chunk = self.stream.read(size)
        self.position += len(chunk)
        if self.position > self.limits.total:
            raise IntegrityError(self.archive, f"unpacks to more than {self.limits.total:,} bytes", REMEDY)
        return chunk
