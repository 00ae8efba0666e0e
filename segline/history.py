"""What the epochs of a training came to: a table, the kept one as JSON, metrics for MLflow, lines to read."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segline import records
from segline.state import Epoch

COLUMNS = ("epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou")


def write(path: Path, epochs: Iterable[Epoch]) -> None:
    """Writes a row an epoch; a rate has its own scale, so it keeps six digits instead of six decimals."""
    rows = [asdict(epoch) | {"learning_rate": f"{epoch.learning_rate:.6g}"} for epoch in epochs]
    records.write_csv(path, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])


def write_kept(path: Path, kept: Epoch) -> None:
    """Writes the losses and scores of one epoch."""
    records.write_json(path, {name: value for name, value in asdict(kept).items() if name != "learning_rate"})


def metrics(epoch: Epoch) -> dict[str, Any]:
    """The columns of `history.csv` other than the epoch itself, for MLflow."""
    return {name: value for name, value in asdict(epoch).items() if name != "epoch"}


def line(epoch: Epoch, num_epochs: int, rate: float) -> str:
    """What people read as an epoch ends; `rate` is in training images a second."""
    return (
        f"epoch {epoch.epoch}/{num_epochs}: train loss {epoch.train_loss:.4f}, val loss {epoch.val_loss:.4f},"
        f" accuracy {epoch.val_accuracy:.4f}, mIoU {epoch.val_miou:.4f}, {rate:.1f} images/s"
    )
