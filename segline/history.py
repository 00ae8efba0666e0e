"""The epochs of a training as files: a table of all, and the one that was kept as JSON."""

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from segline import records
from segline.state import Epoch

COLUMNS = tuple(field.name for field in fields(Epoch))


def write(path: Path, epochs: Iterable[Epoch]) -> None:
    """Writes a row an epoch; a rate has its own scale, so it keeps six digits instead of six decimals."""
    rows = [asdict(epoch) | {"learning_rate": f"{epoch.learning_rate:.6g}"} for epoch in epochs]
    records.write_csv(path, COLUMNS, [list(row.values()) for row in rows])


def write_kept(path: Path, kept: Epoch) -> None:
    """Writes the losses and scores of one epoch."""
    records.write_json(path, {name: value for name, value in asdict(kept).items() if name != "learning_rate"})
