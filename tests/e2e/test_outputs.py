"""Outputs are the same bytes in another folder, with and without tracking, in a terminal and in a pipe.

So `cli` and `tracking`, which see the terminal, the folder and MLflow, need not be dependencies of the stages.
"""

import os
import pty
import socket
import sqlite3
import subprocess
import termios
from contextlib import closing

import pytest

from tests.e2e.project import SECONDS, Project, stages_run
from tests.e2e.reruns import STAGES

pytestmark = pytest.mark.slow


def test_another_folder_gives_the_same_bytes(reproduced, fresh):
    assert list(STAGES) == stages_run(fresh.dvc("repro"))
    assert reproduced.locked() == fresh.locked()


def test_tracking_in_a_database_gives_the_same_bytes(reproduced, fresh):
    """The default store: mlflow.db beside dvc.yaml."""
    output = fresh.dvc("repro", SEGLINE_TRACKING="on")
    with closing(sqlite3.connect(fresh.root / "mlflow.db")) as database:
        runs = database.execute("select status from runs").fetchall()
        scores = {name for (name,) in database.execute("select distinct key from metrics")}

    assert "warning" not in output
    assert [("FINISHED",)] == runs
    assert {"train_loss", "test.miou"} <= scores, "train and evaluate both told MLflow"
    assert reproduced.locked() == fresh.locked()
    assert "mlflow" not in fresh.git("status", "--short")


def test_a_tracking_server_that_is_down_gives_the_same_bytes(reproduced, fresh):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{closed.getsockname()[1]}"
        output = fresh.dvc("repro", SEGLINE_TRACKING="on", MLFLOW_TRACKING_URI=server)

    assert 3 == output.count(f"warning: MLflow at {server}"), "train, evaluate and plot each try, and say so"
    assert "Traceback" not in output
    assert reproduced.locked() == fresh.locked()


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
