"""Outputs are the same bytes in another folder, with and without tracking, in a terminal and in a pipe.

So `cli`, `progress` and `tracking`, which see the terminal, the clock, the folder and MLflow, need not be dependencies
of the stages.
"""

import os
import pty
import subprocess
import termios

import pytest

from tests import servers
from tests.e2e.project import SECONDS, Project, stages_run
from tests.e2e.reruns import STAGES

pytestmark = pytest.mark.slow


def test_another_folder_gives_the_same_bytes(reproduced, fresh):
    assert list(STAGES) == stages_run(fresh.dvc("repro"))
    assert reproduced.locked() == fresh.locked()


def test_tracking_in_a_database_gives_the_same_bytes(reproduced, tracked):
    """The default store: mlflow.db beside dvc.yaml. What it holds: test_mlflow.py."""
    assert (tracked.root / "mlflow.db").is_file()
    assert reproduced.locked() == tracked.locked()
    assert "" == tracked.git("ls-files", "mlflow*", "mlruns"), "git ignores the store"


@pytest.mark.parametrize("kind", [servers.DOWN, servers.SILENT, servers.BROKEN])
def test_an_outage_of_the_tracking_server_gives_the_same_bytes(reproduced, project, kind):
    """The stages that track are run anew. What an outage may cost them in time: tests/monitoring/test_mlflow_run.py."""
    stages = ["train", "evaluate", "plot"]
    with servers.outage(kind) as address:
        server = f"http://{address}"
        switches = {"SEGLINE_TRACKING": "on", "MLFLOW_TRACKING_URI": server}
        output = project.dvc("repro", "--force", "--single-item", *stages, **switches)

    assert stages == stages_run(output)
    assert len(stages) == output.count(f"warning: MLflow at {server}"), "each tries, and says so once"
    assert "Traceback" not in output
    assert reproduced.locked() == project.locked()


def in_a_terminal(project: Project, *command: str) -> str:
    """What the command shows in a terminal."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    with subprocess.Popen(
        command, cwd=project.root, env=dict(project.environment), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = bytearray()
        while piece := _read(ours):
            shown += piece
        assert process.wait(timeout=SECONDS) == 0, shown.decode()
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says EIO when the last program has closed the terminal
        return b""


def test_a_terminal_gives_the_same_bytes(reproduced, fresh):
    shown = in_a_terminal(fresh, "python", "-m", "dvc", "repro")

    assert "train:   0%|" in shown, "no progress bar: this was no terminal"
    assert reproduced.locked() == fresh.locked()
