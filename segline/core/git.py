"""Questions to git. Nothing is changed and no lock is taken, so DVC can use the repository at the same time."""

import os
import subprocess
from pathlib import Path


def ask(root: Path, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """The finished `git ARGUMENTS` in the folder `root`, its messages in English.

    The exit code is 127, as in a shell, if git is not installed or gives no answer within `timeout` seconds.
    """
    command = ["git", "--no-optional-locks", *arguments]
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, b"", str(error).encode())


def answer(root: Path, *arguments: str, timeout: float | None = None) -> bytes | None:
    """What `git ARGUMENTS` prints; None if it fails, as outside of a repository."""
    done = ask(root, *arguments, timeout=timeout)
    return None if done.returncode else done.stdout
