"""Timed loops that take turns, each in its own process, so that threads and memory of one do not disturb another.

Only the standard library, since a loop may run in another interpreter, without this project's packages.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes on the wall clock."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def serve(turn: Callable[[], Any]) -> None:
    """The loop's side: warms up once, then answers each input line with the result of a turn, as JSON."""
    print(json.dumps(turn()), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


class Loop:
    """The other side: runs a command that calls `serve`. Raises CalledProcessError if it ends without an answer."""

    def __init__(self, command: Sequence[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def turn(self) -> Any:
        """The result of the next turn, when it is over."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        return json.loads(line)
