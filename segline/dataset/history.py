"""The epochs of a training as files: history.csv with a row for each, and the one that was kept in train.json."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

from pydantic import Field

from segline.core import records

Finite = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Epoch:
    """The result of one pass over the training samples, counted from 1.

    Losses are means over the batches, weighted by their labelled pixels; scores are those on val at the working
    resolution; the learning rate is that of the first step.
    """

    epoch: Annotated[int, Field(ge=1)]
    learning_rate: Finite
    train_loss: Finite
    val_loss: Finite
    val_accuracy: Rate
    val_miou: Rate


COLUMNS = tuple(field.name for field in fields(Epoch))


def write(path: Path, epochs: Iterable[Epoch]) -> None:
    """Writes a row an epoch; a rate has its own scale, so it keeps six digits instead of six decimals."""
    rows = [asdict(epoch) | {"learning_rate": f"{epoch.learning_rate:.6g}"} for epoch in epochs]
    records.write_csv(path, COLUMNS, [list(row.values()) for row in rows])


def write_kept(path: Path, kept: Epoch) -> None:
    """Writes the losses and scores of one epoch."""
    records.write_json(path, {name: value for name, value in asdict(kept).items() if name != "learning_rate"})
