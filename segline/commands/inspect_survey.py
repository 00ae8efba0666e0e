"""The contents of the files of a data set whose classes are not known yet: read once, on all cores."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from segline.commands import inspect_images, inspect_masks
from segline.commands.inspect_images import Picture
from segline.commands.inspect_masks import Labels, Mask
from segline.core import parallel
from segline.core.errors import PipelineError
from segline.dataset.raw import FORMATS
from segline.monitoring import console
from segline.preprocessing import audit, decoder_warnings, image_file, images, pair_files
from segline.preprocessing import masks as mask_files
from segline.preprocessing.formats import Source
from segline.preprocessing.image_file import ImageFile
from segline.preprocessing.masks import MaskFile
from segline.sources.collecting.listing import Entry

Value = TypeVar("Value")
File = TypeVar("File", ImageFile, MaskFile)
_Source = tuple[Source, str]  # and its SHA-256


@dataclass
class Survey:
    """What is in all pairs that can be read; `problems` are those of the others. A page of a file is an image too."""

    pictures: list[Picture] = field(default_factory=list)
    labels: Labels = field(default_factory=Labels)
    problems: list[PipelineError] = field(default_factory=list)


@dataclass
class _Pair:
    sha256: str = ""
    pictures: list[Picture] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    problems: list[PipelineError] = field(default_factory=list)


def survey_pairs(listed: Mapping[str, Sequence[Entry]]) -> Survey:
    """The survey of all pairs of all splits."""
    images.single_threaded()
    everything = [(split, entry) for split, entries in listed.items() for entry in entries]
    survey = Survey()
    places: dict[str, list[tuple[str, Path]]] = {}
    masks: list[tuple[Path, Mask]] = []
    with decoder_warnings.muffled() as heard, ThreadPoolExecutor(parallel.count()) as pool:
        read = pool.map(lambda each: _read(each[1]), everything)
        for (split, entry), pair in zip(
            everything, console.progress(read, len(everything), "inspect", "pair"), strict=True
        ):
            survey.problems += pair.problems
            survey.pictures += pair.pictures
            masks += [(entry.mask, mask) for mask in pair.masks]
            if pair.pictures:
                places.setdefault(pair.sha256, []).append((split, entry.image))
        survey.problems += decoder_warnings.damaged(
            (
                (path, partial(_decode_jpeg, path))
                for _, entry in everything
                for path in (entry.image, entry.mask)
                if path.suffix.lower() in FORMATS["JPEG"]
            ),
            heard,
        )
    survey.labels = inspect_masks.labels(masks)
    survey.problems += survey.labels.problems
    survey.problems += audit.leaks(places.values(), "the same image")
    return survey


def _read(entry: Entry) -> _Pair:
    pair = _Pair()
    image = _tried(pair, lambda: inspect_images.source(entry.image))
    mask = _tried(pair, lambda: inspect_images.source(entry.mask))
    pair.sha256 = image[1] if image else ""
    for page in _tried(pair, lambda: _pages(entry, image, mask)) or ():
        _read_page(pair, entry, image, mask, page)
    pair.problems = [*{str(problem): problem for problem in pair.problems}.values()]  # pages may have the same
    return pair


def _tried(pair: _Pair, action: Callable[[], Value]) -> Value | None:
    try:
        return action()
    except PipelineError as error:
        pair.problems.append(error)
        return None


def _pages(entry: Entry, image: _Source | None, mask: _Source | None) -> Sequence[int | None]:
    """The numbers of the pages, None for the only one. Raises DataError if image and mask differ in them."""
    counts = [
        image_file.pages(source[0], path)
        for source, path in ((image, entry.image), (mask, entry.mask))
        if source is not None
    ]
    if len(set(counts)) > 1:
        raise pair_files.other_pages(entry.image, entry.mask, *counts)
    return [None] if max(counts, default=1) == 1 else range(1, counts[0] + 1)


def _read_page(pair: _Pair, entry: Entry, image: _Source | None, mask: _Source | None, page: int | None) -> None:
    with ExitStack() as files:

        def opened(file: AbstractContextManager[File]) -> File | None:
            return _tried(pair, lambda: files.enter_context(file))

        picture = values = None
        if image:
            picture = opened(image_file.opened(image[0], entry.image, page, "drop", windows=True))
        if mask:
            values = opened(mask_files.opened(mask[0], entry.mask, None, page=page, windows=True))
        if picture and values and (misfit := pair_files.misfit(entry.image, entry.mask, picture, values, "check")):
            pair.problems.append(misfit)
        if image and picture:
            seen = _tried(pair, lambda: inspect_images.picture(picture, image[0], entry.image, page))
            pair.pictures += [seen] if seen else []
        if mask and values:
            counted = _tried(pair, lambda: inspect_masks.surveyed(values, mask[0], entry.mask))
            pair.masks += [counted] if counted else []


def _decode_jpeg(path: Path) -> None:
    with image_file.opened(images.read(path), path) as image:
        image.read(0, 0, 1, 1)
