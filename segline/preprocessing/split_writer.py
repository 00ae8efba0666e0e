"""A raw data set -> the folders of its processed splits, or every problem that it has.

Progress and warnings go to the terminal.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Event
from typing import TypeVar

from segline.core import atomic, parallel
from segline.core.errors import PipelineError, combined
from segline.dataset import tiling
from segline.dataset.preparation import Preparation
from segline.dataset.processed import Index, Origin, Row, write_index, writing
from segline.dataset.raw import Dataset
from segline.monitoring import console
from segline.preprocessing import audit, images, pair_files, pairs, percentiles, working_image
from segline.preprocessing.all_pairs import AllPairs
from segline.preprocessing.image_files import decoder_warnings
from segline.preprocessing.image_files.page_errors import once
from segline.preprocessing.pair_files import Page

Item = TypeVar("Item")
Result = TypeVar("Result")
Pages = Mapping[str, Sequence[tuple[Page, int]]]  # of each split, with the number of rows


def write(raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset) -> list[Index]:
    """Replaces the folder `processed` by one folder of arrays for each split of the data set in `raw`.

    Returns their indices. Raises all problems of the data set together, or PipelineError if the disk is too full;
    `processed` is then as it was.
    """
    images.single_threaded()
    problems = audit.problems(raw, data)
    with atomic.folder(processed) as folder, decoder_warnings.muffled() as heard:
        pages = _pages(raw, recipe.preparation, data, problems)
        _require_space(processed, recipe, pages)
        recipe = _measured(raw, recipe, pages, problems)
        seen = AllPairs(recipe.preparation)
        indices = []
        for split in data.splits:
            written = _write_split(
                raw / split, folder / split, recipe, data, pages[split], seen=seen, problems=problems
            )
            indices.append(written)
            problems += pairs.damaged(raw / split, recipe, (page for page, _ in pages[split]), heard)
        problems += seen.problems(raw)
        if problems:
            console.warn(f"DVC undoes edits in {raw}: fix the source that data.input names, and run again")
            raise combined(raw, once(problems))
        for line in seen.warnings([label.name for label in recipe.table.classes]):
            console.warn(line)
    return indices


def _pages(raw: Path, preparation: Preparation, data: Dataset, problems: list[PipelineError]) -> Pages:
    """The pages of each split with their numbers of rows, by the headers of the files alone."""
    found = {}
    for split, listed in data.splits.items():
        pages: list[Page] = []
        for pair in listed:
            try:
                pages += pair_files.pages(raw / split, pair)
            except PipelineError as error:
                problems.append(error)
        problems += audit.unusable_stems(raw / split, pages)
        with _threads(Event()) as each:
            counts = [*each(partial(pair_files.num_rows, raw / split, preparation=preparation), pages)]
        found[split] = [*zip(pages, counts, strict=True)]
    return found


def _require_space(processed: Path, recipe: pairs.Recipe, pages: Pages) -> None:
    """Raises PipelineError if the disk cannot take the arrays and the copy that DVC's cache makes without reflinks."""
    needed = 2 * recipe.row_bytes * sum(rows for listed in pages.values() for _, rows in listed)
    disk = next(folder for folder in processed.absolute().parents if folder.exists())
    if needed > (free := shutil.disk_usage(disk).free):
        expected = f"at least {(needed >> 20) + 1} MiB, twice the size of the arrays: DVC's cache keeps a copy"
        problem = f"{free >> 20} MiB free on its disk, expected {expected}"
        smaller = "scale or preprocess.overlap" if recipe.preparation.fit == "tile" else "height and preprocess.width"
        raise PipelineError(processed, problem, f"Free some, or lower preprocess.{smaller}.")


def _measured(raw: Path, recipe: pairs.Recipe, pages: Pages, problems: list[PipelineError]) -> pairs.Recipe:
    """The recipe with the percentiles of train, if it asks for them. Images with a problem are left out here."""
    if recipe.percentile is None:
        return recipe
    folder, preparation = raw / "train", recipe.preparation
    listed = [page for page, _ in pages.get("train", ())]

    def visit(add: percentiles.Add) -> None:
        stopped = Event()

        def count(page: Page) -> None:
            with suppress(PipelineError), pair_files.opened_image(folder, page, preparation, verify=False) as image:
                for samples in working_image.image_pieces(image, preparation):
                    if stopped.is_set():
                        raise CancelledError
                    add(samples)

        with _threads(stopped) as each:
            for _ in console.progress(each(count, listed), len(listed), "measure train"):
                pass

    try:
        rule = percentiles.measured(folder, recipe.percentile, preparation.bands, visit)
    except PipelineError as error:
        problems.append(error)
        return recipe
    return replace(recipe, preparation=replace(preparation, intensity=rule))


def _write_split(
    raw: Path,
    processed: Path,
    recipe: pairs.Recipe,
    data: Dataset,
    pages: Sequence[tuple[Page, int]],
    *,
    seen: AllPairs,
    problems: list[PipelineError],
) -> Index:
    """Writes the arrays of one split in the order of the data set. Adds each pair to `seen`, or its problems."""
    processed.mkdir()
    starts = [0, *accumulate(count for _, count in pages)]
    origins: list[Origin] = []
    stopped = Event()
    with (
        writing(processed, starts[-1], recipe.preparation, len(recipe.table.classes)) as put_row,
        _threads(stopped) as each,
    ):

        def prepare(item: tuple[tuple[Page, int], int]) -> pairs.Prepared | list[PipelineError]:
            (page, count), start = item

            def put(row: int, image: pairs.Uint8, onehot: pairs.Uint8) -> None:
                if stopped.is_set():
                    raise CancelledError
                if not problems:  # otherwise nothing is kept, and a part that misses a row would stay open
                    put_row(start + row, image, onehot)

            return pairs.prepare(raw, recipe, page, count, put)

        results = each(prepare, zip(pages, starts[:-1], strict=True))
        shown = console.progress(results, len(pages), f"preprocess {raw.name}")
        for (page, _), result in zip(pages, shown, strict=True):
            if isinstance(result, list):
                problems += result
            else:
                origins.append(result.origin)
                seen.add(raw, page, result)
    index = Index(
        dataset=data.name,
        split=raw.name,
        classes=recipe.table.classes,
        void=data.void,
        void_is_class=recipe.table.void_is_class,
        encoding=data.encoding,
        values=recipe.table.values,
        preparation=seen.preparation,
        origins=tuple(origins),
        rows=(),
        threshold=data.threshold,
        objects=recipe.table.objects,
    )
    places = ((number, place) for number in range(len(origins)) for place in index.grid(number).windows)
    index = replace(index, rows=tuple(Row(number, *place) for number, place in places))
    if not problems:
        write_index(processed, index)
    return index


@contextmanager
def _threads(stopped: Event) -> Iterator[Callable[[Callable[[Item], Result], Iterable[Item]], Iterator[Result]]]:
    """Yields a `map` whose results are in order, computed on all cores, a few items ahead of what was taken.

    Sets `stopped` if the block raises: functions that take long should then give up.
    """
    threads = parallel.count()
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield lambda function, items: parallel.ahead(pool, function, items, 2 * threads)
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def summary(indices: Sequence[Index]) -> str:
    """How many images each split has, how many tiles and pixels they became, and what `tiling` rounded."""
    counts = [f"{index.split} {len(index.origins)}" for index in indices]
    form = indices[0].preparation
    if form.fit != "tile":
        return f"{', '.join(counts)} pairs"
    tiles = [f"{len(index.rows):,} tiles, {index.num_pixels:,} pixels" for index in indices]
    made = [f"{images} images, {made}" for images, made in zip(counts, tiles, strict=True)]
    if (scale := float(1 / tiling.own_pixels(form))) != form.scale:
        made.append(f"scale {scale:.4g} for {form.scale:g}")
    lines, columns = tiling.shared(form)
    if (lines, columns) != tuple(round(form.overlap * side, 6) for side in (form.height, form.width)):
        made.append(f"neighbours share {lines} lines and {columns} columns for overlap {form.overlap:g}")
    return "; ".join(made)
