"""Score the model on a split, at the working resolution and at that of the masks."""

from segline.monitoring import console  # first: it handles Ctrl-C while the rest is imported

# isort: split
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from segline.core import atomic, params, records
from segline.core.errors import DataError, IntegrityError
from segline.dataset import npy, objects, preparation, processed
from segline.model import checkpoint, device, forward, randomness, receptive_field
from segline.monitoring import mlflow_run
from segline.scheduling import tasks
from segline.scoring import chunks, evaluation, image_objects, score_split


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
    if model.objects != split.index.objects:
        problem = f"it has learnt objects as {model.objects}, those of {args.processed} are {split.index.objects}"
        raise IntegrityError(args.model, problem, remedy)
    if model.channels != split.images.shape[3]:
        raise IntegrityError(args.model, f"expects {model.channels} channels, got {split.images.shape[3]}", remedy)
    if differing := preparation.differences(model.preparation, split.index.preparation):
        problem = f"trained on images that were prepared otherwise than those of {args.processed}: {differing}"
        raise IntegrityError(args.model, problem, remedy)


def _appended(files: ExitStack, folder: Path, shape: tuple[int, ...], name: str) -> npy.Writer:
    """Takes the rows of a new file, which is open as long as `files`."""
    return files.enter_context(npy.writing(folder / f"{name}.npy", shape))


def write_outputs(args: Namespace, index: processed.Index, content: dict[str, Any], scored: score_split.Scored) -> None:
    """Writes the scores and the counts they come from."""
    names, own = [label.name for label in objects.semantic(index.classes, index.objects)], scored.own
    objects_of = index.objects.classes if index.objects and scored.objects is not None else ()
    columns = ["class", "iou", "accuracy", "dice", "pixels"]
    records.write_json(args.metrics, content)
    records.write_csv(args.per_class, columns, evaluation.class_rows(own, names))
    image_rows = evaluation.image_rows(own, index, scored.objects, scored.calibrated)
    records.write_csv(args.per_image, evaluation.image_columns(names, objects_of, calibrated=True), image_rows)
    records.write_json(args.confusion, evaluation.confusion_rows(own, names))


def write_objects(folder: Path, index: processed.Index, scored: score_split.Scored) -> None:
    """Writes one row for each object, true or predicted, if they were found."""
    if scored.objects is None or index.objects is None:
        return
    names = index.objects.classes
    found = zip(index.origins, scored.objects, strict=True)
    rows = [row for origin, matched in found for row in image_objects.rows(origin.stem, names, matched)]
    records.write_csv(folder / f"{index.split}-objects.csv", image_objects.COLUMNS, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Scores the model and writes the results."""
    args = parse(argv)
    document = params.load()
    section = params.section(document, "evaluate", evaluation.Section)
    split = processed.read(args.processed)
    evaluation.require_objects(section, split.index.objects)
    network, model = checkpoint.read(args.model)
    require_match(args, document, model, split)
    randomness.deterministic(section.seed)
    target = device.pick()
    network.to(target)
    inputs = {"processed": args.processed, "raw": args.raw, "model": args.model}
    with mlflow_run.run("evaluate", inputs, {"evaluate": document["evaluate"]}, model=args.model) as run:
        run.tags({f"evaluate.{name}": fact for name, fact in device.description(target).items()})
        count, height, width, channels = split.images.shape
        with atomic.folder(args.predictions) as folder:
            margin = receptive_field.of_tiles(network, split.index.preparation)
            with ExitStack() as files, device.within_memory("lower evaluate.batch_size"):
                appended = partial(_appended, files, folder, (count, height, width))
                appends = {"classes": appended(split.index.split)}
                if section.objects:
                    appends["outlines"] = appended(f"{split.index.split}-outlines")
                if tasks.are_shared(len([*chunks.cut(split)])):
                    rule = section.batch_size, section.seed, section.objects
                    whole = chunks.Chunk(args.raw, args.processed, args.model, folder, *rule)
                    scored = chunks.score(whole, split, appends)
                else:
                    logits = score_split.logits(network, model, split, section.batch_size)
                    scored = score_split.score(
                        args.raw,
                        split,
                        console.progress(logits, split.index.num_rows, "evaluate"),
                        margin,
                        appends["classes"],
                        temperature=model.temperature,
                        wanted=score_split.Wanted(section.objects, appends["outlines"]) if section.objects else None,
                    )
            own = scored.own
            if not own.any():
                raise DataError(args.processed, "every pixel is void, so there is nothing to score", "Check the masks.")
            working, disagreement = scored.working, scored.seam_disagreement
            content = evaluation.summary(
                own,
                working,
                disagreement,
                split.index,
                section,
                calibrated=scored.calibrated,
                matched=scored.objects,
            )
            cost = forward.cost(network, channels, height, width)
            content["cost"] = cost | {"model_bytes": args.model.stat().st_size}
            write_outputs(args, split.index, content, scored)
            write_objects(folder, split.index, scored)
        run.metrics({split.index.split: content})
        run.artifacts([args.metrics, args.per_class, args.per_image, args.confusion])
    if split.index.preparation.fit == "tile":
        console.say(receptive_field.overlap_line(split.index.preparation, margin))
    names = [label.name for label in objects.semantic(split.index.classes, split.index.objects)]
    for doubt in evaluation.doubts(own, names, split.index.split):
        console.warn(doubt)
    console.say(f"{split.index.split}: accuracy {content['accuracy']:.4f}, {evaluation.headline(content)}")


if __name__ == "__main__":
    console.run(main)
