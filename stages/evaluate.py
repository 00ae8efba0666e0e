"""Score the model on a split, at the working resolution and at that of the masks."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segline import (
    arrays,
    atomic,
    batches,
    checkpoint,
    cli,
    confusion,
    device,
    encode,
    evaluation,
    images,
    params,
    predict,
    randomness,
    records,
    tracking,
)
from segline.errors import DataError, IntegrityError


def parse(argv: Sequence[str] | None) -> Namespace:
    return cli.paths(
        __doc__,
        argv,
        processed="processed split to score on",
        raw="the same split as downloaded",
        model="model file to score",
        metrics="JSON of scores to write",
        per_class="CSV of scores by class to write",
        per_image="CSV of counts by image to write",
        confusion="JSON of the confusion matrix to write",
        predictions="folder of predicted classes to write",
    )


def require_match(args: Namespace, document: params.Document, model: checkpoint.Description, split: arrays.Split) -> None:
    wanted = params.text(document, "model.name")
    remedy = "Train it again: dvc repro train."
    if model.network != wanted:
        raise IntegrityError(args.model, f"holds a {model.network}, but params.yaml: model.name is {wanted}", remedy)
    if model.classes != split.index.classes:
        raise IntegrityError(args.model, f"its class table is not that of {args.processed}", remedy)
    if model.channels != split.images.shape[3]:
        raise IntegrityError(args.model, f"expects {model.channels} channels, got {split.images.shape[3]}", remedy)


def raw_truth(folder: Path, row: arrays.Row, index: arrays.Index) -> Any:
    path = folder / row.mask
    table = encode.class_table(index.num_labels, None if index.void is None else index.void.index, index.void_is_class)
    return table[images.decode_mask(images.read(path), path)]


def score(args: Namespace, section: evaluation.Section, split: arrays.Split, network: torch.nn.Module) -> tuple[Any, Any, Any]:
    """Predictions (N, H, W), counts (N, K, K) at the working resolution, and at that of the masks."""
    num_classes, target = len(split.index.classes), next(network.parameters()).device
    samples = batches.load(split.images, split.onehot, num_classes, target)
    truth = encode.unpack(split.onehot, num_classes)
    predictions, working, own = [], [], []
    rows = iter(split.index.rows)
    with cli.Steps(len(samples), "evaluate") as bar:
        for inputs, _ in batches.in_order(samples, section.batch_size):
            logits = predict.logits(network, inputs)
            for image_logits, classes in zip(logits, predict.classes(logits), strict=True):
                row = next(rows)
                working.append(confusion.count(truth[len(predictions)], classes, num_classes))
                resized = predict.classes_at(image_logits, row.height, row.width)
                own.append(confusion.count(raw_truth(args.raw, row, split.index), resized, num_classes))
                predictions.append(classes)
                bar.update()
    return np.stack(predictions), np.stack(working), np.stack(own)


def write_outputs(args: Namespace, index: arrays.Index, content: dict[str, Any], own: Any, predictions: Any) -> None:
    names = [label.name for label in index.classes]
    records.write_json(args.metrics, content)
    records.write_csv(
        args.per_class, ["class", "iou", "accuracy", "dice", "pixels"], evaluation.class_rows(own, names)
    )
    records.write_csv(args.per_image, evaluation.image_columns(names), evaluation.image_rows(own, index))
    cells = zip(np.ndindex(len(names), len(names)), own.sum(axis=0).ravel().tolist(), strict=True)
    records.write_json(
        args.confusion, [{"actual": names[i], "predicted": names[j], "count": count} for (i, j), count in cells]
    )
    with atomic.folder(args.predictions) as folder:
        np.save(folder / f"{index.split}.npy", predictions)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    document = params.load()
    section = params.section(document, "evaluate", evaluation.Section)
    split = arrays.read(args.processed)
    network, model = checkpoint.read(args.model)
    require_match(args, document, model, split)
    target = device.pick()
    randomness.deterministic(seed=0)
    predictions, working, own = score(args, section, split, network.to(target))
    if not own.any():
        raise DataError(args.processed, "every pixel is void, so there is nothing to score", "Choose another split.")
    _, height, width, channels = split.images.shape
    content = evaluation.summary(own, section) | {
        "iou": {name: iou for name, iou, *_ in evaluation.class_rows(own, [c.name for c in model.classes]) if iou is not None},
        "working": evaluation.means(working),
        "cost": predict.cost(network, channels, height, width) | {"model_bytes": args.model.stat().st_size},
        "protocol": evaluation.protocol(split.index),
    }
    write_outputs(args, split.index, content, own, predictions)
    inputs = {"processed": args.processed, "raw": args.raw, "model": args.model}
    with tracking.run("evaluate", inputs, {"evaluate": section.model_dump()}, model=args.model) as run:
        rates = evaluation.means(own)
        run.metrics({f"{split.index.split}/{name}": value for name, value in rates.items()})
        run.metrics({f"{split.index.split}/working/{name}": value for name, value in evaluation.means(working).items()})
        run.artifacts([args.metrics, args.per_class, args.per_image, args.confusion])
    low_high = content.get("interval", {}).get("miou", {"low": float("nan"), "high": float("nan")})
    cli.say(
        f"{split.index.split}: accuracy {content['accuracy']:.4f}, mIoU {content['miou']:.4f}"
        f" (95 % interval {low_high['low']:.4f} to {low_high['high']:.4f}), at the masks' own resolution"
    )


if __name__ == "__main__":
    cli.run(main)
