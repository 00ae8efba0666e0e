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
from segline.preprocessing import audit, images, pair_files
from segline.preprocessing.image_files import decoder_warnings, image_file, reading
from segline.preprocessing.image_files import masks as mask_files
from segline.preprocessing.image_files.formats import Source
from segline.preprocessing.image_files.image_file import ImageFile
from segline.preprocessing.image_files.masks import MaskFile
from segline.preprocessing.image_files.page_errors import on_page, once
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


@dataclass(frozen=True)
class _Files:
    image: Path
    mask: Path | None
    embedded: Callable[[], bytes] | None = None  # the content of an image that is no file of its own


@dataclass
class _Pair:
    sha256: str = ""
    pictures: list[Picture] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    problems: list[PipelineError] = field(default_factory=list)


def survey_pairs(listed: Mapping[str, Sequence[Entry]]) -> Survey:
    """The survey of all pairs of all splits."""
    return _survey(
        [(split, _Files(entry.image, entry.mask)) for split, entries in listed.items() for entry in entries], "pair"
    )


def survey_images(paths: Sequence[Path], embedded: Mapping[Path, Callable[[], bytes]]) -> Survey:
    """The survey of images whose masks are yet to be drawn, of one split; some are no files, but have names."""
    within = [("", _Files(name, None, content)) for name, content in embedded.items()]
    return _survey([*(("", _Files(path, None)) for path in paths), *within], "image")


def _survey(everything: Sequence[tuple[str, "_Files"]], unit: str) -> Survey:
    images.single_threaded()
    survey = Survey()
    places: dict[str, list[tuple[str, Path]]] = {}
    masks: list[tuple[Path, Mask]] = []
    with decoder_warnings.muffled() as heard, ThreadPoolExecutor(parallel.count()) as pool:
        read = pool.map(lambda each: _read(each[1]), everything)
        for (split, files), pair in zip(
            everything, console.progress(read, len(everything), "inspect", unit), strict=True
        ):
            survey.problems += pair.problems
            survey.pictures += pair.pictures
            masks += [(files.mask, mask) for mask in pair.masks if files.mask]
            if pair.pictures:
                places.setdefault(pair.sha256, []).append((split, files.image))
        survey.problems += decoder_warnings.damaged(
            (
                (path, partial(_decode_jpeg, path, files.embedded if path == files.image else None))
                for _, files in everything
                for path in (files.image, files.mask)
                if path and path.suffix.lower() in FORMATS["JPEG"]
            ),
            heard,
        )
    survey.labels = inspect_masks.labels(masks)
    survey.problems += survey.labels.problems
    survey.problems += audit.leaks(places.values(), "the same image")
    return survey


def _read(files: _Files) -> _Pair:
    pair = _Pair()
    image = _tried(pair, partial(inspect_images.source, files.image, files.embedded))
    mask = _tried(pair, partial(inspect_images.source, files.mask)) if files.mask else None
    pair.sha256 = image[1] if image else ""
    for page in _tried(pair, lambda: _pages(files, image, mask)) or ():
        _read_page(pair, files, image, mask, page)
    pair.problems = once(pair.problems)
    return pair


def _tried(pair: _Pair, action: Callable[[], Value]) -> Value | None:
    try:
        return action()
    except PipelineError as error:
        pair.problems.append(error)
        return None


def _pages(files: _Files, image: _Source | None, mask: _Source | None) -> Sequence[int | None]:
    """The numbers of the pages, None for the only one. Raises DataError if image and mask differ in them."""
    found = ((image, files.image), (mask, files.mask))
    counts = [image_file.pages(source[0], path) for source, path in found if source and path]
    if len(set(counts)) > 1 and files.mask:
        raise pair_files.other_pages(files.image, files.mask, *counts)
    return [None] if max(counts, default=1) == 1 else range(1, counts[0] + 1)


def _read_page(pair: _Pair, files: _Files, image: _Source | None, mask: _Source | None, page: int | None) -> None:
    with ExitStack() as stack:

        def opened(file: AbstractContextManager[File]) -> File | None:
            return _tried(pair, lambda: stack.enter_context(file))

        picture = values = None
        if image:
            picture = opened(image_file.opened(image[0], files.image, page, "drop", windows=True))
        if mask and files.mask:
            values = opened(mask_files.opened(mask[0], files.mask, None, page=page, windows=True))
            if picture and values and (misfit := pair_files.misfit(files.image, files.mask, picture, values, "check")):
                pair.problems.append(on_page(misfit, page))
        if image and picture:
            seen = _tried(pair, lambda: inspect_images.picture(picture, image[0], files.image, page))
            pair.pictures += [seen] if seen else []
        if mask and files.mask and values:
            path = files.mask
            counted = _tried(pair, lambda: inspect_masks.surveyed(values, mask[0], path))
            pair.masks += [counted] if counted else []


def _decode_jpeg(path: Path, embedded: Callable[[], bytes] | None) -> None:
    with image_file.opened(embedded() if embedded else reading.read(path), path) as image:
        image.read(0, 0, 1, 1)
