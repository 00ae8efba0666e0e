"""A tiny split as preprocess, train and evaluate leave it: what the plot stage reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline.core import records
from segline.dataset import onehot, raw
from segline.dataset.processed import IMAGES, ONEHOT, Index, Origin, Row, write_index
from segline.reporting import results
from segline.scoring import confusion, evaluation
from tests import tiny

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
) -> Evaluated:
    """Writes all files to `folder`. Row 0 is predicted without a mistake, every other row worse than the one before it.

    Every pixel of the rows in `void_rows` is void; classes in `absent` have no pixel, neither true nor predicted.
    """
    names = [f"class {k}" for k in range(classes)] if isinstance(classes, int) else list(classes)
    draw = np.random.default_rng(0)
    present = np.array([k for k in range(len(names)) if k not in absent], np.uint8)
    truth = np.tile(np.resize(present, size).astype(np.uint8), (images, 1, 1))
    predictions = truth.copy()
    for row in range(images):
        wrong = truth[row].size // 2 * row // max(1, images - 1)
        predictions[row].flat[:wrong] = present[
            (np.resize(np.arange(len(present)), truth[row].size)[:wrong] + 1) % len(present)
        ]
    truth[:, -1] = VOID.value
    truth[list(void_rows)] = VOID.value

    labels = tuple(raw.Label(name, (20 + 10 * k, 255 - 10 * k, 90)) for k, name in enumerate(names))
    origins = tuple(
        Origin(f"{row:02d} frame", "left" if row % 2 else None, *size, "i.png", "m.png", "0" * 64, "0" * 64)
        for row in range(images)
    )
    values = (*((k, k) for k in range(len(labels))), (VOID.value, None))
    rows = tuple(Row(number, 0, 0) for number in range(images))
    index = Index("toy", "test", labels, VOID, False, "index", values, tiny.stretched(*size, channels), origins, rows)
    world = Evaluated(folder)
    processed = world.inputs["processed"]
    processed.mkdir(parents=True)
    np.save(processed / IMAGES, draw.integers(0, 256, (images, *size, channels), np.uint8))
    classes = np.where(truth == VOID.value, onehot.VOID, truth).astype(np.uint8)
    np.save(processed / ONEHOT, onehot.pack(classes, len(labels)))
    write_index(processed, index)
    world.inputs["predictions"].mkdir()
    np.save(world.inputs["predictions"] / "test.npy", predictions)
    world.inputs["augmented"].mkdir()
    np.save(world.inputs["augmented"] / "images.npy", draw.integers(0, 256, (images, *size, channels), np.uint8))
    np.save(world.inputs["augmented"] / "classes.npy", np.where(truth == VOID.value, onehot.VOID, truth))
    _write_scores(world, index, truth, predictions)
    curve = [(epoch, 0.01, 1 / epoch, 1.2 / epoch, 1 - 0.5 / epoch, 1 - 0.8 / epoch) for epoch in range(1, epochs + 1)]
    columns = ["epoch", "learning_rate", "train_loss", "val_loss", "val_accuracy", "val_miou"]
    records.write_csv(world.inputs["history"], columns, curve)
    records.write_json(world.inputs["train"], {"epoch": epochs})
    world.inputs["model"].write_bytes(b"any")
    (folder / "params.yaml").write_text(PARAMS, encoding="utf-8")
    return world


def _write_scores(world: Evaluated, index: Index, truth: onehot.Uint8, predictions: onehot.Uint8) -> None:
    names = [label.name for label in index.classes]
    counts = np.stack([confusion.count(*pair, len(names)) for pair in zip(truth, predictions, strict=True)])
    by_class = evaluation.class_rows(counts, names)
    content = {
        **{name: value for name, value in evaluation.means(counts).items() if value is not None},
        "interval": {"accuracy": {"low": 0.5, "high": 0.75}, "miou": {"low": 0.25, "high": 0.5}},
        "iou": {name: iou for name, iou, *_ in by_class if iou is not None},
        "working": {name: value for name, value in evaluation.means(counts).items() if value is not None},
        "cost": {"parameters": 1_943_000, "multiply_adds": 1_210_000_000, "model_bytes": 7_800_000},
        "protocol": evaluation.protocol(index),
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
