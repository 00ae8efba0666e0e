"""Checks every image and mask, resizes them and packs the masks as one-hot bits: data/raw -> data/processed."""

import argparse
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from segline.core import atomic, params
from segline.core.errors import PipelineError, combined
from segline.dataset.processed import IMAGES, ONEHOT, Index, Row, write_index, writing
from segline.dataset.raw import Dataset, read
from segline.monitoring import console
from segline.preprocessing import audit, decoder_warnings, images, pairs

Alike = dict[int, list[tuple[str, Row]]]  # by checksum of the image: its split and row


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The paths that dvc.yaml gives."""
    return console.paths(__doc__, argv, raw="the data set of the download stage", processed="where the arrays go")


def main(argv: Sequence[str] | None = None) -> None:
    """Writes one folder of arrays a split. Raises everything that is wrong with the data set at once."""
    arguments = parse(argv)
    section = params.section(params.load(), "preprocess", pairs.Section)
    data = read(arguments.raw)
    recipe = pairs.recipe(arguments.raw, data, section)
    problems = audit.problems(arguments.raw, data)
    _check_space(arguments.processed, recipe, data)
    images.single_threaded()
    alike: Alike = defaultdict(list)
    with atomic.folder(arguments.processed) as processed, decoder_warnings.muffled() as heard:
        for split, listed in data.splits.items():
            problems += _write(arguments.raw / split, processed / split, recipe, data, alike)
            problems += pairs.damaged(arguments.raw / split, recipe, listed, heard)
        problems += audit.equal_pictures(arguments.raw, recipe.channels, alike.values())
        if problems:
            console.warn(f"DVC undoes edits in {arguments.raw}: mend the source, what data.input names, and run again")
            raise combined(arguments.raw, problems)
    for warning in audit.shared_groups(data):
        console.warn(warning)
    counts = ", ".join(f"{split} {len(listed)}" for split, listed in data.splits.items())
    form = f"{recipe.width}x{recipe.height}, {recipe.channels} channels, {len(recipe.table.classes)} classes"
    console.say(f"preprocess: {counts} pairs at {form} -> {arguments.processed}")


def _check_space(target: Path, recipe: pairs.Recipe, data: Dataset) -> None:
    """Raises PipelineError if there is no room for the arrays and the copy that DVC's cache makes without reflinks."""
    needed = 2 * recipe.row_bytes * sum(len(listed) for listed in data.splits.values())
    disk = next(folder for folder in target.absolute().parents if folder.exists())
    if needed > (free := shutil.disk_usage(disk).free):
        expected = f"at least {(needed >> 20) + 1} MiB, twice the size of the arrays: they lie in DVC's cache too"
        found = f"{free >> 20} MiB free on its disk, expected {expected}"
        raise PipelineError(target, found, "Free some, or lower preprocess.height and preprocess.width.")


def _write(raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset, alike: Alike) -> list[PipelineError]:
    """Writes the arrays of one split in the order of the data set, and returns what is wrong with its pairs.

    Notes each row in `alike`, under the checksum of its image.
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
            alike[result.checksum].append((raw.name, result.row))
            if not result.labelled:
                unlabelled.append(result.row.mask)
    if unlabelled:
        console.warn(f"{raw}: {len(unlabelled)} of {len(listed)} masks hold nothing but void, such as {unlabelled[0]}")
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


if __name__ == "__main__":
    console.run(main)
