"""Where the program meets a person: arguments, progress, messages, exit codes. Nothing else prints.

Nothing here may flow into an output: stages are not made to depend on this file.
"""

from segline.monitoring import (
    process,  # first: it handles Ctrl-C while the rest is imported
    threads,  # noqa: F401 - torch reads what it sets
)

# isort: split
import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self, TypeVar

from tqdm import tqdm

from segline.core.errors import PipelineError

Item = TypeVar("Item")

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, then run again.",
    errno.EDQUOT: "Your disk quota is used up: free some space, then run again.",
    errno.EFBIG: "This session limits the size of files: see `ulimit -f`.",
    errno.EMFILE: "This session limits the number of open files: see `ulimit -n`.",
    errno.EIO: "The disk or network share has failed: see the system's log.",
    errno.EROFS: "Choose a place that can be written to.",
    errno.EACCES: "Check the permissions of the file and its folders.",
    errno.EPERM: "Check the permissions of the file and its folders.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: part of it is a file.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help starts with the first line of the module's docstring."""
    return argparse.ArgumentParser(description=(description or "").strip().split("\n")[0])


def paths(description: str | None, argv: Sequence[str] | None, **helps: str) -> argparse.Namespace:
    """The arguments of a stage: one required `--name PATH` for each keyword, whose value is its help text.

    A URL stays text: a path would lose one of its slashes.
    """
    stage = parser(description)
    for name, text in helps.items():
        stage.add_argument(f"--{name.replace('_', '-')}", type=_place, required=True, metavar="PATH", help=text)
    return stage.parse_args(argv)


def _place(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def say(line: str) -> None:
    """One line for the user, on standard output."""
    print(line, flush=True)


def warn(line: str) -> None:
    """One line on standard error, for a problem that does not stop the work."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


def in_terminal() -> bool:
    """True if a progress bar can redraw itself."""
    return sys.stderr.isatty()


def progress(items: Iterable[Item], total: int | None, description: str, unit: str = "image") -> Iterable[Item]:
    """`items`, with a bar and the time left (a count if there is no `total`) in a terminal; silent if piped."""
    return tqdm(items, total=total, desc=description, unit=unit, disable=not in_terminal(), leave=False)


class Steps:
    """A count of steps: a bar with the time left in a terminal; if output is piped, only the lines."""

    def __init__(self, total: int, description: str, done: int = 0) -> None:
        off = not in_terminal()
        self._bar = tqdm(total=total, initial=done, desc=description, unit="step", disable=off, leave=False)

    def update(self) -> None:
        """One more step is done."""
        self._bar.update()

    def line(self, text: str) -> None:
        """A line that stays, above the bar if there is one."""
        with self._bar.external_write_mode():
            say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def run(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> None:
    """Calls `main` and ends the process: 0 or what it returns; 1 and one line for a PipelineError; 130 for Ctrl-C,
    143 for SIGTERM.

    A bug keeps its traceback; SEGLINE_DEBUG=1 shows that of every exception. When a stage ends early, DVC has already
    removed its outputs: the command that brings them back is named.
    """
    try:
        status = _status(main, argv)
    except BaseException:
        _name_the_remedy()
        raise
    if status:
        _name_the_remedy()
    sys.exit(status)


def _status(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None) -> int:
    try:
        with process.interruptible():
            return main(argv) or 0
    except (PipelineError, OSError, MemoryError, KeyboardInterrupt) as error:
        if os.environ.get(process.DEBUG) == "1":
            raise
        if isinstance(error, BrokenPipeError):  # the reader of our output is gone and needs no message
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        print(f"error: {sentence(error)}", file=sys.stderr)
        return process.status(error) if isinstance(error, KeyboardInterrupt) else 1


def guarded(function: Callable[[], int], fault: int) -> int:
    """What `function` returns; `fault`, and one line, if it raises any exception, including bugs.

    For a command whose exit codes 0 and 1 are answers, which no exception may imitate.
    """
    try:
        return function()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not an answer
        if os.environ.get(process.DEBUG) == "1":
            traceback.print_exc()
        print(f"error: {sentence(error)}", file=sys.stderr)
        return fault


def _name_the_remedy() -> None:
    if process.STAGE in os.environ:
        print(process.RESTORE, file=sys.stderr)


def sentence(error: BaseException) -> str:
    """What went wrong and what to do, for a user."""
    if isinstance(error, PipelineError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return process.sentence(error)
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        remedy = _REMEDIES.get(error.errno or 0, "Check the path, its permissions and the limits of this session.")
        return f"{where}{error.strerror or error}. {remedy}"
    return f"{type(error).__name__}: {error}. Run again with {process.DEBUG}=1 for the traceback."
