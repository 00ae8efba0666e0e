"""`segline predict`: image files -> a folder of predictions."""

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segline.core.errors import DataError, ParameterError, PipelineError, suggestion
from segline.dataset import raw
from segline.dataset.objects import semantic
from segline.inference import annotation_files, annotations, chunks, input_files, output_folder
from segline.inference.instances import Learnt
from segline.inference.output_folder import Contents
from segline.inference.predict_all import predict_all
from segline.inference.sliding_window import Predictor
from segline.model import checkpoint, device, randomness, receptive_field, watershed
from segline.monitoring import console
from segline.scheduling import tasks
from segline.sources.collecting import unsupported_formats

MAX_SIDE = 8192


@dataclass(frozen=True)
class Request:
    """Images per batch, input sizes relative to the model's own, and whether to average with the mirrored image.

    `contents` says, once the model is known, what to write.
    """

    batch_size: int
    scales: tuple[float, ...]
    flip: bool
    contents: Callable[[checkpoint.Description], Contents]


def run(inputs: Sequence[Path], model: Path, out: Path, request: Request) -> None:
    """Predicts every image into the folder `out`. Raises DataError at the end if some images could not be predicted."""
    problems: list[PipelineError] = []
    for line in unsupported_formats.left_out(given for given in inputs if given.is_dir()):
        console.warn(line)
    left_out: list[Path] = []
    sources = input_files.find(inputs, out, problems, left_out)
    for folder in left_out:
        console.warn(f"{folder}: left out, as it seems to contain masks. To predict it, name it.")
    total = len(sources) + len(problems)
    network, description = checkpoint.read_named(model)
    sizes = _sizes(description, request)
    contents, classes = request.contents(description), semantic(description.classes, description.objects)
    _require_annotated(contents, description, sources)
    margin = receptive_field.of_tiles(network, description.preparation)
    predictor = Predictor(network.to(device.pick()), description, sizes, request.batch_size, request.flip, margin)
    randomness.deterministic(0)  # the same kernels as `evaluate`
    cuts = [*chunks.cut(sources, description.preparation, request.batch_size)]
    with output_folder.opened(out, classes, contents, [source.name for source in sources]) as results:
        if tasks.are_shared(len(cuts)):
            whole = chunks.Chunk(model, out, contents, request.batch_size, sizes, request.flip)
            found = chunks.predict(whole, [sources[first:last] for first, last in cuts], results)
        else:
            found = predict_all(predictor, sources, results, {sources[first] for first, _ in cuts})
    problems += found.problems
    for line in (*found.warnings(len(sources)), *map(str, problems)):
        console.warn(line)
    if len(problems) == total:
        raise DataError(out, f"none of {total} images could be predicted", "They are named above.")
    console.say(f"predict: {total - len(problems)} of {total} images -> {out}: {', '.join(results.written)}")
    if problems:
        failed = f"{len(problems)} of {total} images could not be predicted"
        raise DataError(out, failed, "They are named above; all others were.")


def _sizes(model: checkpoint.Description, request: Request) -> list[tuple[int, int]]:
    """The input size (height, width) of each scale. Raises ParameterError for values out of range."""
    if request.batch_size < 1:
        raise ParameterError("--batch-size", f"expected 1 or more, got {request.batch_size}", "The default is 8.")
    height, width = model.preparation.height, model.preparation.width
    largest = MAX_SIDE / max(height, width)
    for scale in request.scales:
        if not (math.isfinite(scale) and 0 < scale <= largest):
            problem = f"expected numbers above 0 and up to {largest:.4g} for this model, got {scale}"
            raise ParameterError("--scales", problem, "1.0 is the size that it was trained at.")
    return [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in request.scales]


def _require_annotated(
    contents: Contents, model: checkpoint.Description, sources: Sequence[input_files.InputImage]
) -> None:
    if contents.annotations is None:
        return
    annotation_files.require_names(contents.annotations.form, sources)
    if model.preparation.orientation == "stored":
        console.warn("the model takes images as they are stored; labelling tools turn them upright by their Exif tag")


def _class_index(classes: Sequence[raw.Label], name: str) -> int:
    known = [label.name for label in classes]
    if name not in known:
        remedy = f"{suggestion(name, known, '')} The model knows: {', '.join(known)}."
        raise ParameterError("--instances", f"{name!r} is not a class of the model", remedy)
    return known.index(name)


def _rule(args: Namespace) -> watershed.Section:
    """How objects are found. Raises ParameterError."""
    given = {"--smallest-object": args.smallest_object, "--seed-probability": args.seed_probability}
    if missing := [option for option, value in given.items() if value is None]:
        remedy = "What evaluate scored: the values of evaluate.objects in params.yaml."
        raise ParameterError(" and ".join(missing), "needed for a model that has learnt objects", remedy)
    if not 1 <= args.smallest_object <= watershed.MAX_PIXELS:
        problem = f"expected 1 to {watershed.MAX_PIXELS} pixels, got {args.smallest_object}"
        raise ParameterError("--smallest-object", problem, "1 keeps every speck.")
    if not 0 < args.seed_probability < 1:
        problem = f"expected a number above 0 and below 1, got {args.seed_probability}"
        raise ParameterError("--seed-probability", problem, "See evaluate.objects.")
    return watershed.Section(smallest=args.smallest_object, seed=args.seed_probability)


def command(args: Namespace) -> None:
    """`segline predict`."""

    def contents(model: checkpoint.Description) -> Contents:
        classes = semantic(model.classes, model.objects)
        counted = [_class_index(classes, name) for name in dict.fromkeys(args.instances)]
        wanted, learnt = None, None
        if model.objects and (counted or args.annotations):
            learnt = Learnt(model.objects.inside(classes), _rule(args))
        if args.annotations:
            options = args.tolerance, args.least_area, args.unlabelled
            wanted = annotations.request(args.annotations, *options, classes)
        return Contents(counted, wanted, args.rank, args.probabilities, learnt)

    request = Request(args.batch_size, tuple(args.scales), args.flip, contents)
    run(args.inputs, args.model, args.out, request)
