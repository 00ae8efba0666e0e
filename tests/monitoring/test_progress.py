"""What people and MLflow see of a training while it runs."""

import pytest

from segline.dataset import history
from segline.dataset.history import Epoch
from segline.monitoring import console, progress

FIRST = Epoch(1, 0.0000123456789, 1.5, 1.25, 0.5, 0.25)
SECOND = Epoch(2, 0.008, 1.0, 1.125, 0.6666666666, 0.375)


class Recorded:
    """A run that records what is logged."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        self.rows[step] = values


def test_metrics_are_the_columns_of_the_table_but_the_epoch() -> None:
    assert set(history.COLUMNS) - {"epoch"} == progress.metrics(FIRST).keys()


def test_a_line_tells_how_far_it_is_and_how_fast() -> None:
    expected = "epoch 2/16: train loss 1.0000, val loss 1.1250, accuracy 0.6667, mIoU 0.3750, 32.8 images/s"
    assert expected == progress.line(SECOND, 16, 32.77)


def test_an_epoch_is_a_line_and_a_row_and_its_rate_leaves_validation_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 2.0, 4.0, 100.0, 101.0, 102.0, 200.0])  # begun, two steps, the next epoch begins, and so on
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    memory = {"gpu/peak_memory_mb": 7.0}
    run = Recorded()
    with progress.Progress(run, epochs=16, steps=2, images=32, past=[], gpu_memory=lambda: memory) as seen:
        seen.step_done()
        seen.step_done()
        seen.epoch_done(FIRST)
        seen.step_done()
        seen.step_done()
        seen.epoch_done(SECOND)

    lines = [progress.line(FIRST, 16, 8.0), progress.line(SECOND, 16, 16.0)]
    assert lines == capsys.readouterr().out.splitlines()
    assert run.rows == {
        1: progress.metrics(FIRST) | memory | {"images_per_second": 8.0},
        2: progress.metrics(SECOND) | memory | {"images_per_second": 16.0},
    }


def test_the_epochs_of_an_interrupted_training_are_logged_again_and_the_bar_begins_after_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, bars = Recorded(), []

    class Steps(console.Steps):
        def __init__(self, total: int, description: str, done: int = 0) -> None:
            super().__init__(total, description, done)
            bars.append((done, total))

        def __exit__(self, *exception: object) -> None:
            super().__exit__(*exception)
            bars.append("closed")

    monkeypatch.setattr(console, "Steps", Steps)
    with progress.Progress(run, epochs=16, steps=8, images=32, past=[FIRST, SECOND], gpu_memory=dict):
        assert [(2 * 8, 16 * 8)] == bars

    assert bars[1:] == ["closed"]
    assert run.rows == {1: progress.metrics(FIRST), 2: progress.metrics(SECOND)}
