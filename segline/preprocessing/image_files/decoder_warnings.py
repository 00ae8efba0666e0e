"""The warnings of libpng and libjpeg: they name no file, and are written to standard error, or by GDAL to its log."""

import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from segline.core.errors import DataError, PipelineError
from segline.preprocessing.image_files import headers

_JPEG_DAMAGE = re.compile(r"(Corrupt JPEG|Premature end of JPEG).*")


def damage(text: str) -> str | None:
    """The first warning of libjpeg about damaged data, which it decodes all the same; None if there is none."""
    match = _JPEG_DAMAGE.search(text)
    return match.group() if match else None


class GdalWarnings(logging.Handler):
    """What libjpeg says of damaged data in a TIFF, for each thread alone; nothing that GDAL warns of is printed."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()
        logger = logging.getLogger("rasterio._err")
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if warning := damage(record.getMessage()):
            getattr(self._local, "heard", []).append(warning)

    @contextmanager
    def of_this_thread(self) -> Iterator[list[str]]:
        """A list that grows while this thread decodes."""
        self._local.heard = []
        yield self._local.heard


def damage_to(path: Path, heard: Callable[[], str]) -> DataError | None:
    """The damage that libjpeg reported since the last call of `heard`, if no file but `path` was decoded since."""
    warning = damage(heard())
    return DataError(path, f"damaged: {warning}", headers.AGAIN) if warning else None


def damaged(decoders: Iterable[tuple[Path, Callable[[], object]]], heard: Callable[[], str]) -> Iterator[PipelineError]:
    """The files that were decoded though damaged; `heard` is what `muffled` yields.

    If libjpeg reported any damage, each file is decoded once more, alone. Files that cannot be decoded are left out:
    whoever decoded them first has reported them.
    """
    if not damage(heard()):
        return
    for path, decode in decoders:
        try:
            decode()
        except PipelineError:
            heard()
            continue
        if problem := damage_to(path, heard):
            yield problem


@contextmanager
def muffled() -> Iterator[Callable[[], str]]:
    """While open, what libpng and libjpeg write to standard error goes to a file; Python's own messages still appear.

    Yields a function that returns what was written since its last call. This redirects a file descriptor of the whole
    process: only a stage or a command may use it.
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
            text = os.pread(descriptor, os.fstat(descriptor).st_size - position, position)  # keeps the writers' offset
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
