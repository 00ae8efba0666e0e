"""Images -> their predictions in an output folder: threads decode and write while the network computes."""

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from queue import Full, Queue
from threading import Event

from torch import Tensor

from segline.core import atomic, parallel
from segline.core.errors import DataError, PipelineError
from segline.dataset.objects import parents
from segline.inference import output_folder, uncertainty
from segline.inference.input_files import InputImage
from segline.inference.input_rows import Failure, Image, Reader
from segline.inference.output_folder import Band, Contents
from segline.inference.sliding_window import Predictor
from segline.inference.uncertainty import Uncertainty
from segline.model import device, forward, objects
from segline.monitoring import console
from segline.preprocessing import images, levels
from segline.preprocessing.image_files import decoder_warnings

MANY_WINDOWS = 100  # of an image: from here on it has a progress bar of its own
_FEW_LEVELS = "Their masks may be poor: the model expects samples that fill this range."
AHEAD = 2  # bands of classes that wait to be written


@dataclass
class Findings:
    """Why some images could not be predicted, how many had something done to them, and what is left of the gray levels
    of those with more than 8 bits."""

    problems: list[PipelineError] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    deep_images: list[tuple[Path, levels.Kept]] = field(default_factory=list)

    def add(self, others: Iterable["Findings"]) -> None:
        """Adds those of the images that follow."""
        for each in others:
            self.problems += each.problems
            self.notes.update(each.notes)
            self.deep_images += each.deep_images

    def warnings(self, total: int) -> Iterator[str]:
        """What the user is told of `total` images, besides problems."""
        yield from levels.lost(sorted(self.deep_images, key=lambda each: each[0]), _FEW_LEVELS)
        for note, count in sorted(self.notes.items()):
            yield f"{count} of {total} images: {note}"


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


def predict_all(
    predictor: Predictor,
    sources: Sequence[InputImage],
    results: output_folder.OutputFolder,
    starts: Collection[InputImage] = (),
    threads: int | None = None,
) -> Findings:
    """Adds each image to `results`. A batch ends where one of `starts` begins; `threads` decode and write, by default
    one a core."""
    images.single_threaded()
    model, threads = predictor.model, threads or parallel.count()
    ahead = predictor.batch_size + threads
    notes: Counter[str] = Counter()
    with (
        decoder_warnings.muffled() as heard,
        ThreadPoolExecutor(threads + 2) as pool,  # writers wait for the disk
        device.within_memory("lower --batch-size, or give smaller images"),
    ):
        reader = Reader(model.preparation, predictor.sizes, results.classes, results.contents.whole, heard)
        with (
            closing(reader.ahead(pool, sources, ahead)) as rows,
            closing(_predictions(predictor, predictor.logits(rows, starts), results.contents, notes)) as predicted,
        ):
            written = parallel.ahead(pool, lambda bands: _write(results, bands), predicted, ahead)
            outcomes = console.progress(written, len(sources), "predict")
            problems = [problem for problem in outcomes if problem]
    return Findings(problems, notes, reader.deep_images)


def _predictions(
    predictor: Predictor,
    logits: Iterator[tuple[Image, list[Tensor]] | Failure],
    contents: Contents,
    notes: Counter[str],
) -> Generator[_Bands | Failure]:
    """Each image before its classes are computed, with the bands that take them, or why it cannot be read.

    Counts in `notes` what was done to the images.
    """
    dropped: set[InputImage] = set()
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
