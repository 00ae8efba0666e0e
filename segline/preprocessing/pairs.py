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
from pydantic import Field, ValidationInfo, field_validator

from segline.core import parallel, params
from segline.core.errors import DataError, PipelineError
from segline.dataset import processed, tiling
from segline.dataset.onehot import Lookup, lookup, pack, packed_size
from segline.dataset.preparation import FULL, Alpha, Band, Fit, Orientation, Preparation
from segline.dataset.raw import DATASET_FILE, ENCODINGS, Dataset, Name, Pair
from segline.preprocessing import class_table, decoder_warnings, images, intensity, mask_values, palettes

Uint8 = npt.NDArray[np.uint8]
Decoded = TypeVar("Decoded")


class Section(params.Section):
    """`preprocess` in params.yaml. `height` and `width` are those of a row of the arrays: an image or a tile of one.

    See `segline.dataset.tiling` for `fit`, `scale` and `overlap`, `segline.preprocessing.intensity` for `bands` and
    `intensity`. `void: class` makes "not labelled" a class of its own, the last one. `merge` is empty, or lists for
    each new class the old classes it replaces; every old class is listed once.
    """

    fit: Fit
    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    scale: float = Field(gt=0, le=1)
    overlap: float = Field(ge=0, le=0.75)
    bands: Literal["rgb", "gray"] | Annotated[list[Band], Field(min_length=1, max_length=1024)]
    orientation: Orientation
    alpha: Alpha
    intensity: intensity.Form
    void: Literal["ignore", "class"]
    merge: dict[Name, Annotated[list[str], Field(min_length=1)]]

    @field_validator("height", "width")
    @classmethod
    def _in_units(cls, side: int, info: ValidationInfo) -> int:
        if info.data.get("fit") == "tile" and side % tiling.UNIT:
            raise ValueError(f"expected a multiple of {tiling.UNIT} with fit: tile, so that tiles meet")
        return side


@dataclass(frozen=True)
class Recipe:
    """What every pair must be, and what it becomes.

    `lookup` maps the values of masks of this `encoding` and `threshold` to classes.
    """

    preparation: Preparation
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
        form = self.preparation
        return form.height * form.width * (form.channels + self.depth)

    @property
    def form(self) -> str:
        """The form of the arrays, in words."""
        form = self.preparation
        return f"{form.width}x{form.height}, {form.channels} channels, {len(self.table.classes)} classes"


@dataclass(frozen=True)
class Prepared:
    """A row of the processed arrays: uint8 (H, W, C) and (H, W, ceil(K / 8)).

    Images of equal pixels have the same `checksum`; rarely, so do others. `levels` is what an image of 16 bits a sample
    keeps of the 256 levels, None for others; `colours` are those of the palette indices in an index mask.
    """

    origin: processed.Origin
    image: Uint8
    onehot: Uint8
    checksum: int
    levels: int | None
    colours: palettes.Colours


def recipe(raw: Path, data: Dataset, section: Section) -> Recipe:
    """The recipe for a data set. Raises DataError for a wrong class table, ParameterError if `section` does not fit."""
    table = class_table.table(raw / DATASET_FILE, data, section.merge, section.void == "class")
    values = lookup(table.values, ENCODINGS[data.encoding])
    return Recipe(preparation(section), data.encoding, data.threshold, table, values)


def preparation(section: Section) -> Preparation:
    """The preparation that the parameters name."""
    return Preparation(
        section.fit,
        section.height,
        section.width,
        section.scale,
        section.overlap,
        section.bands if isinstance(section.bands, str) else tuple(section.bands),
        section.orientation,
        section.alpha,
        FULL,
    )


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
    size = recipe.preparation.height, recipe.preparation.width
    labels = recipe.lookup.classes(images.resize_mask(mask, *size))
    resized = images.resize_image(image, *size)
    hashes = pair.sha256_image, pair.sha256_mask
    return Prepared(
        processed.Origin(pair.stem, pair.group, height, width, pair.image, pair.mask, *hashes),
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
    image = images.decode_image(content, path, recipe.preparation.channels)
    return image, images.kept_levels(content, image)


def _mask(folder: Path, recipe: Recipe, pair: Pair) -> tuple[images.Mask, palettes.Colours]:
    path, content = images.read_listed(folder, pair.mask, pair.sha256_mask, DATASET_FILE)
    mask = images.decode_mask(content, path, recipe.encoding, recipe.threshold)
    mask_values.require_known(mask, path, recipe.lookup, recipe.encoding)
    by_index = recipe.encoding == "index" and recipe.threshold is None
    return mask, palettes.colours(content, mask) if by_index else {}
