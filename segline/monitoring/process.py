"""How a process of ours ends early: by Ctrl-C or SIGTERM from its first import on, or with the DVC that started it.

`console` imports this file before anything else, and stages import `console` first: an interruption while torch is
still being imported gets the same message as a later one.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

DEBUG = "SEGLINE_DEBUG"
STAGE = "DVC_STAGE"  # set by DVC for the commands of its stages
PARENT = "SEGLINE_PARENT"  # id of the process that this one must not outlive
RESTORE = "to bring the last good outputs back: make restore"
POLLED = 0.5  # seconds


class Terminated(KeyboardInterrupt):
    """SIGTERM. Whatever cleans up after Ctrl-C cleans up after it too."""


def sentence(error: KeyboardInterrupt) -> str:
    """Which signal stopped the process."""
    return "stopped by SIGTERM" if isinstance(error, Terminated) else "stopped by Ctrl-C"


def status(error: KeyboardInterrupt) -> int:
    """The exit code that shells give a process that a signal ended."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def _is_ours() -> bool:
    """True if this process is a stage or the `segline` command, not one that only imports a file of theirs."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name: str = spec.name if spec else Path(sys.argv[0]).name
    return name.startswith("stages.") or name in ("segline", "segline.__main__")


def _handle(handler: Callable[[int, FrameType | None], NoReturn]) -> None:
    """Sets what SIGINT and SIGTERM do, unless this process was told to ignore them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _exit_at_once(number: int, _: FrameType | None) -> NoReturn:
    """Nothing is half done while modules are imported, and an exception there would end in a traceback."""
    error = _error(number)
    lines = [f"error: {sentence(error)}", *([RESTORE] if STAGE in os.environ else [])]
    with suppress(OSError):  # nobody reads it
        os.write(2, "".join(f"{line}\n" for line in lines).encode())
    os._exit(status(error))


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    if number == signal.SIGTERM:  # a second one must not interrupt the cleaning up
        signal.signal(number, signal.SIG_IGN)
    raise _error(number)


def _error(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt and Terminated; so does the death of the process that started a stage.

    A stage also waits until no other process runs it in this folder: one whose DVC was killed may still be ending.
    """
    _handle(_interrupt)
    if parent := _STARTED_BY or _parent():
        threading.Thread(target=_terminate_after, args=[parent], daemon=True).start()
    with _only_one(os.environ.get(STAGE)):
        yield


@contextmanager
def ended_within(seconds: float, status: int) -> Iterator[None]:
    """After Ctrl-C or SIGTERM this process has so long to leave the block, and else ends with `status`.

    Python calls no handler while a library waits, as torch does for other processes; a wakeup descriptor hears signals
    even then.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    left = threading.Event()
    threading.Thread(target=_end_after_signal, args=[reader, left, seconds, status], daemon=True).start()
    before = signal.set_wakeup_fd(writer)
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(writer)


def _end_after_signal(reader: int, left: threading.Event, seconds: float, status: int) -> None:
    with open(reader, "rb", buffering=0) as signals:
        while number := signals.read(1):  # nothing at the end of the pipe
            if number[0] in (signal.SIGINT, signal.SIGTERM) and not left.wait(seconds):
                os._exit(status)


def _parent() -> int | None:
    """The process that this one must not outlive: the one that says so, or DVC, with or without a shell in between."""
    if PARENT in os.environ:
        return int(os.environ[PARENT])
    if STAGE not in os.environ:
        return None
    import psutil  # noqa: PLC0415 - needed by stages alone

    parents = psutil.Process().parents()[:2]
    return next((each.pid for each in parents if _is_dvc(each)), None)


def _is_dvc(process: Any) -> bool:
    import psutil  # noqa: PLC0415

    with suppress(psutil.Error):  # gone meanwhile, or another user's
        return any(Path(word).name == "dvc" for word in process.cmdline())
    return False


def _terminate_after(parent: int) -> None:
    """Sends SIGTERM to this process once `parent` has ended. Polls: macOS has no signal for it."""
    import psutil  # noqa: PLC0415

    try:
        process = psutil.Process(parent)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(POLLED)
    except psutil.AccessDenied:
        return  # nothing can be said of it
    except psutil.NoSuchProcess:
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _only_one(stage: str | None) -> Iterator[None]:
    folder = Path(".dvc/tmp")
    if stage is None or not folder.is_dir():
        yield
        return
    import filelock  # noqa: PLC0415 - needed by stages alone

    lock = filelock.FileLock(folder / f"stage-{stage.replace('/', '-')}.lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        sys.stderr.write(f"{stage}: waiting until an earlier run of this stage has ended\n")
        sys.stderr.flush()
        lock.acquire()
    with lock:
        yield


# Asked before the slow imports: a DVC that is killed during them is gone from the parents afterwards.
_STARTED_BY = _parent() if _is_ours() else None
if _is_ours() and os.environ.get(DEBUG) != "1":
    _handle(_exit_at_once)
