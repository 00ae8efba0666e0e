"""SIGKILL at random moments and events of a stage and of DVC: `make repro` alone must bring the same bytes back."""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.e2e.project import Project
from tests.e2e.reruns import STAGES
from tests.sweeps import disk
from tests.sweeps.tally import Clock, Random, Tally

REPAIR = ("make", "--old-file", "setup", "repro")  # without the installation, which these tests have
SECONDS = 10.0  # and events: first guesses of what a run takes
EVENTS = 60
MISSES = 5  # runs that may end before their kill, for each kill
HANG = 600  # seconds


class Target:
    """A project, what its results must be, and how long its stages take."""

    def __init__(self, reference: Project, folder: Path) -> None:
        self.reference, self.folder = reference, folder
        self.outputs, self.lock = reference.locked(), reference.read("dvc.lock")
        self.seconds: dict[str, float] = {}
        self.events: dict[tuple[str, str], int] = {}
        self.renew()

    def renew(self) -> None:
        """Takes a new copy of the reference."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.project = self.reference.copy(self.folder)

    def start(self, stage: str, **environment: str) -> subprocess.Popen[bytes]:
        """`dvc repro` of a stage, whether it has changed or not, in a session of its own."""
        command = ["python", "-m", "dvc", "repro", "--force", "--single-item", stage]
        with (self.folder.parent / "killed.log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self.project.root,
                env={**self.project.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def fault(self) -> str | None:
        """Runs `make repro`. What is wrong with it, or with the results."""
        try:
            output = self.project.run(*REPAIR)
        except AssertionError as error:
            return f"make repro fails: {str(error).strip()[-500:]!r}"
        except subprocess.TimeoutExpired:
            return "make repro does not end"
        if "Traceback" in output:
            return f"make repro shows a traceback: {output[-300:]!r}"
        if self.project.read("dvc.lock") != self.lock:
            return "dvc.lock differs from the reference"
        return disk.different(self.project.root, self.outputs) or self.orphan()

    def orphan(self) -> str | None:
        """A process that still works in the project."""
        for process in psutil.process_iter(["cwd", "cmdline"]):
            if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(self.project.root):
                return f"still running: {' '.join(process.info['cmdline'])}"
        return None


def sweep(project: Project, random: Random, count: int, clock: Clock, scratch: Path) -> Tally:
    """Kills and repairs a copy of the project, which has been reproduced. After a failed repair it is copied anew."""
    tally = Tally("kills", count, "recovered with the reference model")
    target = Target(project, scratch / "killed")
    for _ in range(count * (1 + MISSES)):
        if clock.left <= 0 or tally.tried == count:
            break
        stage = random.choice(STAGES)
        if random.random() < 0.5:  # otherwise DVC restores what its run-cache has
            shutil.rmtree(target.project.root / ".dvc/cache/runs", ignore_errors=True)
        trial = (at_event if random.random() < 0.5 else at_moment)(target, random, stage)
        if trial is None:
            continue
        fault = target.fault()
        tally.note(trial, fault)
        if fault:
            target.renew()
    return tally


def at_event(target: Target, random: Random, stage: str) -> str | None:
    """Kills the stage, or its DVC, in the middle of a file event. The trial in words; None if it ended before."""
    victim = random.choice((stage, "dvc"))
    number = random.randint(1, target.events.get((stage, victim), EVENTS))
    count = target.folder.parent / "count"
    count.unlink(missing_ok=True)
    environment = {
        "SWEEP_FAULT": f"{victim}:kill:{number}",
        "SWEEP_COUNT": str(count),
        "PYTHONPATH": str(disk.INJECTED),
    }
    target.start(stage, **environment).wait(HANG)
    if count.exists():
        target.events[stage, victim] = int(count.read_text(encoding="ascii"))
        return None
    return f"{victim} at event {number}, in a run of {stage}"


def at_moment(target: Target, random: Random, stage: str) -> str | None:
    """Kills DVC alone, the stage alone, or both at a moment of a run. The trial in words; None if it ended before."""
    victim = random.choice(("dvc", stage, "all"))
    seconds = random.uniform(0, target.seconds.get(stage, SECONDS))
    begin = time.monotonic()
    process = target.start(stage)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    else:
        target.seconds[stage] = time.monotonic() - begin
        return None
    running = [] if victim != stage else psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif running:
            running[-1].kill()
        else:
            process.kill()
    process.wait()
    return f"{victim} after {seconds:.2f} s, in a run of {stage}"
