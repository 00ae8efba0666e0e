"""A tiny split as preprocess, train and evaluate leave it: what the plot stage reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from segline.core import records
from segline.dataset import onehot, raw
from segline.dataset.origins import Origin
from segline.dataset.processed import Index
from segline.reporting import results
from segline.scoring import confusion, evaluation
from tests import tiny

BINS = [{"pixels": 0}] * 14 + [{"pixels": 640, "accuracy": 0.9375, "confidence": 0.96875}]
VOID = raw.Void(value=250, rgb=(1, 2, 3))
PARAMS = """\
data:
  source: synthetic
  synthetic:
    seed: 1
  folder:
    path: elsewhere
model:
  name: unet
  unet:
    width: 16
  fcn:
    width: 32
train:
  epochs: 3
  keep: best
plot:
  images: 2
"""


@dataclass(frozen=True)
class Evaluated:
    """Where the files are."""

    folder: Path

    @property
    def inputs(self) -> dict[str, Path]:
        names = {
            "history": "history.csv",
            "train": "train.json",
            "model": "model.safetensors",
            "eval": "eval.json",
            "per_class": "per_class.csv",
            "per_image": "per_image.csv",
            "confusion": "confusion.json",
            "processed": "processed/test",
            "predictions": "predictions",
            "augmented": "augmented",
        }
        return {name: self.folder / path for name, path in names.items()}

    def results(self, index: Index) -> results.Results:
        """What train and evaluate wrote, read back."""
        names = ("history", "per_class", "per_image", "confusion")
        return results.read(index, evaluation=self.inputs["eval"], **{name: self.inputs[name] for name in names})

    @property
    def plots(self) -> Path:
        return self.folder / "plots"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def card(self) -> Path:
        return self.folder / "README.md"

    @property
    def arguments(self) -> list[str]:
        paths = {**self.inputs, "plots": self.plots, "report": self.report, "card": self.card}
        return [part for name, path in paths.items() for part in (f"--{name.replace('_', '-')}", str(path))]


def build(
    folder: Path,
    *,
    classes: int | Sequence[str] = 3,
    images: int = 7,
    epochs: int = 3,
    channels: int = 3,
    size: tuple[int, int] = (12, 16),
    void_rows: Sequence[int] = (),
    absent: Sequence[int] = (),
    own: Sequence[tuple[int, int]] | None = None,
    **preparation: Any,
) -> Evaluated:
    """Writes all files to `folder`. Row 0 is predicted without a mistake, every other row worse than the one before it.

    Every pixel of the images in `void_rows` is void; classes in `absent` have no pixel, neither true nor predicted.
    `size` is that of a row; `own` are those of the images, if they differ. Other words change how images become rows.
    """
    names = [f"class {k}" for k in range(classes)] if isinstance(classes, int) else list(classes)
    sizes = own or [size] * images
    labels = tuple(raw.Label(name, (20 + 10 * k, 255 - 10 * k, 90)) for k, name in enumerate(names))
    origins = tuple(
        Origin(f"{row:02d} frame", "left" if row % 2 else None, *own, "i.png", "m.png", "0" * 64, "0" * 64)
        for row, own in enumerate(sizes)
    )
    values = (*((k, k) for k in range(len(labels))), (VOID.value, None))
    prepared = replace(tiny.stretched(*size, channels), **preparation)
    index = Index("toy", "test", labels, VOID, False, "index", values, prepared, origins=origins)
    grids = [index.grid(number) for number in range(len(sizes))]

    draw = np.random.default_rng(0)
    present = np.array([k for k in range(len(names)) if k not in absent], np.uint8)
    shown, truth, predictions = [], [], []
    for number, grid in enumerate(grids):
        shown.append(draw.integers(0, 256, (*grid.working, prepared.channels), np.uint8))
        truth.append(np.resize(present, grid.working))
        predictions.append(truth[-1].copy())
        wrong = truth[-1].size // 2 * number // max(1, len(sizes) - 1)
        order = np.arange(len(present))
        predictions[-1].flat[:wrong] = present[(np.resize(order, truth[-1].size)[:wrong] + 1) % len(present)]
        truth[-1][slice(None) if number in void_rows else -1] = VOID.value
    parts = [cut(index, arrays, border) for arrays, border in ((shown, None), (truth, VOID.value), (predictions, 0))]

    world = Evaluated(folder)
    processed = world.inputs["processed"]
    processed.mkdir(parents=True)
    rows = np.where(parts[1] == VOID.value, onehot.VOID, parts[1]).astype(np.uint8)
    tiny.write_split(processed, index, parts[0], onehot.pack(rows, len(labels)))
    world.inputs["predictions"].mkdir()
    np.save(world.inputs["predictions"] / "test.npy", parts[2])
    world.inputs["augmented"].mkdir()
    np.save(world.inputs["augmented"] / "images.npy", parts[0][:12])
    np.save(world.inputs["augmented"] / "classes.npy", rows[:12])
    _write_scores(world, index, truth, predictions)
    curve = [(epoch, 0.01, 1 / epoch, 1.2 / epoch, 1 - 0.5 / epoch, 1 - 0.8 / epoch) for epoch in range(1, epochs + 1)]
    columns = ["epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou"]
    records.write_csv(world.inputs["history"], columns, curve)
    records.write_json(world.inputs["train"], {"epoch": epochs})
    world.inputs["model"].write_bytes(b"any")
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    return world


def cut(index: Index, wholes: Sequence[onehot.Uint8], border: int | None) -> onehot.Uint8:
    """The rows of whole working images: (N, H, W, ...). Beyond an image there is `border`, or its edge repeated."""
    height, width = index.preparation.height, index.preparation.width
    rows = []
    for row in index.rows:
        part = wholes[row.origin][row.top : row.top + height, row.left : row.left + width]
        missing = [(0, height - part.shape[0]), (0, width - part.shape[1]), *[(0, 0)] * (part.ndim - 2)]
        how = {"mode": "edge"} if border is None else {"constant_values": border}
        rows.append(np.pad(part, missing, **how))
    return np.stack(rows)


def _write_scores(
    world: Evaluated, index: Index, truth: Sequence[onehot.Uint8], predictions: Sequence[onehot.Uint8]
) -> None:
    names = [label.name for label in index.classes]
    counts = np.stack([confusion.count(*pair, len(names)) for pair in zip(truth, predictions, strict=True)])
    by_class = evaluation.class_rows(counts, names)
    content = {
        **{name: value for name, value in evaluation.means(counts).items() if value is not None},
        "interval": {"accuracy": {"low": 0.5, "high": 0.75}, "miou": {"low": 0.25, "high": 0.5}},
        "iou": {name: iou for name, iou, *_ in by_class if iou is not None},
        "working": {name: value for name, value in evaluation.means(counts).items() if value is not None},
        "ece": 0.03125,
        "calibration": {"temperature": 1.25, "bins": BINS},
        "cost": {"parameters": 1_943_000, "multiply_adds": 1_210_000_000, "model_bytes": 7_800_000},
        "protocol": evaluation.protocol(index),
        **({"seam_disagreement": 0.125} if index.preparation.fit == "tile" else {}),
    }
    records.write_json(world.inputs["eval"], content)
    records.write_csv(world.inputs["per_class"], ["class", "iou", "accuracy", "dice", "pixels"], by_class)
    image_rows = evaluation.image_rows(counts, index)
    records.write_csv(world.inputs["per_image"], evaluation.image_columns(names), image_rows)
    total = counts.sum(axis=0)
    cells = [
        {"actual": actual, "predicted": predicted, "count": int(total[i, j])}
        for i, actual in enumerate(names)
        for j, predicted in enumerate(names)
    ]
    records.write_json(world.inputs["confusion"], cells)
