"""The images of a data set whose preparation is not known yet: each read once from end to end, in bounded memory."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segline.core import untrusted
from segline.core.errors import PipelineError
from segline.dataset.preparation import FULL, Preparation
from segline.dataset.raw import FORMATS
from segline.preprocessing import intensity, levels
from segline.preprocessing.image_files import image_file, reading, tiff
from segline.preprocessing.image_files.formats import Source
from segline.preprocessing.image_files.image_file import ImageFile
from segline.preprocessing.image_files.stored_samples import Array, Samples

_AT_ONCE = 1 << 22  # samples


@dataclass(frozen=True)
class Picture:
    """What an image shows; size is that of the upright one, which its Exif tag may have turned.

    `is_gray`: one band, or R, G and B that are equal. `low` and `high` are the extremes of samples of more than 8 bits,
    None for others; `kept` is what the intensity `full` would leave of integers among them. `alpha_place`: that of the
    alpha channel in the file, counted from 0, if bands follow it.
    """

    kind: str
    size: tuple[int, int]
    colour: str
    bands: int
    dtype: np.dtype[np.generic]
    is_gray: bool
    low: float | None
    high: float | None
    kept: levels.Kept | None
    is_transparent: bool
    is_turned: bool
    alpha_place: int | None
    alpha_may_be_infrared: bool


def source(path: Path, embedded: Callable[[], bytes] | None = None) -> tuple[Source, str]:
    """The content of a file, or the path of a TIFF, which may be larger than memory; and its SHA-256.

    The content of an image that is no file of its own comes from `embedded`.
    """
    if embedded:
        content = embedded()
        return content, hashlib.sha256(content).hexdigest()
    if path.suffix.lower() not in FORMATS["TIFF"]:
        content = reading.read(path)
        return content, hashlib.sha256(content).hexdigest()
    try:
        with untrusted.opened(path, tiff.MAX_BYTES) as stream:
            return path, hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise reading.unreadable(path, error) from None


def picture(image: ImageFile, content: Source, path: Path, page: int | None) -> Picture:
    """What an open image shows, which was opened with `alpha="drop"`. Raises DataError if it is damaged."""
    is_deep = image.dtype.itemsize > 1
    counter = levels.Counter(_as_it_is(image)) if is_deep and image.dtype.kind != "f" else None
    is_gray, low, high = image.colour != "bands", np.inf, -np.inf
    for samples in _pieces(image):
        is_gray = is_gray and bool((samples.values == samples.values[:, :, :1]).all())
        if is_deep and (found := _counted(samples)).size:
            low, high = min(low, float(found.min())), max(high, float(found.max()))
        if counter:
            counter.add(samples, intensity.to_bytes(samples, _as_it_is(image)))
    return Picture(
        f"{image.depth}-bit {image.colour if image.colour != 'bands' else f'{image.bands}-band'} {image.format}",
        (image.height, image.width),
        image.colour,
        image.bands,
        image.dtype,
        is_gray,
        low if low <= high else None,
        high if low <= high else None,
        counter.kept() if counter else None,
        "alpha dropped" in image.notes and _is_transparent(content, path, page),
        image.orientation != 1,
        image.alpha_place,
        image.alpha_may_be_infrared,
    )


def _as_it_is(image: ImageFile) -> Preparation:
    """All bands of an image in their order, with the intensity `full`; only these two are looked at."""
    return Preparation("tile", 1, 1, 1.0, 0.0, tuple(range(1, image.bands + 1)), "check", "drop", FULL)


def _pieces(image: ImageFile) -> Iterator[Samples]:
    lines = max(1, _AT_ONCE // (image.width * image.bands))
    for top in range(0, image.height, lines):
        yield image.read(top, 0, min(lines, image.height - top), image.width)


def _counted(samples: Samples) -> Array:
    return samples.values if samples.valid is None else samples.values[samples.valid]


def _is_transparent(content: Source, path: Path, page: int | None) -> bool:
    try:
        with image_file.opened(content, path, page, "refuse", windows=True) as image:
            for _ in _pieces(image):
                pass
    except PipelineError:
        return True
    return False
