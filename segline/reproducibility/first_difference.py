"""Two files or folders with different bytes -> the first difference in words, as detailed as their format allows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from segline.core import records

SAME = "equal values, other bytes"


def between(made: Path, expected: Path) -> str:
    """The first difference, such as "epoch 2: train_loss is 0.51 instead of 0.52". One line."""
    if made.is_dir() and expected.is_dir():
        return _folders(made, expected)
    kinds = {".safetensors": _tensors, ".csv": _tables, ".json": _documents, ".npy": _arrays, ".png": _pictures}
    return kinds.get(made.suffix, _texts)(made, expected)


def _folders(made: Path, expected: Path) -> str:
    actual, recorded = (
        {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        for folder in (made, expected)
    )
    for names, what in ((recorded.keys() - actual.keys(), "missing"), (actual.keys() - recorded.keys(), "unexpected")):
        if names:
            return f"{len(names)} of {len(recorded)} files {what}, the first is {min(names)}"
    changed = [name for name in actual if actual[name].read_bytes() != recorded[name].read_bytes()]
    changed.sort(key=lambda name: (name.endswith(".json"), name))  # an index contains the digests of other files
    return f"{len(changed)} of {len(actual)} files, the first is {changed[0]}: " + between(
        actual[changed[0]], recorded[changed[0]]
    )


def _tensors(made: Path, expected: Path) -> str:
    with safe_open(made, framework="pt") as actual, safe_open(expected, framework="pt") as recorded:
        names = list(recorded.keys())
        if names != list(actual.keys()):
            return f"other tensors, the first is {min(set(names) ^ set(actual.keys()))}"
        lines = []
        for name in names:
            one, other = actual.get_tensor(name), recorded.get_tensor(name)
            if one.shape != other.shape or one.dtype != other.dtype:
                lines.append(f"{name} is {one.dtype} {tuple(one.shape)} instead of {other.dtype} {tuple(other.shape)}")
            elif not torch.equal(one, other):
                lines.append(f"{name}, by up to {float((one.double() - other.double()).abs().max()):.3g}")
        if lines:
            return f"{len(lines)} of {len(names)} tensors, the first is {lines[0]}"
        return "equal tensors, other metadata" if actual.metadata() != recorded.metadata() else SAME


def _tables(made: Path, expected: Path) -> str:
    """The first row and column that differ: in history.csv, the epoch and the metric."""
    actual, recorded = records.read_csv(made), records.read_csv(expected)
    for row, other in zip(actual, recorded, strict=False):
        if list(row) != list(other):
            return f"columns {', '.join(row)} instead of {', '.join(other)}"
        label = next(iter(other))
        for column in other:
            if row[column] != other[column]:
                return f"{label} {other[label]}: {column} is {row[column]} instead of {other[column]}"
    return SAME if len(actual) == len(recorded) else f"{len(actual)} rows instead of {len(recorded)}"


def _documents(made: Path, expected: Path) -> str:
    actual, recorded = (dict(_leaves(records.read_json(path))) for path in (made, expected))
    for key in (*recorded, *actual):
        one, other = (json.dumps(values[key]) if key in values else "missing" for values in (actual, recorded))
        if one != other:
            return f"{key} is {one} instead of {other}"
    return SAME


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _arrays(made: Path, expected: Path) -> str:
    """Row by row: an array may be larger than memory."""
    actual, recorded = np.load(made, mmap_mode="r"), np.load(expected, mmap_mode="r")
    if (actual.shape, actual.dtype) != (recorded.shape, recorded.dtype):
        return f"{actual.dtype} {actual.shape} instead of {recorded.dtype} {recorded.shape}"
    rows = [i for i, (one, other) in enumerate(zip(actual, recorded, strict=True)) if not np.array_equal(one, other)]
    if not rows:
        return SAME
    one, other = actual[rows[0]], recorded[rows[0]]
    return f"{len(rows)} of {len(actual)} rows, the first is row {rows[0]}: {_values(one, other)}"


def _pictures(made: Path, expected: Path) -> str:
    actual, recorded = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (made, expected))
    if actual is None or recorded is None or actual.shape != recorded.shape:
        shapes = (None if picture is None else picture.shape for picture in (actual, recorded))
        return "a picture of shape {} instead of {}".format(*shapes)
    changed = (np.atleast_3d(actual) != np.atleast_3d(recorded)).any(axis=2)
    if not changed.any():
        return "equal pixels, other bytes"
    y, x = np.argwhere(changed)[0].tolist()
    return f"{int(changed.sum())} of {changed.size} pixels, the first at row {y}, column {x}"


def _values(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> str:
    changed = np.asarray(one != other)
    furthest = float(np.abs(np.asarray(one, dtype=np.float64) - other).max())
    return f"{int(changed.sum())} of {changed.size} values, by up to {furthest:.3g}"


def _texts(made: Path, expected: Path) -> str:
    actual, recorded = (path.read_bytes().split(b"\n") for path in (made, expected))
    lines = enumerate(zip(actual, recorded, strict=False), 1)
    first = next((number for number, (one, other) in lines if one != other), None)
    if first is None:
        return f"{len(actual)} lines instead of {len(recorded)}"
    return f"line {first} is the first of its {len(actual)} that differs"
