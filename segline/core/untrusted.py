"""Files that anybody may have written, or a disk damaged: bounded, typed, and refused in one line."""

import errno
import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

Content = TypeVar("Content")

_SHORT = reprlib.Repr()  # of values in messages, which may be huge
_SHORT.maxstring = _SHORT.maxother = 60


class UnusableFileError(OSError):
    """A file that can be opened but not used; `strerror` says why."""


@contextmanager
def opened(path: Path, most: int) -> Iterator[FileIO]:
    """The file, open for reading, if it is a regular one of at most `most` bytes; never waits on a pipe or a device.

    Links are followed: DVC may link data to its cache. Raises OSError; see `problem`.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableFileError(errno.EINVAL, "a folder, pipe or device, expected a file", str(path))
        if status.st_size > most:
            raise UnusableFileError(errno.EFBIG, f"{status.st_size} bytes, expected at most {most}", str(path))
        with FileIO(descriptor, closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)


def read(path: Path, most: int) -> bytes:
    """The content of a file that `opened` accepts. Raises OSError."""
    with opened(path, most) as stream:
        return stream.readall()


def problem(error: OSError) -> str:
    """Why a file cannot be read, as the middle part of an error: "missing" only if nothing is there."""
    if isinstance(error, UnusableFileError):
        return str(error.strerror)
    if isinstance(error, FileNotFoundError):
        is_link = error.filename is not None and os.path.islink(error.filename)  # noqa: PTH114 - it may be bytes
        return "a link that leads nowhere" if is_link else "missing"
    return f"cannot be read ({error.strerror or error})"


def parse_json(text: str | bytes, shape: TypeAdapter[Content]) -> Content:
    """The JSON as `shape`, strictly: no conversions. Raises ValueError, in one line, for the first mismatch."""
    try:
        return shape.validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(mismatch(error)) from None


def mismatch(error: ValidationError) -> str:
    """The first problem of a validation: "classes.0.rgb: tuple should have ..., got [1, 2]"; short, whatever it is."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) if isinstance(part, int) else _SHORT.repr(part)[1:-1] for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    got = "" if first["type"] in ("missing", "json_invalid") else f", got {_SHORT.repr(first['input'])}"
    return f"{place}: {message[0].lower()}{message[1:]}{got}".removeprefix(": ")
