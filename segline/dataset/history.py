"""The epochs of a training as files: one row each in history.csv, and the best one in train.json."""

from collections.abc import Iterable, Mapping
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

    Losses are means over the batches, weighted by labelled pixels; scores are on val at the working resolution; the
    learning rate is that of the first step.
    """

    epoch: Annotated[int, Field(ge=1)]
    learning_rate: Finite
    train_loss: Finite
    val_loss: Finite
    val_accuracy: Rate
    val_miou: Rate


COLUMNS = tuple(field.name for field in fields(Epoch))


def write(path: Path, epochs: Iterable[Epoch]) -> None:
    """Writes one row per epoch. Learning rates span orders of magnitude: six significant digits, not six decimals."""
    rows = [asdict(epoch) | {"learning_rate": f"{epoch.learning_rate:.6g}"} for epoch in epochs]
    records.write_csv(path, COLUMNS, [list(row.values()) for row in rows])


def write_kept(path: Path, kept: Epoch, protocol: Mapping[str, str]) -> None:
    """Writes the losses and scores of one epoch, and how it was trained."""
    scores = {name: value for name, value in asdict(kept).items() if name != "learning_rate"}
    records.write_json(path, scores | {"protocol": dict(protocol)})
