"""Rows and numbers -> CSV and JSON with stable bytes, and back. Knows nothing about their meaning."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segline.core import atomic
from segline.core.errors import DataError

DIGITS = 6


def rounded(value: Any) -> Any:
    """`value` with every float in it at 6 decimals. Raises ValueError on NaN or infinity: a record is finite."""
    if isinstance(value, Mapping):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a record must be finite, got {value}")
        return round(value, DIGITS) + 0.0  # + 0.0 turns -0.0 into 0.0
    return value


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Sorted keys, 6 decimals, newline at the end: equal content gives equal bytes."""
    text = json.dumps(rounded(content), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with atomic.file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(path, "missing", "Run dvc repro.") from None
    except ValueError as error:
        raise DataError(path, f"not JSON ({error})", "Rebuild it: dvc repro.") from None


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Comma-separated, header first, floats at 6 decimals, None as an empty field, Unix line ends."""
    with atomic.file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_field(value) for value in row] for row in rows)


def _field(value: Any) -> str:
    if value is None:
        return ""
    return f"{rounded(value):.{DIGITS}f}" if isinstance(value, float) else str(value)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as text by column. Raises DataError if it is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        raise DataError(path, "missing", "Run dvc repro.") from None
