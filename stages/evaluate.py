"""Score the model on a split, at the working resolution and at that of the masks."""

from segline.monitoring import console  # first: it handles Ctrl-C while the rest is imported

# isort: split
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from segline.core import atomic, params, records
from segline.core.errors import DataError, IntegrityError
from segline.dataset import preparation, processed
from segline.model import checkpoint, device, forward, randomness, receptive_field
from segline.monitoring import mlflow_run
from segline.scoring import confusion, evaluation, score_split


def parse(argv: Sequence[str] | None) -> Namespace:
    """The paths that dvc.yaml gives."""
    return console.paths(
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
    args: Namespace, document: params.Document, model: checkpoint.Description, split: processed.Split
) -> None:
    """Raises IntegrityError if the model does not fit the parameters and the data."""
    remedy = "Train it again: dvc repro train."
    wanted = params.text(document, "model.name")
    if model.network != wanted:
        raise IntegrityError(args.model, f"contains a {model.network}, but params.yaml: model.name is {wanted}", remedy)
    if model.classes != split.index.classes:
        raise IntegrityError(args.model, f"its class table differs from that of {args.processed}", remedy)
    if model.channels != split.images.shape[3]:
        raise IntegrityError(args.model, f"expects {model.channels} channels, got {split.images.shape[3]}", remedy)
    if differing := preparation.differences(model.preparation, split.index.preparation):
        problem = f"trained on images that were prepared otherwise than those of {args.processed}: {differing}"
        raise IntegrityError(args.model, problem, remedy)


def write_outputs(args: Namespace, index: processed.Index, content: dict[str, Any], own: confusion.Counts) -> None:
    """Writes the scores and the counts they come from."""
    names = [label.name for label in index.classes]
    columns = ["class", "iou", "accuracy", "dice", "pixels"]
    records.write_json(args.metrics, content)
    records.write_csv(args.per_class, columns, evaluation.class_rows(own, names))
    records.write_csv(args.per_image, evaluation.image_columns(names), evaluation.image_rows(own, index))
    records.write_json(args.confusion, evaluation.confusion_rows(own, names))


def main(argv: Sequence[str] | None = None) -> None:
    """Scores the model and writes the results."""
    args = parse(argv)
    document = params.load()
    section = params.section(document, "evaluate", evaluation.Section)
    split = processed.read(args.processed)
    network, model = checkpoint.read(args.model)
    require_match(args, document, model, split)
    randomness.deterministic(section.seed)
    target = device.pick()
    network.to(target)
    inputs = {"processed": args.processed, "raw": args.raw, "model": args.model}
    with mlflow_run.run("evaluate", inputs, {"evaluate": document["evaluate"]}, model=args.model) as run:
        run.tags({f"evaluate.{name}": fact for name, fact in device.description(target).items()})
        logits = score_split.logits(network, model, split, section.batch_size)
        watched = console.progress(logits, len(split.index.rows), "evaluate")
        count, height, width, channels = split.images.shape
        with atomic.folder(args.predictions) as folder:
            path = folder / f"{split.index.split}.npy"
            with (
                processed.writing(path, (count, height, width)) as append,
                device.within_memory("lower evaluate.batch_size"),
            ):
                margin = receptive_field.of_tiles(network, split.index.preparation)
                scored = score_split.score(args.raw, split, watched, margin, append)
            own = scored.own
            if not own.any():
                raise DataError(args.processed, "every pixel is void, so there is nothing to score", "Check the masks.")
            content = evaluation.summary(own, scored.working, scored.seam_disagreement, split.index, section)
            cost = forward.cost(network, channels, height, width)
            content["cost"] = cost | {"model_bytes": args.model.stat().st_size}
            write_outputs(args, split.index, content, own)
        run.metrics({split.index.split: content})
        run.artifacts([args.metrics, args.per_class, args.per_image, args.confusion])
    if split.index.preparation.fit == "tile":
        console.say(receptive_field.overlap_line(split.index.preparation, margin))
    for doubt in evaluation.doubts(own, [label.name for label in split.index.classes], split.index.split):
        console.warn(doubt)
    interval = content.get("interval", {}).get("miou")
    bounds = f" (95 % interval {interval['low']:.4f} to {interval['high']:.4f})" if interval else ""
    console.say(f"{split.index.split}: accuracy {content['accuracy']:.4f}, mIoU {content['miou']:.4f}{bounds}")


if __name__ == "__main__":
    console.run(main)
