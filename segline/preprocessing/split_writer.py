"""A raw data set -> the folders of its processed splits, or every problem that it has.

Progress and warnings go to the terminal.
"""

import shutil
from collections import defaultdict
from pathlib import Path

from segline.core import atomic
from segline.core.errors import PipelineError, combined
from segline.dataset.processed import IMAGES, ONEHOT, Index, Row, write_index, writing
from segline.dataset.raw import Dataset
from segline.monitoring import console
from segline.preprocessing import audit, decoder_warnings, images, pairs

RowsByChecksum = dict[int, list[tuple[str, Row]]]  # checksum of the resized image -> (split, row)


def write(raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset) -> None:
    """Replaces the folder `processed` by one folder of arrays for each split of the data set in `raw`.

    Raises all problems of the data set together, or PipelineError if the disk is too full; `processed` is then as it
    was.
    """
    problems = audit.problems(raw, data)
    _require_space(processed, recipe, data)
    images.single_threaded()
    rows_by_checksum: RowsByChecksum = defaultdict(list)
    with atomic.folder(processed) as folder, decoder_warnings.muffled() as heard:
        for split, listed in data.splits.items():
            problems += _write_split(raw / split, folder / split, recipe, data, rows_by_checksum)
            problems += pairs.damaged(raw / split, recipe, listed, heard)
        problems += audit.equal_pictures(raw, recipe.channels, rows_by_checksum.values())
        if problems:
            console.warn(f"DVC undoes edits in {raw}: fix the source that data.input names, and run again")
            raise combined(raw, problems)


def _require_space(processed: Path, recipe: pairs.Recipe, data: Dataset) -> None:
    """Raises PipelineError if the disk cannot take the arrays and the copy that DVC's cache makes without reflinks."""
    needed = 2 * recipe.row_bytes * sum(len(listed) for listed in data.splits.values())
    disk = next(folder for folder in processed.absolute().parents if folder.exists())
    if needed > (free := shutil.disk_usage(disk).free):
        expected = f"at least {(needed >> 20) + 1} MiB, twice the size of the arrays: DVC's cache keeps a copy"
        problem = f"{free >> 20} MiB free on its disk, expected {expected}"
        raise PipelineError(processed, problem, "Free some, or lower preprocess.height and preprocess.width.")


def _write_split(
    raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset, rows_by_checksum: RowsByChecksum
) -> list[PipelineError]:
    """Writes the arrays of one split in the order of the data set, and returns the problems of its pairs.

    Adds each row to `rows_by_checksum`.
    """
    processed.mkdir()
    listed = data.splits[processed.name]
    shape = (len(listed), recipe.height, recipe.width)
    problems: list[PipelineError] = []
    rows: list[Row] = []
    unlabelled: list[str] = []
    with (
        writing(processed / IMAGES, (*shape, recipe.channels)) as add_image,
        writing(processed / ONEHOT, (*shape, recipe.depth)) as add_onehot,
    ):
        for result in console.progress(pairs.prepare_all(raw, recipe, listed), len(listed), f"preprocess {raw.name}"):
            if isinstance(result, list):
                problems += result
                continue
            add_image(result.image)
            add_onehot(result.onehot)
            rows.append(result.row)
            rows_by_checksum[result.checksum].append((raw.name, result.row))
            if not result.labelled:
                unlabelled.append(result.row.mask)
    if unlabelled:
        console.warn(f"{raw}: {len(unlabelled)} of {len(listed)} masks contain only void, such as {unlabelled[0]}")
    index = Index(
        dataset=data.name,
        split=raw.name,
        classes=recipe.table.classes,
        void=data.void,
        void_is_class=recipe.table.void_is_class,
        encoding=data.encoding,
        values=recipe.table.values,
        rows=tuple(rows),
    )
    write_index(processed, index)
    return problems
