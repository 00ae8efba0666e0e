"""Image files -> a folder of predictions: threads decode and write while the network computes."""

import math
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from threading import Event

from torch import Tensor

from segline.core import atomic, parallel
from segline.core.errors import DataError, ParameterError, PipelineError, suggestion
from segline.dataset import raw
from segline.dataset.objects import parents, semantic
from segline.inference import annotation_files, annotations, input_files, output_folder, uncertainty
from segline.inference.input_rows import Failure, Image, Reader
from segline.inference.instances import Learnt
from segline.inference.output_folder import Band, Contents
from segline.inference.sliding_window import Predictor
from segline.inference.uncertainty import Uncertainty
from segline.model import checkpoint, device, forward, objects, randomness, receptive_field, watershed
from segline.monitoring import console
from segline.preprocessing import images, levels
from segline.preprocessing.image_files import decoder_warnings
from segline.sources.collecting import unsupported_formats

MAX_SIDE = 8192
MANY_WINDOWS = 100  # of an image: from here on it has a progress bar of its own
_FEW_LEVELS = "Their masks may be poor: the model expects samples that fill this range."
AHEAD = 2  # bands of classes that wait to be written


@dataclass(frozen=True)
class Request:
    """Images per batch, input sizes relative to the model's own, and whether to average with the mirrored image.

    `contents` says, once the model is known, what to write.
    """

    batch_size: int
    scales: tuple[float, ...]
    flip: bool
    contents: Callable[[checkpoint.Description], Contents]


class _Bands:
    """The classes of an image on their way from the network to the thread that writes them, in bands of lines.

    `doubt` is complete after the last of them.
    """

    def __init__(self, image: Image) -> None:
        self.image, self.doubt = image, Uncertainty()
        self._queue: Queue[Band | Exception | None] = Queue(AHEAD)
        self._closed = Event()
        self._fatal: OSError | None = None

    def put(self, band: Band | Exception | None) -> bool:
        """Adds a band; None is the end, an exception an end too early. False if the writer has given up."""
        while not self._closed.is_set():
            try:
                self._queue.put(band, timeout=0.1)
            except Full:
                continue
            return True
        if self._fatal:
            raise self._fatal
        return False

    def __iter__(self) -> Iterator[Band]:
        while (band := self._queue.get()) is not None:
            if isinstance(band, Exception):
                raise band
            yield band

    def close(self, fatal: OSError | None = None) -> None:
        """The writer reads no more; `fatal` concerns all images."""
        self._fatal = fatal
        self._closed.set()


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
    with output_folder.opened(out, classes, contents, [source.name for source in sources]) as results:
        problems += predict_all(predictor, sources, results)
    for problem in problems:
        console.warn(str(problem))
    if len(problems) == total:
        raise DataError(out, f"none of {total} images could be predicted", "They are named above.")
    console.say(f"predict: {total - len(problems)} of {total} images -> {out}: {', '.join(results.written)}")
    if problems:
        failed = f"{len(problems)} of {total} images could not be predicted"
        raise DataError(out, failed, "They are named above; all others were.")


def predict_all(
    predictor: Predictor, sources: Sequence[input_files.InputImage], results: output_folder.OutputFolder
) -> list[PipelineError]:
    """Adds each image to `results`; returns the problems of those that could not be predicted."""
    images.single_threaded()
    model = predictor.model
    ahead = predictor.batch_size + parallel.count()
    notes: Counter[str] = Counter()
    with (
        decoder_warnings.muffled() as heard,
        ThreadPoolExecutor(parallel.count() + 2) as pool,  # writers wait for the disk
        device.within_memory("lower --batch-size, or give smaller images"),
    ):
        reader = Reader(model.preparation, predictor.sizes, results.classes, results.contents.whole, heard)
        with (
            closing(reader.ahead(pool, sources, ahead)) as rows,
            closing(_predictions(predictor, predictor.logits(rows), results.contents, notes)) as predicted,
        ):
            written = parallel.ahead(pool, lambda bands: _write(results, bands), predicted, ahead)
            outcomes = console.progress(written, len(sources), "predict")
            problems = [problem for problem in outcomes if problem]
    for line in levels.lost(sorted(reader.deep_images, key=lambda each: each[0]), _FEW_LEVELS):
        console.warn(line)
    for note, count in sorted(notes.items()):
        console.warn(f"{count} of {len(sources)} images: {note}")
    return problems


def _predictions(
    predictor: Predictor,
    logits: Iterator[tuple[Image, list[Tensor]] | Failure],
    contents: Contents,
    notes: Counter[str],
) -> Generator[_Bands | Failure]:
    """Each image before its classes are computed, with the bands that take them, or why it cannot be read.

    Counts in `notes` what was done to the images.
    """
    dropped: set[input_files.InputImage] = set()
    temperature = predictor.model.temperature
    counted_as = parents(predictor.model.classes, predictor.model.objects).tolist()
    for item in logits:
        if isinstance(item, Failure):
            if item.source not in dropped:
                yield item
            continue
        image, views = item
        if image.source in dropped:
            continue  # rows that were on their way
        notes.update(image.notes)
        bands = _Bands(image)
        try:
            yield bands
            top = 0
            for merged in predictor.merged(image.grid, _rows_of(image, views, logits)):
                folded = objects.folded(merged, counted_as)
                if contents.ranked:
                    bands.doubt.add(folded / temperature, image.no_data.missing(top, merged.shape[1]))
                top += merged.shape[1]
                planes = uncertainty.planes(folded / temperature) if contents.probabilities else None
                insides = objects.insides(merged, contents.learnt.classes) if contents.learnt else None
                if not bands.put(Band(forward.classes(folded[None])[0], planes, insides)):
                    image.dropped.set()
                    dropped.add(image.source)
                    break
            bands.put(None)
        except PipelineError as problem:  # of an image that cannot be read to its end
            bands.put(problem)
        except BaseException:
            bands.put(CancelledError())
            raise


def _rows_of(
    image: Image, first: list[Tensor], following: Iterator[tuple[Image, list[Tensor]] | Failure]
) -> Iterator[list[Tensor]]:
    """The logits of all rows of an image. Raises PipelineError if one of them could not be read."""
    count = image.grid.count
    rows = chain([(image, first)], islice(following, count - 1))
    for item in console.progress(rows, count, image.source.name, unit="tile") if count >= MANY_WINDOWS else rows:
        if isinstance(item, Failure):
            raise item.problem
        yield item[1]


def _write(results: output_folder.OutputFolder, bands: _Bands | Failure) -> PipelineError | None:
    if isinstance(bands, Failure):
        return bands.problem
    fatal = None
    try:
        results.add(bands.image, bands, bands.doubt)
    except PipelineError as error:
        return error
    except OSError as error:
        if error.errno in atomic.FULL:  # as it would be for every image to come
            fatal = error
            raise
        problem = f"its results cannot be written: {error.filename}: {error.strerror or error}"
        return DataError(bands.image.source.path, problem, "Rename the image, or name another folder with --out.")
    finally:
        bands.close(fatal)
    return None


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
