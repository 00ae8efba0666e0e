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
    done = run("raise Problems('data', [DataError(f'{i}.png', 'bad', 'Fix it.') for i in range(25)])")
    lines = done.stderr.splitlines()

    assert lines[0] == "error: data: 25 problems found. Fix each, then run again."
    assert lines[1].strip() == "0.png: bad. Fix it."
    assert lines[-1].strip() == "24.png: bad. Fix it."
    assert len(lines) == 26


def test_an_error_in_a_stage_names_the_command_that_restores_outputs():
    done = run("raise DataError('a', 'b', 'c.')", DVC_STAGE="train")

    assert "make restore" in done.stderr


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("open('/dev/full', 'w').write('x' * 99999)", "No space left on device. The disk is full: free some space"),
        (
            "raise OSError(122, 'Disk quota exceeded', 'model')",
            "model: Disk quota exceeded. Your disk quota is used up",
        ),
        (
            "raise OSError(24, 'Too many open files', 'a.png')",
            "a.png: Too many open files. This session limits the number",
        ),
        ("raise OSError(13, 'Permission denied', 'model')", "model: Permission denied. Check the permissions"),
        ("raise OSError(36, 'File name too long', b'a.png')", "a.png: File name too long. Choose a shorter name."),
        ("raise OSError(5, 'Input/output error', 'a.png')", "a.png: Input/output error. The disk or network share"),
        ("raise OSError('9 requested and 3 written')", "9 requested and 3 written. Check the path"),
    ],
)
def test_an_error_of_the_system_says_what_to_do_about_that_error(body, expected):
    done = run(body)

    assert (1, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert f"error: {expected}" in done.stderr


FULL = """
import sys
from pathlib import Path
from segline.core import atomic
from segline.monitoring import console
def main(argv):
    with atomic.file(Path(argv[0])) as temporary:
        temporary.write_bytes(b"abc")
        Path("/dev/full").write_bytes(b"x")
console.run(main, sys.argv[1:])
"""


def test_a_full_disk_names_the_file_and_what_was_wanted(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "model"], env=env, capture_output=True, text=True, check=False
    )
    problem = "No space left on device after 3 bytes. The disk is full: free some space, then run again."

    assert f"error: {tmp_path / 'model'}: {problem}\n" == done.stderr


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


def test_sigterm_is_143_and_one_line_after_all_is_cleaned_up():
    body = "import os\n    try: os.kill(os.getpid(), 15)\n    finally: print('cleaned up')"
    done = run(body)

    assert (143, "cleaned up\n", "error: stopped by SIGTERM\n") == (done.returncode, done.stdout, done.stderr)


def test_a_signal_that_was_ignored_from_the_start_stays_ignored():
    """As under nohup, or in the background of a script."""
    code = "import signal, subprocess, sys; signal.signal(2, signal.SIG_IGN); sys.exit(subprocess.call(sys.argv[1:]))"
    child = "import os\nfrom segline.monitoring import console\nconsole.run(lambda _: os.kill(os.getpid(), 2))"
    command = [sys.executable, "-c", code, sys.executable, "-c", child]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)

    assert 0 == done.returncode


@pytest.mark.parametrize("stage", ["download", "preprocess", "train", "evaluate", "plot"])
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_during_the_first_import_from_elsewhere_is_the_same_sentence(tmp_path, stage, name, status):
    (tmp_path / "tqdm.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{name})", encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "DVC_STAGE": stage}
    command = [sys.executable, "-m", f"stages.{stage}"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    sentence = "stopped by Ctrl-C" if name == "SIGINT" else "stopped by SIGTERM"
    assert [f"error: {sentence}", "to bring the last good outputs back: make restore"] == done.stderr.splitlines()
    assert status == done.returncode


def test_a_process_ends_with_the_one_that_it_must_not_outlive():
    """That one may be dead before the process looks for it."""
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    done = run("import time\n    time.sleep(60)", SEGLINE_PARENT=str(parent.pid))

    assert (143, "error: stopped by SIGTERM\n") == (done.returncode, done.stderr)


def test_an_import_of_a_stage_by_another_program_handles_no_signal():
    code = "import signal, stages.download; print(signal.getsignal(2) is signal.default_int_handler)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )

    assert "True\n" == done.stdout


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
