"""Runs stages in forks of one process that has imported them, so that a trial takes a fraction of a second.

Reads lines of JSON: `stage`, `argv`, `log` (file for what the stage says), `action` and `number` (the fault, or null).
Answers each with a line: `status` (exit code, negative for a signal) and `events` (their number, null after the fault).
"""

import json
import os
import sys
import traceback
from pathlib import Path

import sitecustomize  # that of tests/sweeps/injected

from segline.monitoring import console
from stages import download, evaluate, plot, preprocess, train

STAGES = {"download": download, "preprocess": preprocess, "train": train, "evaluate": evaluate, "plot": plot}


def run(request: dict) -> int:
    """Runs the stage in this process, which then ends. The exit code."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    fault = sitecustomize.install(request["action"] or "kill", request["number"] or 1 << 60)
    try:
        console.run(STAGES[request["stage"]].main, request["argv"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    sitecustomize.note(fault, request["log"] + ".events")
    return status


def main() -> None:
    """Until the end of standard input."""
    for line in sys.stdin:
        request = json.loads(line)
        events = Path(request["log"] + ".events")
        events.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os._exit(run(request))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = {"status": status, "events": int(events.read_text(encoding="ascii")) if events.exists() else None}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
