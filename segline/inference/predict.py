"""Image files -> a folder of predictions: threads decode and write while the network computes."""

import math
from argparse import Namespace
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from threading import Event

import numpy as np
import numpy.typing as npt
from torch import Tensor

from segline.core import atomic, parallel
from segline.core.errors import DataError, ParameterError, PipelineError, suggestion
from segline.inference import input_files, output_folder
from segline.inference.input_rows import Failure, Image, Reader
from segline.inference.sliding_window import Predictor
from segline.model import checkpoint, device, randomness, receptive_field
from segline.monitoring import console
from segline.preprocessing import images
from segline.preprocessing.image_files import decoder_warnings
from segline.sources.collecting import unsupported_formats

Uint8 = npt.NDArray[np.uint8]

MAX_SIDE = 8192
MANY_WINDOWS = 100  # of an image: from here on it has a progress bar of its own
AHEAD = 2  # bands of classes that wait to be written


@dataclass(frozen=True)
class Request:
    """Images per batch, input sizes relative to the model's own, whether to average with the mirrored image, and the
    names of the classes whose objects are numbered."""

    batch_size: int
    scales: tuple[float, ...]
    flip: bool
    instances: tuple[str, ...]


class _Bands:
    """The classes of an image on their way from the network to the thread that writes them, in bands of lines."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._queue: Queue[Uint8 | Exception | None] = Queue(AHEAD)
        self._closed = Event()
        self._fatal: OSError | None = None

    def put(self, band: Uint8 | Exception | None) -> bool:
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

    def __iter__(self) -> Iterator[Uint8]:
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
    counted = [_class_index(description, name) for name in request.instances]
    margin = receptive_field.of_tiles(network, description.preparation)
    predictor = Predictor(network.to(device.pick()), description, sizes, request.batch_size, request.flip, margin)
    randomness.deterministic(0)  # the same kernels as `evaluate`
    with output_folder.opened(out, description.classes, counted, [source.name for source in sources]) as results:
        problems += predict_all(predictor, sources, results)
    for problem in problems:
        console.warn(str(problem))
    if len(problems) == total:
        raise DataError(out, f"none of {total} images could be predicted", "They are named above.")
    contents = ", ".join((*output_folder.KINDS[: 3 if counted else 2], *results.tables))
    console.say(f"predict: {total - len(problems)} of {total} images -> {out}: {contents}")
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
        reader = Reader(model.preparation, predictor.sizes, model.classes, bool(results.counted), heard)
        with (
            closing(reader.ahead(pool, sources, ahead)) as rows,
            closing(_predictions(predictor, predictor.logits(rows), notes)) as predicted,
        ):
            written = parallel.ahead(pool, lambda bands: _write(results, bands), predicted, ahead)
            outcomes = console.progress(written, len(sources), "predict")
            problems = [problem for problem in outcomes if problem]
    for note, count in sorted(notes.items()):
        console.warn(f"{count} of {len(sources)} images: {note}")
    return problems


def _predictions(
    predictor: Predictor, logits: Iterator[tuple[Image, list[Tensor]] | Failure], notes: Counter[str]
) -> Generator[_Bands | Failure]:
    """Each image before its classes are computed, with the bands that take them, or why it cannot be read.

    Counts in `notes` what was done to the images.
    """
    dropped: set[input_files.InputImage] = set()
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
            for band in predictor.classes(image.grid, _rows_of(image, views, logits)):
                if not bands.put(band):
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
        results.add(bands.image, bands)
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


def _class_index(model: checkpoint.Description, name: str) -> int:
    known = [label.name for label in model.classes]
    if name not in known:
        remedy = f"{suggestion(name, known, '')} The model knows: {', '.join(known)}."
        raise ParameterError("--instances", f"{name!r} is not a class of the model", remedy)
    return known.index(name)


def command(args: Namespace) -> None:
    """`segline predict`."""
    instances = tuple(dict.fromkeys(args.instances))
    request = Request(args.batch_size, tuple(args.scales), args.flip, instances)
    run(args.inputs, args.model, args.out, request)
