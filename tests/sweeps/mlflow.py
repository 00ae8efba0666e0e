"""Tracking servers that are down, silent, broken or closed: a warning, a few seconds, and the same bytes."""

import shlex
import time
from pathlib import Path

import yaml

from segline.reproducibility import dvc_lock
from tests import servers
from tests.e2e.project import Project
from tests.sweeps import disk
from tests.sweeps.tally import Clock, Random, Tally

KINDS = (servers.DOWN, servers.SILENT, servers.BROKEN, servers.LOG_IN)
STAGES = ("train", "evaluate", "plot")  # those that log
SECONDS = 10  # that an outage may add


def sweep(project: Project, random: Random, count: int, clock: Clock, scratch: Path) -> Tally:
    """Runs a stage of a copy of the project while its server is away."""
    tally = Tally("MLflow outages", count, "with a warning and the same bytes")
    copy = project.copy(scratch / "mlflow")
    locked = dvc_lock.stages(copy.root)
    commands = {
        name: shlex.split(each["cmd"]) for name, each in yaml.safe_load(copy.read("dvc.lock"))["stages"].items()
    }
    usual: dict[str, float] = {}
    for _ in range(count):
        if clock.left <= 0:
            break
        stage, kind = random.choice(STAGES), random.choice(KINDS)
        if stage not in usual:
            usual[stage], _ = timed(copy, commands[stage], {})
        with servers.outage(kind) as address:
            tracking = {"SEGLINE_TRACKING": "on", "MLFLOW_TRACKING_URI": f"http://{address}"}
            seconds, said = timed(copy, commands[stage], tracking)
        fault = disk.different(copy.root, locked[stage].outputs)
        if not fault and ("warning: " not in said or "Traceback" in said):
            fault = f"says {said!r}"
        if not fault and seconds > 2 * usual[stage] + SECONDS + 5:  # a busy machine, and the start of MLflow's process
            fault = f"takes {seconds:.1f} s instead of {usual[stage]:.1f} s"
        tally.note(f"{kind}, during {stage}", fault)
    return tally


def timed(project: Project, command: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Seconds that the command takes, and what it says."""
    begin = time.monotonic()
    said = project.run(*command, **environment)
    return time.monotonic() - begin, said
