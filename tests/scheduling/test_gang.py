"""A process on a node, as the actor beside it sees it: without Ray."""

import os
import signal

from segline.scheduling.gang import Runner


def end(runner: Runner) -> tuple[int, bytes, bytes]:
    """Its exit status and everything that it said."""
    out, err, status = b"", b"", None
    while status is None:
        status, more_out, more_err = runner.look()
        out, err = out + more_out, err + more_err
    return status, out, err


def test_what_a_process_says_and_how_it_ends_is_seen(tmp_path):
    says = "import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(3)"

    assert (3, b"one\n", b"two\n") == end(Runner(["-c", says], str(tmp_path), {}))


def test_nothing_is_said_twice(tmp_path):
    slow = "import time; print('one', flush=True); time.sleep(1.5); print('two')"

    assert (0, b"one\ntwo\n", b"") == end(Runner(["-c", slow], str(tmp_path), {}))


def test_it_runs_in_the_folder_with_the_variables_and_knows_whom_not_to_outlive(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    facts = "import os; print(os.getcwd(), *map(os.environ.get, ['A', 'SEGLINE_PARENT', 'RAY_ADDRESS']))"
    _, out, _ = end(Runner(["-c", facts], str(tmp_path), {"A": "b"}))

    assert f"{tmp_path} b {os.getpid()} None\n" == out.decode()


def test_a_signal_reaches_it(tmp_path):
    runner = Runner(["-c", "import time; time.sleep(300)"], str(tmp_path), {})
    runner.signal(signal.SIGKILL)

    assert -signal.SIGKILL == end(runner)[0]
    runner.signal(signal.SIGTERM)  # it has ended already, which is no error
