"""Image files -> the rows of their grids, read by threads ahead of the network.

Images of one row are read side by side. Those that are cut into tiles are read one after the other, by one thread, so
that memory does not grow with their size.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core import parallel
from segline.core.errors import DataError, PipelineError
from segline.dataset import onehot, raw, tiling
from segline.dataset.preparation import Preparation
from segline.inference import overlay
from segline.inference.input_files import InputImage
from segline.model import watershed
from segline.preprocessing import images, intensity, levels, working_image
from segline.preprocessing.image_files import decoder_warnings, image_file
from segline.preprocessing.image_files.image_file import Georeference, ImageFile, Samples

Uint8 = npt.NDArray[np.uint8]

# Readers propose parameters; whoever predicts has the image alone.
_REMEDIES = {
    "preprocess.alpha": "Save it without an alpha channel, flattened.",
    "preprocess.bands is": "Save it as gray or RGB.",
    "preprocess.bands": "Save it with the bands of the images that the model was trained on.",
    "preprocess.intensity": "Save it with integer samples, as the images that the model was trained on.",
    "preprocess.fit": "Cut it or save it smaller, or train a model with fit: tile.",
}


class NoData:
    """The pixels of an image of this size that have no value, as bits. Lines are added from the top."""

    def __init__(self, height: int, width: int) -> None:
        self._size, self._top = (height, width), 0
        self._bits: Uint8 | None = None  # of most images

    def add(self, samples: Samples) -> None:
        """The next lines of the image."""
        height, width = self._size
        bottom = self._top + len(samples.values)
        if samples.valid is not None and not samples.valid.all():
            if self._bits is None:
                self._bits = np.zeros((height, -(-width // 8)), np.uint8)
            self._bits[self._top : bottom] = np.packbits(~samples.valid, axis=1)
        self._top = bottom

    def missing(self, top: int, lines: int) -> npt.NDArray[np.bool_] | None:
        """Which pixels of the lines from `top` on, bool (n, W), have no value; None if all have."""
        if self._bits is None:
            return None
        return np.unpackbits(self._bits[top : top + lines], axis=1, count=self._size[1]).view(np.bool_)

    def cut_from(self, classes: Uint8, top: int) -> None:
        """Makes void the classes (n, W) of pixels without a value, in place; they begin with line `top`."""
        if (missing := self.missing(top, len(classes))) is not None:
            classes[missing] = onehot.VOID


@dataclass(frozen=True, eq=False)
class Image:
    """An image that is being read; its `canvas` and `no_data` have the lines that were read so far.

    Whoever needs no more rows of it sets `dropped`. `georeference` is None if it has none; `notes` say what was done to
    its samples.
    """

    source: InputImage
    grid: tiling.Grid
    canvas: overlay.Canvas
    no_data: NoData
    is_tiff: bool
    georeference: Georeference | None
    notes: tuple[str, ...]
    dropped: Event = field(default_factory=Event)


@dataclass(frozen=True)
class Row:
    """A row of an image, uint8 (h, w, C) at each input size."""

    image: Image
    inputs: list[Uint8]


@dataclass(frozen=True)
class Failure:
    """Why an image cannot be read, or not to its end."""

    source: InputImage
    problem: PipelineError


@dataclass(frozen=True)
class Reader:
    """Reads images as the model's were prepared, for input sizes (height, width). `whole` is the option, if
    there is one, for which a mask must be in memory at once.

    `heard` gives what decoders complained about, see `decoder_warnings.muffled`. `deep_images` are those of more than 8
    bits that were read to their end, with what is left of their gray levels.
    """

    preparation: Preparation
    sizes: Sequence[tuple[int, int]]
    classes: Sequence[raw.Label]
    whole: str | None
    heard: Callable[[], str]
    deep_images: list[tuple[Path, levels.Kept]] = field(default_factory=list, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def ahead(self, pool: ThreadPoolExecutor, sources: Sequence[InputImage], limit: int) -> Generator[Row | Failure]:
        """The rows of each image, in order; at most `limit` images of one row, or as many tiles, are read ahead."""
        if self.preparation.fit == "tile":
            yield from _in_one_thread(self._all_rows(sources), limit)
        else:
            for rows in parallel.ahead(pool, lambda source: [*self._rows(source)], sources, limit):
                yield from rows

    def _all_rows(self, sources: Sequence[InputImage]) -> Generator[Row | Failure]:
        for source in sources:
            yield from self._rows(source)

    def _rows(self, source: InputImage) -> Iterator[Row | Failure]:
        form = self.preparation
        try:
            turn, windows = form.orientation != "stored", form.fit == "tile"
            with image_file.opened(
                source.path, source.path, source.page, form.alpha, bands=form.bands, turn=turn, windows=windows
            ) as file:
                yield from self._rows_of(source, file)
        except PipelineError as problem:
            yield Failure(source, _for_one_who_predicts(problem))

    def _rows_of(self, source: InputImage, file: ImageFile) -> Iterator[Row]:
        form = self.preparation
        _require_as_trained(source.path, file, form)
        intensity.require(source.path, file.colour, file.bands, file.dtype, form)
        if self.whole:
            watershed.require_size(source.path, file.height, file.width, self.whole, "Predict it without.")
        own = tiling.grid(form, file.height, file.width)
        canvas, no_data = overlay.Canvas(file.height, file.width, self.classes), NoData(file.height, file.width)
        notes = file.notes if canvas.factor == 1 else (*file.notes, "overlays scaled down to fit 4096 pixels a side")
        image = Image(source, own, canvas, no_data, file.format == "TIFF", file.georeference, notes)
        counter = levels.Counter(form)
        seen: list[tuple[Uint8, npt.NDArray[np.bool_] | None]] = []

        def watch(samples: Samples, pixels: Uint8) -> None:
            no_data.add(samples)
            counter.add(samples, pixels)
            canvas.add_image(pixels)
            seen[:] = [(pixels, samples.valid)]

        rows = working_image.image_rows(file, form, watch)
        for row, _ in chain([self._first(source, file, rows)], rows):
            if image.dropped.is_set():
                return
            # A stretched image is brought to each size from its own one: resized twice it would lose detail.
            ((pixels, valid),) = seen if form.fit == "stretch" else [(row, None)]
            resized = (
                row if row.shape[:2] == size else images.resize_image(pixels, *size, valid) for size in self.sizes
            )
            yield Row(image, [*resized])
        if kept := counter.kept():
            self.deep_images.append((source.path, kept))

    def _first(self, source: InputImage, file: ImageFile, rows: Iterator[Any]) -> Any:
        """The first row, for which a JPEG is decoded whole, with damage to it: libjpeg's warning names no file."""
        if file.format != "JPEG":
            return next(rows)
        with self._lock:
            self.heard()
            first = next(rows)
            damage = decoder_warnings.damage_to(source.path, self.heard)
        if damage:
            raise damage
        return first


def _require_as_trained(where: Path, file: ImageFile, form: Preparation) -> None:
    """Raises DataError for a type of samples or a number of bands that the images of training did not have."""
    kinds = (
        (form.dtype, file.dtype.name, f"{file.dtype} samples", form.dtype),
        (form.file_bands, file.bands, f"{file.bands} band{'s' * (file.bands != 1)}", f"{form.file_bands} bands"),
    )
    for expected, actual, got, trained in kinds:
        if expected is not None and actual != expected:
            problem = f"{got}, but the model was trained on {trained}"
            raise DataError(where, problem, "Give images like those of training.")


def _for_one_who_predicts(problem: PipelineError) -> PipelineError:
    """The problem, with a remedy that does not need the parameters of training."""
    for parameter, remedy in _REMEDIES.items():
        if parameter in f"{problem.problem} {problem.remedy}":
            return DataError(problem.where, problem.problem, remedy)
    return problem


def _in_one_thread(items: Generator[Row | Failure], limit: int) -> Iterator[Row | Failure]:
    """The items, at most `limit` ahead: GDAL's settings belong to the thread that opens a file."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            for item in parallel.ahead(thread, lambda _: next(items, None), repeat(None), limit):
                if item is None:
                    return
                yield item
        finally:
            thread.submit(items.close)
