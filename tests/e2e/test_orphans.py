"""Whoever started a stage may be killed alone: the stage must not run on, and the next run must not collide with it."""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
import yaml

from tests.e2e.project import Project

pytestmark = pytest.mark.slow

SECONDS = 60
SLOW = """

_quick = {name}


def {name}(*arguments, **options):
    import pathlib, time

    pathlib.Path({folder!r}, "started").touch()
    while pathlib.Path({folder!r}, "wait").exists():
        time.sleep(0.05)
    return _quick(*arguments, **options)
"""


class Slow:
    """A project in which a function waits as long as a file exists."""

    def __init__(self, project: Project, file: str, name: str) -> None:
        self.project = project
        self.folder = project.root.parent / "signals"
        self.folder.mkdir()
        (self.folder / "wait").touch()
        project.append(file, SLOW.format(name=name, folder=str(self.folder)))

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """The command, once it has called the function."""
        env = {**self.project.environment, **environment}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started = subprocess.Popen(command, cwd=self.project.root, env=env, text=True, **pipes)
        until((self.folder / "started").exists)
        return started

    def proceed(self) -> None:
        """Lets the function return."""
        (self.folder / "wait").unlink()

    def processes(self, *folders: Path) -> list[str]:
        """Commands of the processes that work in the project, or in or below these folders."""
        return [
            " ".join(each.info["cmdline"])
            for each in psutil.process_iter(["cmdline", "cwd"])
            if each.info["cwd"]
            and any(Path(each.info["cwd"]).is_relative_to(f) for f in folders or [self.project.root])
        ]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def slow_plot(project: Project) -> Slow:
    return Slow(project, "segline/reporting/pictures.py", "write")


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_ends_with_the_dvc_that_started_it(slow_plot, shell):
    """A shell may stand between the two; dash does, bash becomes the stage."""
    if not Path(shell).exists():
        pytest.skip(f"no {shell} here")
    dvc = slow_plot.start("python", "-m", "dvc", "repro", "plot", SHELL=shell)
    partial = slow_plot.project.root / "metrics/.plots.partial"
    assert partial.exists()
    dvc.kill()
    output = dvc.communicate()[0]

    until(lambda: slow_plot.processes() == [])
    assert "error: stopped by SIGTERM\nto bring the last good outputs back: make restore\n" in output
    assert not partial.exists()
    slow_plot.proceed()
    slow_plot.project.dvc("repro")
    assert set() == slow_plot.project.changed()


def test_a_stage_waits_until_an_earlier_run_of_it_has_ended(slow_plot):
    """One that its DVC's death has not ended yet, or that a user started by hand."""
    command = yaml.safe_load(slow_plot.project.read("dvc.lock"))["stages"]["plot"]["cmd"].split()
    orphan = slow_plot.start(*command, DVC_STAGE="plot")
    rerun = slow_plot.start("python", "-m", "dvc", "repro", "plot")
    lines = read_until(rerun, "plot: waiting until an earlier run of this stage has ended\n")
    slow_plot.proceed()

    assert (0, "") == (orphan.wait(SECONDS), orphan.communicate()[0].partition("plot: ")[0])
    assert "plot: " in rerun.communicate()[0]
    assert (0, []) == (rerun.returncode, [line for line in lines if "error" in line.lower()])
    assert set() == slow_plot.project.changed()


def read_until(process: subprocess.Popen[str], line: str) -> Sequence[str]:
    assert process.stdout
    lines = [process.stdout.readline()]
    while lines[-1] != line:
        assert lines[-1], "".join(lines)
        lines.append(process.stdout.readline())
    return lines


def test_noise_that_is_terminated_leaves_no_training_and_no_temporary_folder(project):
    slow = Slow(project, "segline/training/losses.py", "cross_entropy")
    project.dvc("commit", "--force")
    temporary = slow.folder / "temporary"
    temporary.mkdir()
    noise = slow.start("python", "-m", "segline", "noise", TMPDIR=str(temporary))
    noise.terminate()
    output = noise.communicate()[0]

    until(lambda: slow.processes(project.root, temporary) == [])
    assert (143, []) == (noise.returncode, list(temporary.glob("segline-*")))
    assert "error: stopped by SIGTERM" in output.splitlines()
    assert "Traceback" not in output
