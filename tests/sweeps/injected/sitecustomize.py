"""Faults of the disk, in processes that sweeps start with this folder on PYTHONPATH: Python imports this file first.

SWEEP_FAULT is `PROCESS:ACTION:N`: in the process of that stage (or in `dvc`), the N-th event does not happen, and the
process is killed (`kill`) or gets an error (`ENOSPC`, `EIO`, `EACCES`). An event creates, writes, flushes, renames or
removes a file or folder below the current folder. If the process ends without the fault, the number of events is
written to the file SWEEP_COUNT. What C++ libraries write by themselves is not seen.
"""

import _io
import atexit
import builtins
import errno
import io
import os
import signal
import sys

KINDS = {  # action -> the events that it can happen to
    "kill": ("open", "write", "flush", "mkdir", "rename", "remove"),
    "EIO": ("open", "write", "flush", "mkdir", "rename", "remove"),
    "ENOSPC": ("open", "write", "flush", "mkdir"),
    "EACCES": ("open", "mkdir", "rename", "remove"),
}
LASTING = ("ENOSPC", "EACCES")  # every later event fails as well
AUDITED = {"os.mkdir": "mkdir", "os.rename": "rename", "os.link": "rename", "os.remove": "remove", "os.rmdir": "remove"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
UNSEEN = ("__pycache__", ".dvc/tmp/stage-")


class Fault:
    """Counts the events of this process, and does its action at the one it was told."""

    def __init__(self, action: str, number: int) -> None:
        self.action, self.number = action, number
        self.count, self.done = 0, False
        self.root = os.getcwd() + os.sep

    def due(self, kind: str, path: object) -> bool:
        """Counts the event; True if the fault happens to it."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.path.abspath(os.fsdecode(path))
        if not name.startswith(self.root) or any(part in name for part in UNSEEN):
            return False
        if kind == "remove" and not os.path.lexists(name):
            return False
        self.count += 1
        if kind not in KINDS[self.action] or self.count < self.number or (self.done and self.action not in LASTING):
            return False
        self.done = True
        return True

    def strike(self, path: object) -> None:
        """Ends the process, or raises the error."""
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.action)
        names = () if path is None else (os.fsdecode(path),)
        raise OSError(number, os.strerror(number), *names)

    def event(self, kind: str, path: object) -> None:
        """An event that has one moment."""
        if self.due(kind, path):
            self.strike(None if kind == "flush" else path)

    def half(self, write, path: object, content) -> int:
        """A write; the fault stops it in the middle, and names no file, as the system does."""
        if self.due("write", path):
            with memoryview(content).cast("B") as view:
                write(bytes(view[: len(view) // 2]))
            self.strike(None)
        return write(content)


def install(action: str, number: int) -> Fault:
    """Lets the fault happen in this process."""
    fault = Fault(action, number)
    write, fsync, opened = os.write, os.fsync, io.open

    def audit(event: str, arguments: tuple) -> None:
        if event in AUDITED:
            fault.event(AUDITED[event], arguments[0])
        elif event == "open" and arguments[2] is not None and arguments[2] & WRITING:
            fault.event("open", arguments[0])

    def path_of(descriptor: int) -> str | None:
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return None

    def flush(descriptor) -> None:
        fault.event("flush", path_of(descriptor if isinstance(descriptor, int) else descriptor.fileno()))
        fsync(descriptor)

    def write_half(descriptor, content):
        return fault.half(lambda part: write(descriptor, part), path_of(descriptor), content)

    class FileIO(_io.FileIO):
        def write(self, content):
            return fault.half(super().write, path_of(self.fileno()), content)

    def open_(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        if not set(mode) & set("wax"):
            return opened(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = FileIO(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    os.write = write_half
    os.fsync = flush
    io.FileIO = FileIO
    io.open = builtins.open = open_
    sys.addaudithook(audit)
    return fault


def note(fault: Fault, path: str) -> None:
    """Writes the number of events, unless the fault has happened."""
    if not fault.done:
        with _io.open(path, "w", encoding="ascii") as stream:
            stream.write(str(fault.count))


if "SWEEP_FAULT" in os.environ:
    process, wanted, position = os.environ["SWEEP_FAULT"].split(":")
    if (f"stages.{process}" if process != "dvc" else "dvc") in sys.orig_argv[1:3]:
        atexit.register(note, install(wanted, int(position)), os.environ["SWEEP_COUNT"])
