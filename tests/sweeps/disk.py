"""A disk that is full, broken or closed at the n-th event of a stage: one line, and a rerun gives the same bytes."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segline.reproducibility import dvc_lock
from tests.e2e.project import Project
from tests.e2e.reruns import STAGES
from tests.sweeps.tally import Clock, Random, Tally

ACTIONS = ("ENOSPC", "EIO", "EACCES")
INJECTED = Path(__file__).parent / "injected"


class Runner:
    """Stages of a project in one process; see `stage_runner`."""

    def __init__(self, project: Project, log: Path) -> None:
        environment = {**project.environment, "PYTHONPATH": str(INJECTED), "PYTHONDONTWRITEBYTECODE": "1"}
        command = ["python", "-m", "tests.sweeps.stage_runner"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self._process = subprocess.Popen(command, cwd=project.root, env=environment, **pipes)
        self._log = log
        stages = yaml.safe_load(project.read("dvc.lock"))["stages"]
        self._arguments = {name: shlex.split(stage["cmd"])[3:] for name, stage in stages.items()}

    def __call__(self, stage: str, action: str | None = None, number: int | None = None) -> tuple[int, int | None, str]:
        """Exit code, number of events (None after the fault), and what the stage said."""
        request = {"stage": stage, "argv": self._arguments[stage], "log": str(self._log)}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({**request, "action": action, "number": number}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["status"], answer["events"], self._log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


def sweep(project: Project, random: Random, count: int, clock: Clock, scratch: Path) -> Tally:
    """Lets a stage of a copy of the project fail at an event, then runs it again."""
    tally = Tally("disk faults", count, "told in one line and recovered")
    copy = project.copy(scratch / "disk")
    locked = dvc_lock.stages(copy.root)
    run = Runner(copy, scratch / "log")
    events: dict[str, int] = {}
    try:
        for _ in range(count):
            if clock.left <= 0:
                break
            stage, action = random.choice(STAGES), random.choice(ACTIONS)
            if stage not in events:
                remove(copy.root, locked[stage].outputs)
                events[stage] = run(stage)[1] or 1
            number = random.randint(1, events[stage])
            fault = trial(copy.root, run, stage, locked[stage].outputs, action, number)
            tally.note(f"{action} at event {number} of {events[stage]} of {stage}", fault)
    finally:
        run.close()
    return tally


def trial(root: Path, run: Runner, stage: str, outputs: Mapping[str, str], *fault: Any) -> str | None:
    """What is wrong with how the stage takes the fault, or with the run after it."""
    remove(root, outputs)  # as DVC does
    status, _, said = run(stage, *fault)
    wrong = complaint(status, said) or (different(root, outputs) if status == 0 else None)
    status, _, again = run(stage)
    if status:
        return f"the next run fails: {again.strip().splitlines()[-1:]}"
    return wrong or different(root, outputs)


def complaint(status: int, said: str) -> str | None:
    """What is wrong with how a stage ended."""
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if "Traceback" in said:
        return f"a traceback: {said.strip().splitlines()[-1]}"
    if status not in (0, 1):
        return f"exit code {status}"
    if status == 1 and len(errors) != 1:
        return f"{len(errors)} lines of errors: {said.strip()!r}"
    if any(".partial" in line or line.startswith("error: [Errno") for line in errors):
        return f"names no file of the user's: {errors[0]}"
    return None


def different(root: Path, outputs: Mapping[str, str]) -> str | None:
    """The first output whose bytes are not those of the reference, or what is left beside it."""
    for path, md5 in outputs.items():
        if not (root / path).exists() or dvc_lock.md5(root / path) != md5:
            return f"{path} differs from the reference"
    return leftover(root)


def leftover(root: Path) -> str | None:
    """An unfinished file, if one is left."""
    left = [path for folder in ("data", "models", "metrics") for path in (root / folder).rglob(".*.partial")]
    return f"left behind: {left[0].relative_to(root)}" if left else None


def remove(root: Path, paths: Mapping[str, str]) -> None:
    """Removes the outputs of a stage."""
    for path in paths:
        if (root / path).is_dir():
            shutil.rmtree(root / path)
        elif os.path.lexists(root / path):
            (root / path).unlink()
