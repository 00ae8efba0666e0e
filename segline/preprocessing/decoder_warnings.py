"""What image decoders say of damaged files: only on the standard error of the process, and without naming the file."""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_JPEG_DAMAGE = re.compile(r"(Corrupt JPEG|Premature end of JPEG).*")


def damage(said: str) -> str | None:
    """The first complaint of libjpeg, which decodes damaged pixels all the same; None if there is none."""
    found = _JPEG_DAMAGE.search(said)
    return found.group() if found else None


@contextmanager
def muffled() -> Iterator[Callable[[], str]]:
    """Inside, what libpng and libjpeg write to standard error goes to a file; Python's own messages still come out.

    Yields a function that returns what was written since it was last called. This moves a file descriptor of
    the whole process: only a stage or a command may use it.
    """
    if sys.stderr is None:  # closed by the caller
        yield lambda: ""
        return
    sys.stderr.flush()
    shown, python_stderr = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as caught, os.fdopen(shown, "w", buffering=1, encoding="utf-8") as stream:
        descriptor, position = caught.fileno(), 0

        def heard() -> str:
            nonlocal position
            text = os.pread(descriptor, os.fstat(descriptor).st_size - position, position)  # leaves the writers' offset
            position += len(text)
            return text.decode("utf-8", "replace")

        os.dup2(descriptor, 2)
        if _writes_to(python_stderr, 2):
            sys.stderr = stream
        try:
            yield heard
        finally:
            sys.stderr = python_stderr
            os.dup2(shown, 2)


def _writes_to(stream: object, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor  # type: ignore[attr-defined,no-any-return]
    except (AttributeError, OSError):
        return False  # replaced by an object without a descriptor, as tests do
