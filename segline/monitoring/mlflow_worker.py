"""The child process of `mlflow_run`: here MLflow can be slow, absent or wrong without the stage noticing.

Standard input: one JSON object a line, first the opening, then what to log; its end is the end of the run.
Standard output: why something could not be logged. What MLflow itself prints does not get there.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

Message = dict[str, Any]
Result = TypeVar("Result")

SAMPLE_SECONDS = 1.0  # MLflow's default is 10 s, which leaves a short run without any sample
RETRY_SECONDS = 5.0


class Inbox:
    """Messages from the stage. A thread reads them, so that their end is noticed even while MLflow blocks the main one.

    If the main thread is still blocked when the stage's patience is over, the process ends: the stage may be gone, and
    nobody else would end it.
    """

    def __init__(self) -> None:
        self.opening: Message = json.loads(sys.stdin.readline())
        self.ended = threading.Event()
        self.status = "KILLED"  # unless the stage says otherwise before the pipe closes
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            if not line.endswith("\n"):  # the stage was killed while writing
                break
            message = json.loads(line)
            self.status = message.get("status", self.status)
            self._messages.put(message)
        self.ended.set()
        self._messages.put(None)
        time.sleep(self.opening["patience"])
        os._exit(1)

    def take(self, seconds: float | None) -> tuple[list[Message], bool]:
        """All waiting messages, after at most `seconds` for the first; and whether they were the last."""
        taken: list[Message | None] = []
        with suppress(queue.Empty):
            taken.append(self._messages.get(timeout=seconds))
            while True:
                taken.append(self._messages.get_nowait())
        return [message for message in taken if message is not None], None in taken


class Patience:
    """Repeats calls to a store that is away, as long as the stage runs. After the stage's end a failure is final."""

    def __init__(self, inbox: Inbox, is_refusal: Callable[[Exception], bool], report: Callable[[str], None]) -> None:
        self._ended = inbox.ended
        self._is_refusal = is_refusal
        self.report = report

    def need(self, action: Callable[[], Result]) -> Result:
        """The result of `action` when it first succeeds. Ends the process if the stage ends before that."""
        while True:
            try:
                return action()
            except Exception as error:  # noqa: BLE001 - MLflow and its plugins raise anything; none of it may stop us
                self._wait(error)

    def attempt(self, action: Callable[[], Any]) -> None:
        """As `need`, but drops an action that the store refuses: the next ones are still done."""
        while True:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - as above
                if not self._is_refusal(error):
                    self._wait(error)
                    continue
                self.report(reason(error))
            return

    def _wait(self, error: Exception) -> None:
        final = self._ended.is_set()
        self.report(reason(error))
        if final:
            sys.exit(1)
        self._ended.wait(RETRY_SECONDS)


def reason(error: BaseException) -> str:
    """The innermost cause: MLflow wraps `Connection refused` in four layers of text."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return reason(cause) if cause else str(error) or type(error).__name__


def _opened(store: ModuleType, opening: Message, patience: Patience) -> tuple[str, bool]:
    """The id of the run, with this stage's first facts logged; and whether another stage opened it."""
    uri, stage, model = opening["uri"], opening["stage"], opening["model"]
    digest = store.sha256(Path(model)) if model else None
    joined = patience.need(lambda: store.newest_run(uri, digest)) if digest else None
    tags = store.origin()
    own = {"model.sha256": digest} if digest else {}
    run_id = joined or patience.need(lambda: store.new_run(uri, stage, opening["network"], tags | own))
    hashes = {f"input.{name}": store.sha256(Path(path)) for name, path in opening["inputs"].items()}
    tags |= {name: value for name, value in hashes.items() if value}
    if model:  # train's own tags stay; and parameters become tags, since evaluate may run again with other values
        first = {"tags": {f"{stage}.{name}": value for name, value in tags.items()} | opening["params"]}
    else:
        first = {"tags": tags, "params": opening["params"]}
    for call in store.calls(uri, run_id, [first]):
        patience.attempt(call)
    return run_id, joined is not None


def _follow(store: ModuleType, inbox: Inbox, patience: Patience) -> None:
    """Logs the messages; during training also samples the machine at the start, every second, and at the end."""
    from segline.monitoring import system_metrics  # noqa: PLC0415 - it imports MLflow

    uri, stage = inbox.opening["uri"], inbox.opening["stage"]
    run_id, joined = _opened(store, inbox.opening, patience)
    sample = None if inbox.opening["model"] else system_metrics.sampler(run_id, patience.report)
    messages, step, last = [sample(0)] if sample else [], 1, False
    due = time.monotonic() + SAMPLE_SECONDS
    while True:
        for call in store.calls(uri, run_id, messages):
            patience.attempt(call)
        if last:
            break
        messages, last = inbox.take(max(0.0, due - time.monotonic()) if sample else None)
        if sample and (last or time.monotonic() >= due):
            messages.append(sample(step))
            step, due = step + 1, time.monotonic() + SAMPLE_SECONDS
    if joined:  # a training that succeeded is not FAILED because its evaluation is
        messages = [{"tags": {f"{stage}.status": inbox.status}}]
        patience.need(next(store.calls(uri, run_id, messages)))
    else:
        patience.need(lambda: store.end_run(uri, run_id, inbox.status))


def main() -> None:
    """Serves one run, and reports whatever could not be logged."""
    reports = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(reason: str) -> None:
        with suppress(OSError):  # the stage may be gone
            print(" ".join(reason.split())[:500], file=reports, flush=True)

    inbox = Inbox()
    try:
        from segline.monitoring import mlflow_calls as store  # noqa: PLC0415 - MLflow takes 1 s, and may be missing
    except ImportError as error:
        report(str(error))
        return
    patience = Patience(inbox, store.is_refusal, report)
    if inbox.opening["stage"] is None:
        patience.need(lambda: store.experiment(inbox.opening["uri"]))
    else:
        _follow(store, inbox, patience)


if __name__ == "__main__":
    main()
    os._exit(0)  # everything is stored; MLflow's exit handlers would keep the stage waiting for another 0.4 s
