"""Two files or folders of unequal bytes -> the first difference in words, as far as their kind is known."""

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

SAME = "equal values in other bytes"


def between(made: Path, expected: Path) -> str:
    """What differs first, such as "epoch 2: train_loss is 0.51 instead of 0.52". One line."""
    if made.is_dir() and expected.is_dir():
        return _folders(made, expected)
    kinds = {".safetensors": _tensors, ".csv": _tables, ".json": _documents, ".npy": _arrays, ".png": _pictures}
    return kinds.get(made.suffix, _texts)(made, expected)


def _folders(made: Path, expected: Path) -> str:
    found, wanted = (
        {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        for folder in (made, expected)
    )
    for names, what in ((wanted.keys() - found.keys(), "missing"), (found.keys() - wanted.keys(), "too many")):
        if names:
            return f"{len(names)} of {len(wanted)} files {what}, the first is {min(names)}"
    changed = [name for name in sorted(found) if found[name].read_bytes() != wanted[name].read_bytes()]
    return f"{len(changed)} of {len(found)} files, the first is {changed[0]}: " + between(
        found[changed[0]], wanted[changed[0]]
    )


def _tensors(made: Path, expected: Path) -> str:
    with safe_open(made, framework="pt") as found, safe_open(expected, framework="pt") as wanted:
        names = list(wanted.keys())
        if names != list(found.keys()):
            return f"other tensors, the first is {min(set(names) ^ set(found.keys()))}"
        lines = []
        for name in names:
            one, other = found.get_tensor(name), wanted.get_tensor(name)
            if one.shape != other.shape or one.dtype != other.dtype:
                lines.append(f"{name} is {one.dtype} {tuple(one.shape)} instead of {other.dtype} {tuple(other.shape)}")
            elif not torch.equal(one, other):
                lines.append(f"{name}, by up to {float((one.double() - other.double()).abs().max()):.3g}")
        if lines:
            return f"{len(lines)} of {len(names)} tensors, the first is {lines[0]}"
        return "equal tensors, other metadata" if found.metadata() != wanted.metadata() else SAME


def _tables(made: Path, expected: Path) -> str:
    """Of history.csv the epoch and the column."""
    found, wanted = records.read_csv(made), records.read_csv(expected)
    for row, other in zip(found, wanted, strict=False):
        if list(row) != list(other):
            return f"columns {', '.join(row)} instead of {', '.join(other)}"
        label = next(iter(other))
        for column in other:
            if row[column] != other[column]:
                return f"{label} {other[label]}: {column} is {row[column]} instead of {other[column]}"
    return SAME if len(found) == len(wanted) else f"{len(found)} rows instead of {len(wanted)}"


def _documents(made: Path, expected: Path) -> str:
    found, wanted = (dict(_leaves(records.read_json(path))) for path in (made, expected))
    for key in (*wanted, *found):
        one, other = (json.dumps(values[key]) if key in values else "missing" for values in (found, wanted))
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
    found, wanted = np.load(made, mmap_mode="r"), np.load(expected, mmap_mode="r")
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        return f"{found.dtype} {found.shape} instead of {wanted.dtype} {wanted.shape}"
    rows = [i for i, (one, other) in enumerate(zip(found, wanted, strict=True)) if not np.array_equal(one, other)]
    if not rows:
        return SAME
    one, other = found[rows[0]], wanted[rows[0]]
    return f"{len(rows)} of {len(found)} rows, the first is row {rows[0]}: {_values(one, other)}"


def _pictures(made: Path, expected: Path) -> str:
    found, wanted = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (made, expected))
    if found is None or wanted is None or found.shape != wanted.shape:
        shapes = (None if picture is None else picture.shape for picture in (found, wanted))
        return "a picture of shape {} instead of {}".format(*shapes)
    changed = (np.atleast_3d(found) != np.atleast_3d(wanted)).any(axis=2)
    if not changed.any():
        return "equal pixels in other bytes"
    y, x = np.argwhere(changed)[0].tolist()
    return f"{int(changed.sum())} of {changed.size} pixels, the first at row {y}, column {x}"


def _values(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> str:
    changed = np.asarray(one != other)
    furthest = float(np.abs(np.asarray(one, dtype=np.float64) - other).max())
    return f"{int(changed.sum())} of {changed.size} values, by up to {furthest:.3g}"


def _texts(made: Path, expected: Path) -> str:
    found, wanted = (path.read_bytes().split(b"\n") for path in (made, expected))
    lines = enumerate(zip(found, wanted, strict=False), 1)
    first = next((number for number, (one, other) in lines if one != other), None)
    if first is None:
        return f"{len(found)} lines instead of {len(wanted)}"
    return f"line {first} is the first of its {len(found)} that differs"
