"""One image and its mask: checked against each other and the data set, resized, packed. Threads may share all of it.

Every function that checks returns or raises `PipelineError` for one file; the stage gathers them.
"""

import hashlib
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from segline import arrays, containers, cores, dataset, encode, images, params
from segline.dataset import Dataset, Label, Pair
from segline.errors import DataError, IntegrityError, ParameterError, PipelineError

Uint8 = npt.NDArray[np.uint8]

MAX_CLASSES = 255  # class 255 would be `encode.VOID`
_JPEG_DAMAGE = re.compile(r"(Corrupt JPEG|Premature end of JPEG).*")


class Section(params.Section):
    """`preprocess` in params.yaml. `void: class` makes "not labelled" a class of its own, the last one."""

    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    void: Literal["ignore", "class"]


@dataclass(frozen=True)
class Recipe:
    """What every pair must be, and becomes: `classes` are those of the arrays, `num_labels` those of the raw masks."""

    height: int
    width: int
    channels: int
    classes: tuple[Label, ...]
    num_labels: int
    void: int | None
    table: Uint8

    @property
    def void_is_class(self) -> bool:
        """True if void is the last of the classes."""
        return len(self.classes) > self.num_labels

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of both arrays."""
        return self.height * self.width * (self.channels + encode.packed_size(len(self.classes)))


@dataclass(frozen=True)
class Prepared:
    """A row of the processed arrays: uint8 (H, W, C) and (H, W, ceil(K / 8)). Not `labelled`: all void."""

    row: arrays.Row
    image: Uint8
    onehot: Uint8
    labelled: bool


def recipe(raw: Path, data: Dataset, section: Section) -> Recipe:
    """The recipe for a data set. Raises DataError for a wrong class table, ParameterError for a wrong void policy."""
    num_labels, void = len(data.classes), data.void.index if data.void else None
    if section.void == "class" and data.void is None:
        raise ParameterError(f"{params.FILE}: preprocess.void", "'class', but this data set has no void", "Set: ignore")
    if data.void is not None and section.void == "class":
        classes = (*data.classes, Label("void", data.void.rgb))
    else:
        classes = tuple(data.classes)
    _check_classes(raw / dataset.FILE, classes, num_labels, void)
    table = encode.packed_table(encode.class_table(num_labels, void, section.void == "class"), len(classes))
    return Recipe(section.height, section.width, _first_channels(raw, data), classes, num_labels, void, table)


def _check_classes(where: Path, classes: tuple[Label, ...], num_labels: int, void: int | None) -> None:
    remedy = "Mend the class table of the source, then run download."
    repeated = [name for name, count in Counter(label.name for label in classes).items() if count > 1]
    if repeated:
        raise DataError(where, f"class names repeat: {', '.join(repeated)}", remedy)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataError(where, f"{len(classes)} classes, expected 2 to {MAX_CLASSES}", remedy)
    if void is not None and not num_labels <= void <= 255:
        raise DataError(where, f"void has mask value {void}, expected {num_labels}..255, beyond the classes", remedy)


def _first_channels(raw: Path, data: Dataset) -> int:
    """The channels of the first readable image, which all others must share."""
    for split, listed in data.splits.items():
        for pair in listed:
            path = raw / split / pair.image
            try:
                return 1 if containers.inspect(images.read(path), path).colour == "gray" else 3
            except PipelineError:
                continue  # `prepare` tells what is wrong with it
    return 3


def prepare(folder: Path, recipe: Recipe, pair: Pair) -> Prepared | list[PipelineError]:
    """The row made of a pair of the split in `folder`, or everything that is wrong with the pair."""
    problems: list[PipelineError] = []
    image = _attempt(problems, lambda: _image(folder, recipe, pair))
    mask = _attempt(problems, lambda: _mask(folder, recipe, pair))
    if image is None or mask is None:
        return problems
    height, width = mask.shape
    if image.shape[:2] != (height, width):
        found = f"{width}x{height} pixels, expected {image.shape[1]}x{image.shape[0]} as {pair.image}"
        return [DataError(folder / pair.mask, found, "Export the mask at the size of its image.")]
    onehot = encode.pack(images.resize_mask(mask, recipe.height, recipe.width), recipe.table)
    return Prepared(
        arrays.Row(pair.stem, pair.group, height, width, pair.image, pair.mask, pair.sha256_image, pair.sha256_mask),
        images.resize_image(image, recipe.height, recipe.width),
        onehot,
        bool(onehot.any()),
    )


def prepare_all(folder: Path, recipe: Recipe, listed: Iterable[Pair]) -> Iterator[Prepared | list[PipelineError]]:
    """`prepare` of each pair, in order, on all cores, a few pairs ahead and no more: memory does not grow with them."""
    threads = cores.count()
    waiting: deque[Future[Prepared | list[PipelineError]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for pair in listed:
            waiting.append(pool.submit(prepare, folder, recipe, pair))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def damaged(folder: Path, recipe: Recipe, listed: Iterable[Pair], heard: Callable[[], str]) -> Iterator[PipelineError]:
    """The JPEG images that were decoded though damaged, after all were prepared. `heard` comes from `images.muffled`.

    libjpeg names no file: when it complained at all, each image is decoded again, alone.
    """
    if not _JPEG_DAMAGE.search(heard()):
        return
    for pair in listed:
        result = prepare(folder, recipe, pair)
        said = _JPEG_DAMAGE.search(heard())
        if said and isinstance(result, Prepared):
            yield DataError(folder / pair.image, f"damaged: {said.group()}", containers.AGAIN)


def _attempt(problems: list[PipelineError], load: Callable[[], Uint8]) -> Uint8 | None:
    try:
        return load()
    except PipelineError as error:
        problems.append(error)
        return None


def _image(folder: Path, recipe: Recipe, pair: Pair) -> Uint8:
    path, content = _content(folder, pair.image, pair.sha256_image)
    image = images.decode_image(content, path)
    if (channels := image.shape[2]) != recipe.channels:
        found = f"{channels} channel{'s' * (channels != 1)}, expected {recipe.channels} as in the first image"
        raise DataError(path, found, "Convert all images to RGB, or all to gray.")
    return image


def _mask(folder: Path, recipe: Recipe, pair: Pair) -> Uint8:
    path, content = _content(folder, pair.mask, pair.sha256_mask)
    mask = images.decode_mask(content, path)
    unknown = mask >= recipe.num_labels
    if recipe.void is not None:
        unknown &= mask != recipe.void
    if unknown.any():
        y, x = (int(place) for place in np.argwhere(unknown)[0])
        label, others = mask[y, x], len(np.unique(mask[unknown])) - 1
        count = np.count_nonzero(mask == label)
        also = f" (and {others} other unknown label{'s' * (others != 1)})" if others else ""
        void = "" if recipe.void is None else f", void {recipe.void}"
        found = f"label {label} on {count} pixels, first at (x, y) = ({x}, {y}){also}"
        allowed = f"expected a label of the class table (0..{recipe.num_labels - 1}{void})"
        raise DataError(path, f"{found}, {allowed}", "Correct the mask, or add the class to the source's table.")
    return mask


def _content(folder: Path, name: str, sha256: str) -> tuple[Path, bytes]:
    path = folder / name
    if name.startswith("/") or ".." in name.split("/"):
        raise IntegrityError(path, "leads out of the data set", "Mend the names in the source, then run download.")
    content = images.read(path)
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        expected = f"sha256 {found[:12]}..., expected {sha256[:12]}... ({dataset.FILE})"
        raise IntegrityError(path, expected, "It changed since the download: dvc repro -f download brings it back.")
    return path, content
