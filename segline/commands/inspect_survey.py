"""The contents of the files of a data set whose classes are not known yet: read once, on all cores."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from segline.core import parallel
from segline.core.errors import DataError, PipelineError
from segline.monitoring import console
from segline.preprocessing import audit, decoder_warnings, headers, images
from segline.sources.collecting.listing import Entry

MOST = 256  # values of one mask that are counted; there can be 255 classes at most


@dataclass
class Survey:
    """Counts over all pairs that can be read; `problems` are those of the others.

    `encoding` is that of most masks. `pixels` and `masks` count the pixels of each mask value and the masks it
    is in. `fullest` is the number of values in the mask that has the most, and its path.
    """

    image_kinds: Counter[str] = field(default_factory=Counter)
    mask_kinds: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    encoding: str = "index"
    pixels: Counter[int] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    palette: list[tuple[int, int, int]] = field(default_factory=list)
    fullest: tuple[int, Path] = (0, Path())
    problems: list[PipelineError] = field(default_factory=list)


@dataclass(frozen=True)
class _Image:
    kind: str
    size: tuple[int, int]
    sha256: str


@dataclass(frozen=True)
class _Mask:
    kind: str
    size: tuple[int, int]
    encoding: str
    palette: list[tuple[int, int, int]]
    num_values: int
    counts: dict[int, int]


def survey_pairs(listed: Mapping[str, Sequence[Entry]]) -> Survey:
    """The survey of all pairs of all splits."""
    images.single_threaded()
    everything = [(split, entry) for split, entries in listed.items() for entry in entries]
    survey = Survey()
    places: dict[str, list[tuple[str, Path]]] = {}
    masks: list[tuple[Path, _Mask]] = []
    with decoder_warnings.muffled() as heard, ThreadPoolExecutor(parallel.count()) as pool:
        read = pool.map(lambda each: _read(each[1]), everything)
        for (split, entry), (image, mask, problems) in zip(
            everything, console.progress(read, len(everything), "inspect", "pair"), strict=True
        ):
            survey.problems += problems
            if image:
                survey.image_kinds[image.kind] += 1
                survey.sizes[image.size] += 1
                places.setdefault(image.sha256, []).append((split, entry.image))
            if mask:
                masks.append((entry.mask, mask))
        decoders = ((entry.image, partial(_image, entry.image)) for _, entry in everything)
        survey.problems += decoder_warnings.damaged(decoders, heard)
    _add_masks(survey, masks)
    survey.problems += audit.leaks(places.values(), "the same image")
    return survey


def _add_masks(survey: Survey, masks: Sequence[tuple[Path, _Mask]]) -> None:
    encodings = Counter(mask.encoding for _, mask in masks)
    if encodings:
        ((survey.encoding, _),) = encodings.most_common(1)
    for path, mask in masks:
        survey.mask_kinds[mask.kind] += 1
        if mask.encoding != survey.encoding:
            problem = f"{mask.kind}, while most masks are of the encoding {survey.encoding}"
            survey.problems.append(DataError(path, problem, "Save all masks in the same way."))
            continue
        survey.pixels.update(mask.counts)
        survey.masks.update(mask.counts.keys())
        survey.palette = survey.palette or mask.palette
        survey.fullest = max(survey.fullest, (mask.num_values, path))


def _read(entry: Entry) -> tuple[_Image | None, _Mask | None, list[PipelineError]]:
    problems: list[PipelineError] = []
    image = mask = None
    try:
        image = _image(entry.image)
    except PipelineError as error:
        problems.append(error)
    try:
        mask = _mask(entry.mask)
    except PipelineError as error:
        problems.append(error)
    if image and mask and image.size != mask.size:
        problem = f"{_shown(mask.size)} pixels, expected {_shown(image.size)} as {entry.image.name}"
        problems.append(DataError(entry.mask, problem, "Export the mask at the size of its image."))
    return image, mask, problems


def _image(path: Path) -> _Image:
    content = images.read(path)
    height, width, _ = images.decode_image(content, path, channels=3).shape
    header = headers.inspect(content, path)
    kind = f"{header.depth}-bit {header.colour} {header.format}"
    return _Image(kind, (height, width), hashlib.sha256(content).hexdigest())


def _mask(path: Path) -> _Mask:
    content = images.read(path)
    header = headers.inspect(content, path)
    encoding = "rgb" if header.colour == "RGB" else "index"
    mask = images.decode_mask(content, path, encoding)
    if mask.dtype == np.uint8:
        numbers = np.bincount(mask.ravel(), minlength=256)
        values = np.flatnonzero(numbers)
        numbers = numbers[values]
    else:
        values, numbers = np.unique(mask, return_counts=True)
    most = np.argsort(numbers, kind="stable")[::-1][:MOST]
    counts = dict(zip(values[most].tolist(), numbers[most].tolist(), strict=True))
    palette = headers.palette(content) if header.colour == "palette" else []
    kind = f"{header.depth}-bit {header.colour} {header.format}"
    return _Mask(kind, (mask.shape[0], mask.shape[1]), encoding, palette, len(values), counts)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
