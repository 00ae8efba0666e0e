"""What people and MLflow see of a training while it runs. It only observes: no output depends on this file."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Self

from segline.dataset.history import Epoch
from segline.monitoring import console, mlflow_run


class Progress:
    """A bar of steps with the time left in a terminal; a line and a row of metrics an epoch.

    An epoch is `steps` steps over `images` images. `past` are the epochs that an interrupted training had completed:
    their metrics are logged again. `gpu_memory` gives the metrics of a GPU's memory, if there is one.
    """

    def __init__(
        self,
        run: mlflow_run.Run,
        *,
        epochs: int,
        steps: int,
        images: int,
        past: Iterable[Epoch],
        gpu_memory: Callable[[], Mapping[str, float]],
    ) -> None:
        self._run, self._epochs, self._images, self._gpu_memory = run, epochs, images, gpu_memory
        done = list(past)
        for epoch in done:
            run.metrics(metrics(epoch), step=epoch.epoch)
        self._bar = console.Steps(epochs * steps, "train", done=len(done) * steps)
        self._began = self._stepped = time.perf_counter()

    def step_done(self) -> None:
        """One more step is done."""
        self._bar.update()
        self._stepped = time.perf_counter()

    def epoch_done(self, epoch: Epoch) -> None:
        """An epoch is done, its validation included, which does not count in the rate."""
        rate = self._images / (self._stepped - self._began)
        self._bar.line(line(epoch, self._epochs, rate))
        self._run.metrics({**metrics(epoch), "images_per_second": rate, **self._gpu_memory()}, step=epoch.epoch)
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.__exit__(*exception)


def metrics(epoch: Epoch) -> dict[str, Any]:
    """The columns of `history.csv` other than the epoch itself, for MLflow."""
    return {name: value for name, value in asdict(epoch).items() if name != "epoch"}


def line(epoch: Epoch, num_epochs: int, rate: float) -> str:
    """What people read as an epoch ends; `rate` is in training images a second."""
    return (
        f"epoch {epoch.epoch}/{num_epochs}: train loss {epoch.train_loss:.4f}, val loss {epoch.val_loss:.4f},"
        f" accuracy {epoch.val_accuracy:.4f}, mIoU {epoch.val_miou:.4f}, {rate:.1f} images/s"
    )
