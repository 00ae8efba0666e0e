"""Chunks of the pages of a split as tasks: their rows counted, their samples counted, and the rows made.

Each puts its rows at their places in the files of the whole split, side by side with others.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import numpy as np

from segline.core import parallel
from segline.core.errors import PipelineError
from segline.dataset import npy, processed
from segline.dataset.preparation import Preparation
from segline.monitoring import console
from segline.preprocessing import images, pair_files, pairs, percentiles, working_image
from segline.preprocessing.image_files import decoder_warnings
from segline.preprocessing.pair_files import Page
from segline.scheduling.places import Place

Item = TypeVar("Item")
Result = TypeVar("Result")

PAGES = 128  # of a chunk at most
BYTES = 32 << 20  # of its rows, unless one page has more


@dataclass(frozen=True)
class Chunk:
    """Pages of the split in `raw` with their numbers of rows. The first of these is `first` of the split's `total`.

    `processed` has files for all rows; unless it `is_kept`, none is put there.
    """

    raw: Path
    processed: Path
    recipe: pairs.Recipe
    pages: Sequence[tuple[Page, int]]
    first: int
    total: int
    is_kept: bool


@dataclass(frozen=True)
class Done:
    """What each page of a chunk has become, or every problem of it; and the files that were decoded though damaged."""

    results: Sequence[pairs.Prepared | list[PipelineError]]
    damaged: Sequence[PipelineError]


def prepare(chunk: Chunk, place: Place) -> Done:
    """Checks every page of a chunk and puts its rows."""
    images.single_threaded()
    recipe, starts = chunk.recipe, [*accumulate((count for _, count in chunk.pages), initial=chunk.first)]
    num_classes, rows = len(recipe.table.classes), range(starts[0], starts[-1])
    stopped, is_kept, results = Event(), chunk.is_kept, []
    with decoder_warnings.muffled() as heard:
        with (
            processed.placing(chunk.processed, chunk.total, recipe.preparation, num_classes, rows) as put_row,
            _threads(stopped, place) as each,
        ):

            def prepare_page(item: tuple[tuple[Page, int], int]) -> pairs.Prepared | list[PipelineError]:
                (page, count), start = item

                def put(row: int, image: pairs.Uint8, onehot: pairs.Uint8) -> None:
                    if stopped.is_set():
                        raise CancelledError
                    if is_kept:
                        put_row(start + row, image, onehot)

                return pairs.prepare(chunk.raw, recipe, page, count, put)

            prepared = each(prepare_page, zip(chunk.pages, starts[:-1], strict=True))
            for result in console.progress(prepared, len(chunk.pages), f"preprocess {chunk.raw.name}"):
                is_kept = is_kept and not isinstance(result, list)
                results.append(result)
        return Done(results, [*pairs.damaged(chunk.raw, recipe, (page for page, _ in chunk.pages), heard)])


@dataclass(frozen=True)
class Headers:
    """Pages of the split in `raw` that are only opened."""

    raw: Path
    preparation: Preparation
    pages: Sequence[Page]


def count_rows(task: Headers, place: Place) -> list[int]:
    """How many rows each page becomes."""
    with decoder_warnings.muffled(), _threads(Event(), place) as each:
        return [*each(partial(pair_files.num_rows, task.raw, preparation=task.preparation), task.pages)]


@dataclass(frozen=True)
class Samples:
    """Pages of the split in `raw` whose samples are counted; `file` takes the counts."""

    raw: Path
    preparation: Preparation
    pages: Sequence[Page]
    counted: percentiles.Counted
    file: Path


def count_samples(task: Samples, place: Place) -> np.dtype[Any] | None:
    """Writes the bytes of the counts, uint8 (C, n, 8 * 65536), and returns the type of the samples; None if there are
    none. Images with a problem are left out."""
    images.single_threaded()
    stopped, counts = Event(), percentiles.Counts(task.counted)

    def count(page: Page) -> None:
        opened = pair_files.opened_image(task.raw, page, task.preparation, verify=False)
        with suppress(PipelineError), opened as image:
            for samples in working_image.image_pieces(image, task.preparation):
                if stopped.is_set():
                    raise CancelledError
                counts.add(samples)

    with decoder_warnings.muffled(), _threads(stopped, place) as each:
        for _ in console.progress(each(count, task.pages), len(task.pages), "measure train"):
            pass
    if not len(counts.counts):
        return None
    npy.save(task.file, counts.counts.view(np.uint8))
    return counts.dtype


@contextmanager
def _threads(
    stopped: Event, place: Place
) -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Yields a `map` whose results are in order, computed on the task's cores, a few items ahead of what was taken.

    Sets `stopped` if the block raises: functions that take long should then give up.
    """
    with ThreadPoolExecutor(place.threads) as pool:
        try:
            yield lambda function, items: parallel.ahead(pool, function, items, 2 * place.threads)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
