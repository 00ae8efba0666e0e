"""The child process of `tracking`: here MLflow can be slow, absent or wrong without the stage noticing.

Standard input brings one JSON object a line, first the opening, then what to log; its end is the end of the run.
Standard output takes back why something could not be logged; what MLflow itself prints goes nowhere.
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

SAMPLE_SECONDS = 1.0  # MLflow's default is 10 s, which leaves a short run without a single sample
RETRY_SECONDS = 5.0


class Inbox:
    """What the stage sent. A thread reads it, so that the end is known even while MLflow holds the main one."""

    def __init__(self) -> None:
        self.opening: Message = json.loads(sys.stdin.readline())
        self.ended = threading.Event()
        self.status = "KILLED"  # unless the stage says otherwise before the pipe closes
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            if not line.endswith("\n"):  # the stage was killed while it wrote
                break
            message = json.loads(line)
            self.status = message.get("status", self.status)
            self._messages.put(message)
        self.ended.set()
        self._messages.put(None)
        time.sleep(self.opening["patience"])
        os._exit(1)  # MLflow holds the main thread, and the stage may be gone, so that nobody else would end this

    def take(self, seconds: float | None) -> tuple[list[Message], bool]:
        """All messages that wait, after at most `seconds` for the first; and whether these were the last."""
        taken: list[Message | None] = []
        with suppress(queue.Empty):
            taken.append(self._messages.get(timeout=seconds))
            while True:
                taken.append(self._messages.get_nowait())
        return [message for message in taken if message is not None], None in taken


class Patience:
    """Calls the store again while it is away and the stage goes on. After the stage's end a failure is final."""

    def __init__(self, inbox: Inbox, is_refusal: Callable[[Exception], bool], report: Callable[[str], None]) -> None:
        self._ended = inbox.ended
        self._is_refusal = is_refusal
        self.report = report

    def need(self, action: Callable[[], Result]) -> Result:
        """What `action` returns at its first success. Ends the process if the stage ends before that."""
        while True:
            try:
                return action()
            except Exception as error:  # noqa: BLE001 - MLflow and its plugins raise anything, and here nothing may stop
                self._wait(error)

    def attempt(self, action: Callable[[], Any]) -> None:
        """As `need`, but an action that the store refuses is given up, and the next ones go on."""
        while True:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - as above
                if not self._is_refusal(error):
                    self._wait(error)
                    continue
                self.report(_reason(error))
            return

    def _wait(self, error: Exception) -> None:
        final = self._ended.is_set()
        self.report(_reason(error))
        if final:
            sys.exit(1)
        self._ended.wait(RETRY_SECONDS)


def _reason(error: BaseException) -> str:
    """The innermost cause: MLflow wraps `Connection refused` in four layers of text."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return _reason(cause) if cause else str(error) or type(error).__name__


def _opened(store: ModuleType, opening: Message, patience: Patience) -> tuple[str, bool]:
    """The id of the run, and whether it is another stage's; the first facts about this stage are logged."""
    uri, stage, model = opening["uri"], opening["stage"], opening["model"]
    digest = store.sha256(Path(model)) if model else None
    found = patience.need(lambda: store.newest_run(uri, digest)) if digest else None
    tags = store.origin()
    own = {"model.sha256": digest} if digest else {}
    run_id = found or patience.need(lambda: store.new_run(uri, stage, opening["network"], tags | own))
    hashes = {f"input.{name}": store.sha256(Path(path)) for name, path in opening["inputs"].items()}
    tags |= {name: value for name, value in hashes.items() if value}
    if model:  # The tags of train stay as they are; and a parameter cannot be logged twice, but evaluate can run twice.
        first = {"tags": {f"{stage}.{name}": value for name, value in tags.items()} | opening["params"]}
    else:
        first = {"tags": tags, "params": opening["params"]}
    for call in store.calls(uri, run_id, [first]):
        patience.attempt(call)
    return run_id, found is not None


def _follow(store: ModuleType, inbox: Inbox, patience: Patience) -> None:
    """Logs what comes, with a sample of the machine at the start of training, every second, and at its end."""
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
    if joined:  # a training that went well is not FAILED because its evaluation was
        messages = [{"tags": {f"{stage}.status": inbox.status}}]
        patience.need(next(store.calls(uri, run_id, messages)))
    else:
        patience.need(lambda: store.end_run(uri, run_id, inbox.status))


def main() -> None:
    """Serves one run. What could not be logged has been told when it returns."""
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
    os._exit(0)  # all is stored; MLflow's exit handlers would keep the stage waiting for another 0.4 s
