"""The contents of the files of a data set whose classes are not known yet: read once, on all cores."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from segline.commands import inspect_masks
from segline.commands.inspect_masks import Labels, Mask
from segline.core import parallel
from segline.core.errors import DataError, PipelineError
from segline.monitoring import console
from segline.preprocessing import audit, decoder_warnings, image_file, images
from segline.sources.collecting.listing import Entry


@dataclass
class Survey:
    """Counts over all pairs that can be read; `problems` are those of the others, `doubts` say what images lose."""

    image_kinds: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    labels: Labels = field(default_factory=Labels)
    doubts: list[str] = field(default_factory=list)
    problems: list[PipelineError] = field(default_factory=list)


@dataclass(frozen=True)
class _Image:
    kind: str
    size: tuple[int, int]
    sha256: str
    levels: int | None


def survey_pairs(listed: Mapping[str, Sequence[Entry]]) -> Survey:
    """The survey of all pairs of all splits."""
    images.single_threaded()
    everything = [(split, entry) for split, entries in listed.items() for entry in entries]
    survey = Survey()
    places: dict[str, list[tuple[str, Path]]] = {}
    deep_images: list[tuple[Path, int]] = []
    masks: list[tuple[Path, Mask]] = []
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
                if image.levels is not None:
                    deep_images.append((entry.image, image.levels))
            if mask:
                masks.append((entry.mask, mask))
        decoders: list[tuple[Path, Callable[[], object]]] = []
        for _, entry in everything:
            decoders.append((entry.image, partial(_image, entry.image)))
            decoders.append((entry.mask, partial(inspect_masks.read, entry.mask)))
        survey.problems += decoder_warnings.damaged(decoders, heard)
    survey.labels = inspect_masks.labels(masks)
    survey.problems += survey.labels.problems
    survey.problems += audit.leaks(places.values(), "the same image")
    survey.doubts += audit.lost_levels(deep_images)
    return survey


def _read(entry: Entry) -> tuple[_Image | None, Mask | None, list[PipelineError]]:
    problems: list[PipelineError] = []
    image = mask = None
    try:
        image = _image(entry.image)
    except PipelineError as error:
        problems.append(error)
    try:
        mask = inspect_masks.read(entry.mask)
    except PipelineError as error:
        problems.append(error)
    if image and mask and image.size != mask.size:
        problem = f"{_shown(mask.size)} pixels, expected {_shown(image.size)} as {entry.image.name}"
        problems.append(DataError(entry.mask, problem, "Export the mask at the size of its image."))
    return image, mask, problems


def _image(path: Path) -> _Image:
    content = images.read(path)
    image = images.decode_image(content, path, channels=3)
    with image_file.opened(content, path) as file:
        kind = f"{file.depth}-bit {file.colour} {file.format}"
    levels = images.kept_levels(content, image)
    return _Image(kind, (image.shape[0], image.shape[1]), hashlib.sha256(content).hexdigest(), levels)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
