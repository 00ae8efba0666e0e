"""A raw data set -> the folders of its processed splits, or every problem that it has.

Progress and warnings go to the terminal.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core import atomic
from segline.core.errors import PipelineError, combined
from segline.dataset import onehot
from segline.dataset.processed import IMAGES, ONEHOT, Index, Origin, Row, write_index, writing
from segline.dataset.raw import Dataset
from segline.monitoring import console
from segline.preprocessing import audit, decoder_warnings, images, pairs, palettes


@dataclass(frozen=True)
class _Seen:
    """What is compared over all splits, once each pair is prepared.

    Images are (split, origin) by the checksum of the resized image; masks have the colours of their palettes, 16-bit
    images the levels that they keep; `classes` are those with a pixel in each split, bool (K,).
    """

    images: dict[int, list[tuple[str, Origin]]] = field(default_factory=lambda: defaultdict(list))
    masks: list[tuple[Path, palettes.Colours]] = field(default_factory=list)
    deep_images: list[tuple[Path, int]] = field(default_factory=list)
    classes: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, folder: Path, prepared: pairs.Prepared) -> None:
        """Adds a pair of the split in `folder`."""
        self.images[prepared.checksum].append((folder.name, prepared.origin))
        if prepared.colours:
            self.masks.append((folder / prepared.origin.mask, prepared.colours))
        if prepared.levels is not None:
            self.deep_images.append((folder / prepared.origin.image, prepared.levels))

    def problems(self, raw: Path, channels: int) -> Iterator[PipelineError]:
        """Equal pictures in different splits, palettes that differ."""
        yield from audit.equal_pictures(raw, channels, self.images.values())
        if problem := palettes.conflict(self.masks):
            yield problem


def write(raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset) -> None:
    """Replaces the folder `processed` by one folder of arrays for each split of the data set in `raw`.

    Raises all problems of the data set together, or PipelineError if the disk is too full; `processed` is then as it
    was.
    """
    problems = audit.problems(raw, data)
    _require_space(processed, recipe, data)
    images.single_threaded()
    seen = _Seen()
    with atomic.folder(processed) as folder, decoder_warnings.muffled() as heard:
        for split, listed in data.splits.items():
            problems += _write_split(raw / split, folder / split, recipe, data, seen)
            problems += pairs.damaged(raw / split, recipe, listed, heard)
        problems += seen.problems(raw, recipe.preparation.channels)
        for line in audit.lost_levels(seen.deep_images):
            console.warn(line)
        if problems:
            console.warn(f"DVC undoes edits in {raw}: fix the source that data.input names, and run again")
            raise combined(raw, problems)
        for line in audit.absent_classes([label.name for label in recipe.table.classes], seen.classes):
            console.warn(line)


def _require_space(processed: Path, recipe: pairs.Recipe, data: Dataset) -> None:
    """Raises PipelineError if the disk cannot take the arrays and the copy that DVC's cache makes without reflinks."""
    needed = 2 * recipe.row_bytes * sum(len(listed) for listed in data.splits.values())
    disk = next(folder for folder in processed.absolute().parents if folder.exists())
    if needed > (free := shutil.disk_usage(disk).free):
        expected = f"at least {(needed >> 20) + 1} MiB, twice the size of the arrays: DVC's cache keeps a copy"
        problem = f"{free >> 20} MiB free on its disk, expected {expected}"
        raise PipelineError(processed, problem, "Free some, or lower preprocess.height and preprocess.width.")


def _write_split(raw: Path, processed: Path, recipe: pairs.Recipe, data: Dataset, seen: _Seen) -> list[PipelineError]:
    """Writes the arrays of one split in the order of the data set, and returns the problems of its pairs.

    Adds each pair to `seen`.
    """
    processed.mkdir()
    listed = data.splits[processed.name]
    shape = (len(listed), recipe.preparation.height, recipe.preparation.width)
    problems: list[PipelineError] = []
    origins: list[Origin] = []
    unlabelled: list[str] = []
    num_classes = len(recipe.table.classes)
    classes = seen.classes.setdefault(raw.name, np.zeros(num_classes, np.bool_))
    with (
        writing(processed / IMAGES, (*shape, recipe.preparation.channels)) as add_image,
        writing(processed / ONEHOT, (*shape, recipe.depth)) as add_onehot,
    ):
        for result in console.progress(pairs.prepare_all(raw, recipe, listed), len(listed), f"preprocess {raw.name}"):
            if isinstance(result, list):
                problems += result
                continue
            add_image(result.image)
            add_onehot(result.onehot)
            origins.append(result.origin)
            seen.add(raw, result)
            classes |= (present := onehot.present(result.onehot, num_classes))
            if not present.any():
                unlabelled.append(result.origin.mask)
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
        preparation=recipe.preparation,
        origins=tuple(origins),
        rows=tuple(Row(number, 0, 0) for number in range(len(origins))),
        threshold=data.threshold,
    )
    write_index(processed, index, add_image.sha256, add_onehot.sha256)
    return problems
