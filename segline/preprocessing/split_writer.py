"""A raw data set -> the folders of its processed splits, or every problem that it has.

Progress and warnings go to the terminal.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from segline.core import atomic
from segline.core.errors import PipelineError, combined
from segline.dataset import npy, tiling
from segline.dataset.origins import Origin
from segline.dataset.preparation import Preparation
from segline.dataset.processed import Index, create, write_index
from segline.dataset.raw import Dataset
from segline.monitoring import console
from segline.preprocessing import audit, chunks, pair_files, pairs, percentiles
from segline.preprocessing.all_pairs import AllPairs
from segline.preprocessing.image_files import decoder_warnings
from segline.preprocessing.image_files.page_errors import once
from segline.preprocessing.pair_files import Page
from segline.scheduling import tasks
from segline.scheduling.places import Place

Item = TypeVar("Item")
Result = TypeVar("Result")
Pages = Mapping[str, Sequence[tuple[Page, int]]]  # of each split, with the number of rows


def write(raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset) -> list[Index]:
    """Replaces the folder `processed` by one folder of arrays for each split of the data set in `raw`.

    Returns their indices. Raises all problems of the data set together, or PipelineError if the disk is too full;
    `processed` is then as it was.
    """
    problems = audit.problems(raw, data)
    num_pairs = sum(map(len, data.splits.values()))
    with (
        atomic.folder(processed) as folder,
        decoder_warnings.muffled(),
        tasks.computing(num_pairs, on_gpu=False) as compute,
    ):
        work = Work(compute, is_shared=tasks.are_shared(num_pairs))
        pages = _pages(raw, recipe.preparation, data, problems, work)
        _require_space(processed, recipe, pages)
        recipe = _measured(raw, recipe, pages, problems, work=work, folder=folder)
        seen = AllPairs(recipe.preparation)
        indices = []
        for split in data.splits:
            written = _write_split(
                raw / split, folder / split, recipe, data, pages[split], seen=seen, problems=problems, work=work
            )
            indices.append(written)
        problems += seen.problems(raw)
        if problems:
            console.warn(f"DVC undoes edits in {raw}: fix the source that data.input names, and run again")
            raise combined(raw, once(problems))
        for line in seen.warnings([label.name for label in recipe.table.classes]):
            console.warn(line)
    return indices


@dataclass(frozen=True)
class Work:
    """Chunks of pages as tasks; without others to share it with, all pages of a split are one."""

    compute: tasks.Compute
    is_shared: bool

    def cut(self, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """The first and the last page, exclusive, of each chunk of pages whose rows have so many bytes."""
        if not self.is_shared:
            return [(0, len(sizes))]
        return [*tasks.cut((max(size, chunks.BYTES // chunks.PAGES) for size in sizes), chunks.BYTES)]

    def run(self, function: Callable[[Item, Place], Result], items: Sequence[Item], name: str) -> list[Result]:
        """The result of each item, in order."""
        with closing(self.compute(function, items)) as ended:
            shown = console.progress(ended, len(items), name, unit="chunk") if self.is_shared else ended
            found = dict(shown)
        return [found[number] for number in range(len(items))]


def _pages(raw: Path, preparation: Preparation, data: Dataset, problems: list[PipelineError], work: Work) -> Pages:
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
        cuts = work.cut([0] * len(pages)) if preparation.fit == "tile" else []  # otherwise an image is a row
        headers = [chunks.Headers(raw / split, preparation, pages[first:last]) for first, last in cuts]
        counts = [*chain.from_iterable(work.run(chunks.count_rows, headers, f"open {split}"))] or [1] * len(pages)
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


def _measured(
    raw: Path, recipe: pairs.Recipe, pages: Pages, problems: list[PipelineError], *, work: Work, folder: Path
) -> pairs.Recipe:
    """The recipe with the percentiles of train, if it asks for them. Images with a problem are left out here.

    `folder` takes the counts for a while.
    """
    if recipe.percentile is None:
        return recipe
    preparation, listed = recipe.preparation, pages.get("train", ())
    cuts = work.cut([count * recipe.row_bytes for _, count in listed])
    parts = [[page for page, _ in listed[first:last]] for first, last in cuts]

    def visit(counts: percentiles.Counts) -> None:
        asked = [
            chunks.Samples(raw / "train", preparation, part, counts.counted, folder / f".{number}.npy")
            for number, part in enumerate(parts)
        ]
        for each, dtype in zip(asked, work.run(chunks.count_samples, asked, "measure train"), strict=True):
            if dtype is not None:
                counts.join(dtype, npy.map_array(each.file).view(np.int64))
                each.file.unlink()

    try:
        rule = percentiles.measured(raw / "train", recipe.percentile, preparation.bands, visit)
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
    work: Work,
) -> Index:
    """Writes the arrays of one split in the order of the data set. Adds each pair to `seen`, or its problems."""
    processed.mkdir()
    starts = [0, *accumulate(count for _, count in pages)]
    create(processed, starts[-1], recipe.preparation, len(recipe.table.classes))
    asked = [
        chunks.Chunk(raw, processed, recipe, pages[first:last], starts[first], starts[-1], is_kept=not problems)
        for first, last in work.cut([count * recipe.row_bytes for _, count in pages])
    ]
    done = work.run(chunks.prepare, asked, f"preprocess {raw.name}")
    origins: list[Origin] = []
    for (page, _), result in zip(pages, chain.from_iterable(each.results for each in done), strict=True):
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
        threshold=data.threshold,
        objects=recipe.table.objects,
    )
    if not problems:
        write_index(processed, index)
    problems += chain.from_iterable(each.damaged for each in done)
    return index


def summary(indices: Sequence[Index]) -> str:
    """How many images each split has, how many tiles and pixels they became, and what `tiling` rounded."""
    counts = [f"{index.split} {len(index.origins)}" for index in indices]
    form = indices[0].preparation
    if form.fit != "tile":
        return f"{', '.join(counts)} pairs"
    tiles = [f"{index.num_rows:,} tiles, {index.num_pixels:,} pixels" for index in indices]
    made = [f"{images} images, {made}" for images, made in zip(counts, tiles, strict=True)]
    if (scale := float(1 / tiling.own_pixels(form))) != form.scale:
        made.append(f"scale {scale:.4g} for {form.scale:g}")
    lines, columns = tiling.shared(form)
    if (lines, columns) != tuple(round(form.overlap * side, 6) for side in (form.height, form.width)):
        made.append(f"neighbours share {lines} lines and {columns} columns for overlap {form.overlap:g}")
    return "; ".join(made)
