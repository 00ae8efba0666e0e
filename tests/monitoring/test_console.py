"""The error boundary: one line, the right exit code, and a traceback only where it is asked for."""

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(body: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = (
        "from segline.monitoring import console\nfrom segline.core.errors import DataError, Problems\n"
        f"def main(argv):\n    {body}\nconsole.run(main)"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_success_is_silent_and_0():
    done = run("pass")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_a_main_may_choose_its_exit_code():
    assert run("return 2").returncode == 2


def test_an_error_of_the_user_is_one_line_without_a_traceback():
    done = run("raise DataError('a.png', 'zero bytes', 'Copy it again.')")

    assert (1, "error: a.png: zero bytes. Copy it again.\n") == (done.returncode, done.stderr)


def test_several_errors_come_a_line_each():
    done = run("raise Problems('data', [DataError(f'{i}.png', 'bad', 'Mend.') for i in range(25)])")
    lines = done.stderr.splitlines()

    assert lines[0] == "error: data: 25 problems found. Fix each, then run again."
    assert lines[1].strip() == "0.png: bad. Mend."
    assert lines[-1].strip() == "24.png: bad. Mend."
    assert len(lines) == 26


def test_an_error_in_a_stage_names_the_command_that_restores_outputs():
    done = run("raise DataError('a', 'b', 'c.')", DVC_STAGE="train")

    assert "make restore" in done.stderr


@pytest.mark.parametrize("body", ["raise KeyboardInterrupt", "raise RuntimeError('bug')", "return 1"])
def test_whatever_ends_a_stage_names_that_command(body):
    assert "make restore" in run(body, DVC_STAGE="train").stderr


def test_a_stage_that_succeeds_does_not():
    assert run("pass", DVC_STAGE="train").stderr == ""


def test_the_traceback_comes_with_segline_debug():
    assert "Traceback" in run("raise DataError('a', 'b', 'c.')", SEGLINE_DEBUG="1").stderr


def test_a_fault_of_ours_keeps_its_traceback():
    """A bug is not dressed up as a mistake of the user."""
    done = run("raise RuntimeError('bug')")

    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("open('/no/such/file')", "/no/such/file: No such file or directory"),
        ("raise OSError(28, 'No space left on device')", "No space left on device"),
        ("raise MemoryError", "MemoryError"),
    ],
)
def test_the_system_s_own_errors_are_one_line_too(body, expected):
    done = run(body)

    assert done.returncode == 1
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_is_130_and_one_line():
    done = run("raise KeyboardInterrupt")

    assert (130, "error: stopped by Ctrl-C\n") == (done.returncode, done.stderr)


BAR = """
import time
from segline.monitoring import console
with console.Steps(3, "train") as bar:
    for number in range(3):
        bar.update()
        bar.line(f"epoch {number}")
for _ in console.progress(range(3), 3, "images"):
    time.sleep(0.2)
"""


def test_piped_output_has_the_lines_and_no_bar():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", BAR], env=env, capture_output=True, text=True, check=True)

    assert (["epoch 0", "epoch 1", "epoch 2"], "") == (done.stdout.splitlines(), done.stderr)


def test_a_terminal_shows_a_bar_with_the_time_left():
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", BAR], env=env, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(controller, 4096)
            except OSError:  # what a terminal says when nobody holds its other end
                break
        process.wait()
    os.close(controller)

    assert b"epoch 2" in shown
    assert b"images" in shown
    assert b"00:0" in shown


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("return 0", 0, ""),
        ("return 1", 1, ""),
        ("raise DataError('a', 'b', 'c.')", 2, "error: a: b. c.\n"),
        ("raise OSError(28, 'No space left')", 2, "error: No space left. "),
        ("raise RuntimeError('bug')", 2, "bug"),
        ("raise KeyboardInterrupt", 130, "error: stopped by Ctrl-C\n"),
    ],
)
def test_a_verdict_that_did_not_come_about_is_neither_yes_nor_no(body, status, said):
    done = run(f"def judge():\n        {body}\n    return console.guarded(judge, fault=2)")

    assert status == done.returncode
    assert said in done.stderr
