"""Score the model on a split, at the working resolution and at that of the masks."""

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

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

Uint8 = npt.NDArray[np.uint8]


def parse(argv: Sequence[str] | None) -> Namespace:
    """The paths that dvc.yaml gives."""
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


def require_match(
    args: Namespace, document: params.Document, model: checkpoint.Description, split: arrays.Split
) -> None:
    """Raises IntegrityError if the model is not one for these parameters and these data."""
    remedy = "Train it again: dvc repro train."
    wanted = params.text(document, "model.name")
    if model.network != wanted:
        raise IntegrityError(args.model, f"holds a {model.network}, but params.yaml: model.name is {wanted}", remedy)
    if model.classes != split.index.classes:
        raise IntegrityError(args.model, f"its class table is not that of {args.processed}", remedy)
    if model.channels != split.images.shape[3]:
        raise IntegrityError(args.model, f"expects {model.channels} channels, got {split.images.shape[3]}", remedy)


def raw_truth(folder: Path, row: arrays.Row, index: arrays.Index) -> npt.NDArray[np.uint16]:
    """The classes of a raw mask, at its own resolution: (H, W), void above every class."""
    void = None if index.void is None else index.void.index
    table = encode.class_table(index.num_labels, void, index.void_is_class)
    return table[images.decode_mask(images.read(folder / row.mask), folder / row.mask)]


def predict_all(network: nn.Module, split: arrays.Split, batch_size: int) -> Iterator[Tensor]:
    """The logits (K, H, W) of one image after another."""
    target = next(network.parameters()).device
    samples = batches.load(split.images, split.onehot, len(split.index.classes), target)
    for inputs, _ in batches.in_order(samples, batch_size):
        yield from predict.logits(network, inputs)


def score(raw: Path, split: arrays.Split, logits: Iterable[Tensor]) -> tuple[Uint8, confusion.Counts, confusion.Counts]:
    """Predictions (N, H, W), and counts (N, K, K) at the working resolution and at that of the masks."""
    num_classes = len(split.index.classes)
    truths = encode.unpack(split.onehot, num_classes)
    predictions, working, own = [], [], []
    for image_logits, truth, row in zip(logits, truths, split.index.rows, strict=True):
        predictions.append(predict.classes(image_logits[None])[0])
        working.append(confusion.count(truth, predictions[-1], num_classes))
        resized = predict.classes_at(image_logits, row.height, row.width)
        own.append(confusion.count(raw_truth(raw, row, split.index), resized, num_classes))
    return np.stack(predictions), np.stack(working), np.stack(own)


def write_outputs(
    args: Namespace, index: arrays.Index, content: dict[str, Any], own: confusion.Counts, predictions: Uint8
) -> None:
    """Writes the scores, the counts they come from, and the predictions."""
    names = [label.name for label in index.classes]
    columns = ["class", "iou", "accuracy", "dice", "pixels"]
    records.write_json(args.metrics, content)
    records.write_csv(args.per_class, columns, evaluation.class_rows(own, names))
    records.write_csv(args.per_image, evaluation.image_columns(names), evaluation.image_rows(own, index))
    records.write_json(args.confusion, evaluation.confusion_rows(own, names))
    with atomic.folder(args.predictions) as folder:
        np.save(folder / f"{index.split}.npy", predictions)


def main(argv: Sequence[str] | None = None) -> None:
    """Scores the model and writes what it came to."""
    args = parse(argv)
    document = params.load()
    section = params.section(document, "evaluate", evaluation.Section)
    split = arrays.read(args.processed)
    network, model = checkpoint.read(args.model)
    require_match(args, document, model, split)
    randomness.deterministic(section.seed)
    network.to(device.pick())
    inputs = {"processed": args.processed, "raw": args.raw, "model": args.model}
    with tracking.run("evaluate", inputs, {"evaluate": section.model_dump()}, model=args.model) as run:
        logits = predict_all(network, split, section.batch_size)
        watched = cli.progress(logits, len(split.index.rows), "evaluate")
        predictions, working, own = score(args.raw, split, watched)
        if not own.any():
            raise DataError(args.processed, "every pixel is void, so there is nothing to score", "Check the masks.")
        content = evaluation.summary(own, working, split.index, section)
        _, height, width, channels = split.images.shape
        content["cost"] = predict.cost(network, channels, height, width) | {"model_bytes": args.model.stat().st_size}
        write_outputs(args, split.index, content, own, predictions)
        run.metrics({split.index.split: content})
        run.artifacts([args.metrics, args.per_class, args.per_image, args.confusion])
    interval = content.get("interval", {}).get("miou")
    bounds = f" (95 % interval {interval['low']:.4f} to {interval['high']:.4f})" if interval else ""
    cli.say(f"{split.index.split}: accuracy {content['accuracy']:.4f}, mIoU {content['miou']:.4f}{bounds}")


if __name__ == "__main__":
    cli.run(main)
