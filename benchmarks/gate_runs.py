"""Saved runs to try the gate on: train and evaluate on one processed data set, with something changed.

An existing run is not repeated, so a series that was stopped resumes.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segline.core import atomic, params
from segline.dataset import onehot, processed
from segline.gate import counts, pairing, saved_metrics
from segline.gate.bootstrap import Noise
from segline.gate.pairing import Pair
from segline.gate.rules import FILE, Criterion, SeedNoise, of_criterion, read_rules
from stages import evaluate, train

DATA = Path("data")
Labels = Callable[[onehot.Uint8, int], onehot.Uint8]  # classes (N, H, W) and K -> the labels to learn from instead


def make(target: Path, document: params.Document, labels: Labels | None = None) -> Path:
    """Saves the metrics of a run with these parameters on `data/`, optionally with other train labels, in `target`."""
    if target.is_dir():
        return target
    os.environ["SEGLINE_TRACKING"] = "off"
    data, split = DATA.absolute(), document["evaluate"]["split"]
    with tempfile.TemporaryDirectory() as scratch, atomic.folder(target.absolute()) as kept:
        train_split = data / "processed/train"
        if labels:
            train_split = relabelled(train_split, Path(scratch) / "train", labels)
        with contextlib.chdir(scratch):
            Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
            train.main(
                [
                    *("--train", str(train_split), "--val", str(data / "processed/val")),
                    *("--model", "model.safetensors", "--history", "history.csv", "--metrics", "train.json"),
                    *("--augmented", "augmented"),
                ]
            )
            evaluate.main(
                [
                    *("--processed", str(data / "processed" / split), "--raw", str(data / "raw" / split)),
                    *("--model", "model.safetensors", "--metrics", "eval.json", "--per-class", "per_class.csv"),
                    *("--per-image", "per_image.csv", "--confusion", "confusion.json", "--predictions", "predictions"),
                ]
            )
            for name in (saved_metrics.evaluation().name, saved_metrics.per_image().name):
                shutil.copy2(name, kept)
    return target


def relabelled(source: Path, target: Path, labels: Labels) -> Path:
    """Copies a split to `target`, with its labels changed."""
    shutil.copytree(source, target)
    split = processed.read(source)
    num_classes = len(split.index.classes)
    changed = labels(onehot.unpack(np.array(split.onehot), num_classes), num_classes)
    with processed.writing(target, len(changed), split.index.preparation, num_classes) as put:
        for number, row in enumerate(split.images):
            put(number, row, onehot.pack(changed[number], num_classes))
    processed.write_index(target, split.index)  # with the digests of the new labels
    return target


def changed(document: params.Document, section: str, **values: Any) -> params.Document:
    """The parameters with some values of a section replaced."""
    return {**document, section: {**document[section], **values}}


def series(folder: Path, runs: int, document: params.Document) -> list[Path]:
    """Runs that differ only in train.seed: `folder/seed-N` for N from 1."""
    return [make(folder / f"seed-{n}", changed(document, "train", seed=n)) for n in range(1, runs + 1)]


def paired(base: Path, candidate: Path) -> Pair:
    """Two saved runs as the gate sees them."""
    first, second = (saved_metrics.in_folder(folder, folder.name, "Rebuild it.") for folder in (base, candidate))
    return pairing.pair(first, second)


def noise(runs: Sequence[Path]) -> SeedNoise:
    """What `segline noise` would write for these runs."""
    scores = [json.loads((run / saved_metrics.evaluation().name).read_text(encoding="utf-8")) for run in runs]
    iou = {name: _deviation([score["iou"][name] for score in scores]) for name in scores[0]["iou"]}
    rates = {name: _deviation([score[name] for score in scores]) for name in ("accuracy", "miou")}
    protocol = counts.protocol(saved_metrics.in_folder(runs[0], runs[0].name, "Rebuild it."))
    content = {"commit": None, "metrics": {**rates, "iou": iou}, "protocol": protocol, "seeds": [*range(len(runs))]}
    return SeedNoise.model_validate(content)


def claims() -> list[Criterion]:
    """The margins of the committed gate.yaml."""
    rules = read_rules(FILE)
    return [Criterion(metric, margin) for metric, margin in rules.margins.items()]


def noises(known: SeedNoise | None) -> list[Noise | None]:
    """The seed noise of each claim."""
    return [None if known is None else of_criterion(known, claim, FILE) for claim in claims()]


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))
