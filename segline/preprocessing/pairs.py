"""One image and its mask: checked against each other and the data set, made into rows. Safe to call from threads.

Every check returns or raises a `PipelineError` for one file; `split_writer` collects them.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from segline.core import params
from segline.core.errors import DataError, IntegrityError, PipelineError
from segline.dataset import tiling
from segline.dataset.objects import MAX_BORDER, Objects
from segline.dataset.onehot import VOID, Lookup, lookup, pack, packed_size, present
from segline.dataset.origins import Origin
from segline.dataset.preparation import MOST_OVERLAP, Alpha, Fit, Intensity, Orientation, Preparation
from segline.dataset.raw import DATASET_FILE, ENCODINGS, FORMATS, Dataset, Name
from segline.preprocessing import (
    class_table,
    intensity,
    levels,
    mask_values,
    object_numbers,
    pair_files,
    palettes,
    pixels_seen,
    working_image,
)
from segline.preprocessing.image_files import decoder_warnings
from segline.preprocessing.image_files.image_file import ImageFile
from segline.preprocessing.image_files.masks import MaskFile
from segline.preprocessing.image_files.page_errors import on_page

Uint8 = npt.NDArray[np.uint8]
File = TypeVar("File", ImageFile, MaskFile)
Item = TypeVar("Item")


class ChosenObjects(params.Section):
    """The classes with objects, and the width of their border in working pixels: see `segline.dataset.objects`."""

    classes: list[Name] = Field(min_length=1, max_length=127)
    border: int = Field(ge=1, le=MAX_BORDER)


class Section(params.Section):
    """`preprocess` in params.yaml. `height` and `width` are those of a row of the arrays: an image or a tile of one.

    See `segline.dataset.tiling` for `fit`, `scale` and `overlap`, `segline.preprocessing.intensity` for `bands` and
    `intensity`. `void: class` makes "not labelled" a class of its own, the last one. `merge` is empty, or lists for
    each new class the old classes it replaces; every old class is listed once. `objects` names the classes, merged ones
    by their new names, whose masks come with object numbers; null for none.
    """

    fit: Fit
    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    scale: float = Field(ge=0.01, le=1)
    overlap: float = Field(ge=0, le=MOST_OVERLAP)
    bands: intensity.ChosenBands
    orientation: Orientation
    alpha: Alpha
    intensity: intensity.Form
    void: Literal["ignore", "class"]
    merge: dict[Name, Annotated[list[str], Field(min_length=1)]]
    objects: ChosenObjects | None

    @field_validator("height", "width")
    @classmethod
    def _in_units(cls, side: int, info: ValidationInfo) -> int:
        if info.data.get("fit") == "tile" and side % tiling.UNIT:
            raise ValueError(f"expected a multiple of {tiling.UNIT} with fit: tile, so that tiles meet")
        return side


@dataclass(frozen=True)
class Recipe:
    """What every pair must be, and what it becomes.

    The bounds of a `percentile` are those of the preparation once they are measured. `encoding` and `threshold` are
    those of the masks.
    """

    preparation: Preparation
    percentile: intensity.Percentile | None
    encoding: str
    threshold: int | None
    table: class_table.Table

    @property
    def lookup(self) -> Lookup:
        """Maps the values of masks to classes. Of colours it is 32 MiB: a recipe that is sent to a task has none."""
        return _lookup(self.table.values, ENCODINGS[self.encoding])

    @property
    def depth(self) -> int:
        """Bytes of one pixel of one-hot bits."""
        return packed_size(len(self.table.classes))

    @property
    def by_index(self) -> bool:
        """Whether mask values are stored samples or palette indices."""
        return self.encoding == "index" and self.threshold is None

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
    """What is known of an image and its mask once their rows are made.

    Images of equal pixels have the same `checksum`; rarely, so do others. `classes` are those with a pixel, bool (K,).
    `bands` and `dtype` are those of the samples; `kept` is what is left of more than 8 bits, None for others;
    `notes` say what was done to them. `colours` are those of the palette indices in an index mask; `objects` what was
    found about its object numbers, None if the recipe has no objects.
    """

    origin: Origin
    checksum: int
    classes: npt.NDArray[np.bool_]
    bands: int
    dtype: np.dtype[Any]
    kept: levels.Kept | None
    notes: tuple[str, ...]
    colours: palettes.Colours
    objects: object_numbers.Findings | None


def recipe(raw: Path, data: Dataset, section: Section) -> Recipe:
    """The recipe for a data set. Raises DataError for a wrong class table or objects without numbers, ParameterError if
    `section` does not fit."""
    classes = table(raw / DATASET_FILE, data, section)
    if classes.objects is not None:
        _require_numbers(raw / DATASET_FILE, data)
    percentile = section.intensity if isinstance(section.intensity, intensity.Percentile) else None
    return Recipe(preparation(section), percentile, data.encoding, data.threshold, classes)


_lookup = lru_cache(maxsize=1)(lookup)


def table(index: Path, data: Dataset, section: Section) -> class_table.Table:
    """The classes that the arrays have; `index` is the file that defines those of `data`. Raises as `recipe` does."""
    found = class_table.table(index, data, section.merge, section.void == "class")
    if section.objects is None:
        return found
    return class_table.with_objects(found, Objects(tuple(section.objects.classes), section.objects.border))


def _require_numbers(index: Path, data: Dataset) -> None:
    pairs = [(split, pair) for split, listed in data.splits.items() for pair in listed]
    if without := [f"{split}/{pair.image}" for split, pair in pairs if pair.objects is None]:
        problem = f"{len(without)} of {len(pairs)} images have no object numbers, such as {without[0]}"
        remedy = "Name them (data.folder.objects), leave these images out, or set preprocess.objects to null."
        raise DataError(index, problem, remedy)


def preparation(section: Section) -> Preparation:
    """The preparation that the parameters name; percentiles are not measured yet, their bounds are 0 and 1."""
    bands = section.bands if isinstance(section.bands, str) else tuple(section.bands)
    channels = {"rgb": 3, "gray": 1}.get(section.bands, 0) if isinstance(section.bands, str) else len(section.bands)
    if isinstance(section.intensity, intensity.Percentile):
        rule = Intensity("percentile", (0.0,) * channels, (1.0,) * channels)
    else:
        rule = intensity.stated(section.intensity, channels)
    return Preparation(
        section.fit,
        section.height,
        section.width,
        section.scale,
        section.overlap,
        bands,
        section.orientation,
        section.alpha,
        rule,
    )


def prepare(
    folder: Path, recipe: Recipe, page: pair_files.Page, num_rows: int, put: Callable[[int, Uint8, Uint8], None]
) -> Prepared | list[PipelineError]:
    """Makes the `num_rows` rows of a page of the split in `folder`, or returns every problem of it.

    `put` is called with the number of each row, counted from 0, uint8 (H, W, C) and (H, W, ceil(K / 8)). Its rows are
    of no use if there are problems.
    """
    form, pair = recipe.preparation, page.pair
    problems: list[PipelineError] = []
    with ExitStack() as files:
        image = _opened(files, problems, _opened_image(folder, recipe, page))
        mask = _opened(files, problems, _opened_mask(folder, recipe, page))
        objects = None
        if mask and recipe.table.objects is not None:
            objects = _opened(files, problems, pair_files.opened_objects(folder, page, form, mask))
        numbers = object_numbers.seen(recipe.table.classes, recipe.table.objects) if objects else None
        if image and mask:
            paths = folder / pair.image, folder / pair.mask
            misfit = pair_files.misfit(*paths, image, mask, form.orientation)
            problems += [on_page(misfit, page.number)] if misfit else []
        if image and tiling.grid(form, image.height, image.width).count != num_rows:
            remedy = "Run again, and leave the files alone."
            problems.append(IntegrityError(folder / pair.image, "changed while it was read", remedy))
        image_seen, mask_seen, rows = (
            pixels_seen.OfImage(levels.Counter(form)),
            pixels_seen.OfMask(recipe.lookup, recipe.by_index and bool(mask and mask.palette), numbers),
            _Rows(recipe, put),
        )
        image_rows = working_image.image_rows(image, form, image_seen.add) if image else iter(())
        masks = [mask, *filter(None, [objects])] if mask else []
        label_rows = working_image.label_rows(masks, form, mask_seen.labels, mask_seen.add) if masks else iter(())
        for shown, labels in zip_longest(
            _until_a_problem(problems, image_rows), _until_a_problem(problems, label_rows)
        ):
            if not problems and mask_seen.known:  # otherwise what is left is still looked at
                rows.add(*shown, labels=labels)
        if mask and not mask_seen.known:
            pieces = working_image.mask_pieces(mask, form)
            with suppress(PipelineError):  # of a damaged mask: it is known already
                where = folder / pair.mask
                problems.append(mask_values.unknown(pieces, where, recipe.lookup, recipe.encoding, page.number))
        if numbers and not problems:
            found = numbers.problems(folder / f"{pair.objects}")
            problems += [on_page(problem, page.number) for problem in found]
        if image and not problems and not image_seen.has_data:
            problem = "no pixel has a value: all are NaN or without data"
            problems.append(on_page(DataError(folder / pair.image, problem, "Leave the image out."), page.number))
        if problems or not image or not mask:
            return problems
        size, hashes = (image.height, image.width), (pair.sha256_image, pair.sha256_mask)
        names, flags = (pair.image, pair.mask), (page.number, image_seen.no_data)
        of_objects = (pair.objects, pair.sha256_objects) if objects else (None, None)
        return Prepared(
            Origin(page.stem, page.group, *size, *names, *hashes, *flags, *of_objects),
            rows.checksum,
            rows.classes,
            image.bands,
            image.dtype,
            image_seen.counter.kept(),
            image.notes,
            palettes.colours(mask.palette, mask_seen.indices),
            numbers.findings() if numbers else None,
        )


def damaged(
    folder: Path, recipe: Recipe, pages: Iterable[pair_files.Page], heard: Callable[[], str]
) -> Iterator[PipelineError]:
    """The JPEG files that were decoded though damaged, once all are prepared; see `decoder_warnings.damaged`."""
    return decoder_warnings.damaged(
        (
            (folder / name, partial(_decode, opened))
            for page in pages
            for name, opened in (
                (page.pair.image, partial(_opened_image, folder, recipe, page)),
                (page.pair.mask, partial(_opened_mask, folder, recipe, page)),
            )
            if name.lower().endswith(FORMATS["JPEG"])
        ),
        heard,
    )


def _decode(opened: Callable[[], AbstractContextManager[ImageFile | MaskFile]]) -> None:
    with opened() as file:
        file.read(0, 0, 1, 1)  # JPEG is decoded whole


def _opened_image(folder: Path, recipe: Recipe, page: pair_files.Page) -> AbstractContextManager[ImageFile]:
    return pair_files.opened_image(folder, page, recipe.preparation)


def _opened_mask(folder: Path, recipe: Recipe, page: pair_files.Page) -> AbstractContextManager[MaskFile]:
    return pair_files.opened_mask(folder, page, recipe.preparation, recipe.encoding, recipe.threshold)


class _Rows:
    """Packs the rows of a pair and puts them, one after the other; `checksum` and `classes` are as in `Prepared`."""

    def __init__(self, recipe: Recipe, put: Callable[[int, Uint8, Uint8], None]) -> None:
        self._num_classes, self._put = len(recipe.table.classes), put
        self._count = self.checksum = 0
        self.classes = np.zeros(self._num_classes, np.bool_)

    def add(self, pixels: Uint8, void: npt.NDArray[np.bool_], *, labels: Uint8) -> None:
        """A row uint8 (H, W, C), what is void in it, bool (H, W), and the classes of its mask uint8 (H, W)."""
        onehot = pack(np.where(void, np.uint8(VOID), labels), self._num_classes)
        self._put(self._count, pixels, onehot)
        self._count += 1
        self.checksum = zlib.crc32(pixels.data, self.checksum)
        self.classes |= present(onehot, self._num_classes)


def _opened(files: ExitStack, problems: list[PipelineError], file: AbstractContextManager[File]) -> File | None:
    try:
        return files.enter_context(file)
    except PipelineError as error:
        problems.append(error)
        return None


def _until_a_problem(problems: list[PipelineError], rows: Iterator[Item]) -> Iterator[Item]:
    try:
        yield from rows
    except PipelineError as error:
        problems.append(error)
