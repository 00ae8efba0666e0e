"""One image and its mask: checked against each other and the data set, resized, packed. Safe to call from threads.

Every check returns or raises a `PipelineError` for one file; `split_writer` collects them.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline.core import parallel, params
from segline.core.errors import DataError, PipelineError
from segline.dataset import processed
from segline.dataset.onehot import Lookup, lookup, pack, packed_size
from segline.dataset.raw import DATASET_FILE, ENCODINGS, Dataset, Name, Pair
from segline.preprocessing import class_table, decoder_warnings, images, mask_values, palettes

Uint8 = npt.NDArray[np.uint8]
Decoded = TypeVar("Decoded")


class Section(params.Section):
    """`preprocess` in params.yaml. `void: class` makes "not labelled" a class of its own, the last one.

    `merge` is empty, or lists for each new class the old classes it replaces; every old class is listed once.
    """

    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    channels: Literal[1, 3]
    void: Literal["ignore", "class"]
    merge: dict[Name, Annotated[list[str], Field(min_length=1)]]


@dataclass(frozen=True)
class Recipe:
    """What every pair must be, and what it becomes.

    `lookup` maps the values of masks of this `encoding` and `threshold` to classes.
    """

    height: int
    width: int
    channels: int
    encoding: str
    threshold: int | None
    table: class_table.Table
    lookup: Lookup

    @property
    def depth(self) -> int:
        """Bytes of one pixel of one-hot bits."""
        return packed_size(len(self.table.classes))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of both arrays."""
        return self.height * self.width * (self.channels + self.depth)

    @property
    def form(self) -> str:
        """The form of the arrays, in words."""
        return f"{self.width}x{self.height}, {self.channels} channels, {len(self.table.classes)} classes"


@dataclass(frozen=True)
class Prepared:
    """A row of the processed arrays: uint8 (H, W, C) and (H, W, ceil(K / 8)).

    Images of equal pixels have the same `checksum`; rarely, so do others. `levels` is what an image of 16 bits a sample
    keeps of the 256 levels, None for others; `colours` are those of the palette indices in an index mask.
    """

    row: processed.Row
    image: Uint8
    onehot: Uint8
    checksum: int
    levels: int | None
    colours: palettes.Colours


def recipe(raw: Path, data: Dataset, section: Section) -> Recipe:
    """The recipe for a data set. Raises DataError for a wrong class table, ParameterError if `section` does not fit."""
    table = class_table.table(raw / DATASET_FILE, data, section.merge, section.void == "class")
    values = lookup(table.values, ENCODINGS[data.encoding])
    return Recipe(section.height, section.width, section.channels, data.encoding, data.threshold, table, values)


def prepare(folder: Path, recipe: Recipe, pair: Pair) -> Prepared | list[PipelineError]:
    """The row made from a pair of the split in `folder`, or every problem of the pair."""
    problems: list[PipelineError] = []
    image_with_levels = _attempt(problems, lambda: _image(folder, recipe, pair))
    mask_with_colours = _attempt(problems, lambda: _mask(folder, recipe, pair))
    if image_with_levels is None or mask_with_colours is None:
        return problems
    (image, levels), (mask, colours) = image_with_levels, mask_with_colours
    height, width = mask.shape
    if image.shape[:2] != (height, width):
        problem = f"{width}x{height} pixels, expected {image.shape[1]}x{image.shape[0]} as {pair.image}"
        return [DataError(folder / pair.mask, problem, "Export the mask at the size of its image.")]
    labels = recipe.lookup.classes(images.resize_mask(mask, recipe.height, recipe.width))
    resized = images.resize_image(image, recipe.height, recipe.width)
    return Prepared(
        processed.Row(pair.stem, pair.group, height, width, pair.image, pair.mask, pair.sha256_image, pair.sha256_mask),
        resized,
        pack(labels, len(recipe.table.classes)),
        zlib.crc32(resized.data),
        levels,
        colours,
    )


def prepare_all(folder: Path, recipe: Recipe, listed: Iterable[Pair]) -> Iterator[Prepared | list[PipelineError]]:
    """`prepare` of each pair, in order, on all cores; only a few pairs ahead, so memory use does not grow with them."""
    threads = parallel.count()
    with ThreadPoolExecutor(threads) as pool:
        yield from parallel.ahead(pool, partial(prepare, folder, recipe), listed, 2 * threads)


def damaged(folder: Path, recipe: Recipe, listed: Iterable[Pair], heard: Callable[[], str]) -> Iterator[PipelineError]:
    """The files that were decoded though damaged, once all are prepared; `heard` as in `decoder_warnings.damaged`."""
    decoders: list[tuple[Path, Callable[[], object]]] = []
    for pair in listed:
        decoders.append((folder / pair.image, partial(_image, folder, recipe, pair)))
        if recipe.threshold is not None:  # only then may it be a JPEG
            decoders.append((folder / pair.mask, partial(_mask, folder, recipe, pair)))
    return decoder_warnings.damaged(decoders, heard)


def _attempt(problems: list[PipelineError], load: Callable[[], Decoded]) -> Decoded | None:
    try:
        return load()
    except PipelineError as error:
        problems.append(error)
        return None


def _image(folder: Path, recipe: Recipe, pair: Pair) -> tuple[Uint8, int | None]:
    path, content = images.read_listed(folder, pair.image, pair.sha256_image, DATASET_FILE)
    image = images.decode_image(content, path, recipe.channels)
    return image, images.kept_levels(content, image)


def _mask(folder: Path, recipe: Recipe, pair: Pair) -> tuple[images.Mask, palettes.Colours]:
    path, content = images.read_listed(folder, pair.mask, pair.sha256_mask, DATASET_FILE)
    mask = images.decode_mask(content, path, recipe.encoding, recipe.threshold)
    mask_values.require_known(mask, path, recipe.lookup, recipe.encoding)
    by_index = recipe.encoding == "index" and recipe.threshold is None
    return mask, palettes.colours(content, mask) if by_index else {}
