"""Saved metrics of a side, as the evaluate stage writes them, from counts that a test invents."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segline.core import records
from segline.dataset import processed, raw
from segline.dataset.origins import Origin
from segline.gate import pairing, saved_metrics
from segline.scoring import confusion, evaluation
from tests import tiny

NAMES = ("sky", "road", "car")
RULES = "margins:\n  accuracy: 0.01\n  miou: 0.01\nfloors: {}\nnoise: metrics/noise.json\n"
COST = {"parameters": 100, "multiply_adds": 2000, "model_bytes": 400}


def truth(images: int = 20, classes: int = 3, seed: int = 0) -> np.ndarray:
    """True pixels of each class in each image: (N, K)."""
    return np.random.default_rng(seed).integers(200, 400, (images, classes))


def predicted(true: np.ndarray, rate: float | np.ndarray, seed: int = 1) -> confusion.Counts:
    """Counts (N, K, K) of a model that is right with probability `rate`, and otherwise predicts the next class."""
    right = np.random.default_rng(seed).binomial(true, rate)
    counts = np.zeros((*true.shape, true.shape[1]), np.int64)
    for k in range(true.shape[1]):
        counts[:, k, k] = right[:, k]
        counts[:, k, (k + 1) % true.shape[1]] = true[:, k] - right[:, k]
    return counts


def protocol(counts: confusion.Counts, groups: Sequence[str | None] | None = None) -> dict[str, str]:
    """The protocol as in eval.json."""
    return evaluation.protocol(_index(counts, NAMES, groups))


def save(
    folder: Path,
    counts: confusion.Counts,
    names: Sequence[str] = NAMES,
    groups: Sequence[str | None] | None = None,
    cost: dict[str, int] | None = None,
) -> Path:
    """Writes eval.json and per_image.csv of int64 (N, K, K) counts to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    index = _index(counts, names, groups)
    section = evaluation.Section(split="test", batch_size=1, resamples=100, seed=1, objects=None)
    content = evaluation.summary(counts, counts, 0.0, index, section) | {"cost": COST if cost is None else cost}
    records.write_json(folder / "eval.json", content)
    rows = evaluation.image_rows(counts, index)
    records.write_csv(folder / "per_image.csv", evaluation.image_columns(list(names)), rows)
    return folder


def _index(counts: confusion.Counts, names: Sequence[str], groups: Sequence[str | None] | None) -> processed.Index:
    labels = tuple(raw.Label(name, (k, k, k)) for k, name in enumerate(names))
    stems = [f"frame-{row:02d}" for row in range(len(counts))]
    origins = tuple(
        Origin(stem, group, 8, 8, "i.png", "m.png", "0" * 64, "0" * 64)
        for stem, group in zip(stems, groups or [None] * len(stems), strict=True)
    )
    values = tuple((k, k) for k in range(len(names)))
    return processed.Index("toy", "test", labels, None, False, "index", values, tiny.stretched(8, 8), origins=origins)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes eval.json in place."""
    path = folder / "eval.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def pair(
    folder: Path,
    base: confusion.Counts,
    candidate: confusion.Counts,
    groups: Sequence[str | None] | None = None,
    names: Sequence[str] = NAMES,
) -> pairing.Pair:
    """Two sides, written and read back."""
    saved = [
        saved_metrics.in_folder(save(folder / name, counts, names, groups), name, "Fix it.")
        for name, counts in (("base", base), ("candidate", candidate))
    ]
    return pairing.pair(*saved)


def write_noise(path: Path, protocol: dict[str, str], deviation: float) -> None:
    """noise.json of five seeds: one deviation for every metric."""
    metrics = {"accuracy": deviation, "miou": deviation, "iou": dict.fromkeys(NAMES, deviation)}
    content = {"commit": None, "metrics": metrics, "protocol": protocol, "seeds": [1, 2, 3, 4, 5]}
    records.write_json(path, content)
