"""The classes of an image -> outlined regions of one class each, as labelling tools hold them. H x W pixels.

Pixels of a class that share an edge are a region, or those of an object that the model has learnt. Coordinates are x
and y of pixel corners: pixel (0, 0) covers 0 to 1.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from segline.core.errors import ParameterError, suggestion
from segline.dataset import onehot, raw
from segline.model import watershed
from segline.model.watershed import Found

Uint8 = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]

FORMS = ("coco", "labelme", "cvat")
MAX_TOLERANCE = 100.0
_BACKGROUND = "background"


@dataclass(frozen=True)
class Request:
    """How masks become annotations: the tool's form, the distance in pixels by which an outline may leave its region's,
    the pixels that a region needs, and the class that is what unlabelled pixels are; None if each class is drawn."""

    form: str
    tolerance: float
    least_area: int
    unlabelled: int | None


@dataclass(frozen=True)
class Region:
    """Pixels of class `value`: a closed outline, float32 (N, 2), without its first point again, and those of its holes.

    Outlines turn at each point. The region is on the same side of both kinds: holes go around the other way.
    """

    value: int
    outline: Points
    holes: Sequence[Points]


def request(
    form: str, tolerance: float, least_area: int, unlabelled: str | None, classes: Sequence[raw.Label]
) -> Request:
    """The checked options. Without a name, the unlabelled class is that named background, if there is one.

    Case, spaces and underscores around it do not matter. Raises ParameterError.
    """
    if not 0 <= tolerance <= MAX_TOLERANCE:
        problem = f"expected 0 to {MAX_TOLERANCE:g} pixels, got {tolerance}"
        raise ParameterError("--tolerance", problem, "0 keeps the outline of each pixel.")
    if not 0 <= least_area <= watershed.MAX_PIXELS:
        problem = f"expected 0 to {watershed.MAX_PIXELS} pixels, got {least_area}"
        raise ParameterError("--least-area", problem, "0 keeps every speck.")
    names = [label.name for label in classes]
    if unlabelled is None:
        plain = [name.strip(" _").casefold() for name in names]
        return Request(form, tolerance, least_area, plain.index(_BACKGROUND) if _BACKGROUND in plain else None)
    if unlabelled not in names:
        remedy = f"{suggestion(unlabelled, names, '')} The model knows: {', '.join(names)}."
        raise ParameterError("--unlabelled", f"{unlabelled!r} is not a class of the model", remedy)
    return Request(form, tolerance, least_area, names.index(unlabelled))


def regions(mask: Uint8, least_area: int, found: Found | None = None) -> Iterator[Region]:
    """The regions of a mask (H, W) by exact outlines; those of pixels without a class have the value VOID.

    One of fewer than `least_area` pixels first becomes part of its largest neighbour, unless that is as small.
    Each object in `found` is a region; pixels of its class that are of no object are without a class.
    """
    from rasterio import features  # noqa: PLC0415 - 0.2 s, which only annotations need
    from rasterio.errors import NotGeoreferencedWarning  # noqa: PLC0415

    warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pixels are meant, not places on a map
    owners = np.concatenate([np.arange(onehot.VOID + 1), [] if found is None else found.classes])
    numbers: npt.NDArray[Any] = mask if found is None else _numbered(mask, found)
    valid = numbers != onehot.VOID
    if least_area > 1:
        sieved = features.sieve(numbers, least_area, mask=valid, connectivity=4)
        numbers = np.where(valid, sieved, onehot.VOID).astype(numbers.dtype)
    for shape, value in features.shapes(numbers, connectivity=4):
        outline, *holes = (np.array(ring[:-1], np.float32) for ring in shape["coordinates"])
        yield Region(int(owners[int(value)]), outline, holes)


def _numbered(mask: Uint8, found: Found) -> npt.NDArray[np.int32]:
    """The classes of pixels that are of no object, int32 (H, W), and 255 + the number of the others'."""
    classes = np.where(np.isin(mask, found.searched), onehot.VOID, mask)
    return np.where(found.numbers > 0, found.numbers.astype(np.int32) + 255, classes).astype(np.int32)


def stacked(found: Sequence[Region], height: int, width: int, unlabelled: int | None) -> list[Region]:
    """The regions in an order in which those drawn later cover the holes of earlier ones, whose outlines are filled.

    Of the class `unlabelled` and VOID only those within a filled outline are kept: they are holes of another region.
    """
    covered = np.zeros((height, width), np.uint8)
    kept = []
    for region in sorted(found, key=lambda each: -cv2.contourArea(each.outline)):
        pixels = inset(region.outline, 0.5).astype(np.int32)  # centres of the pixels along the outline
        left, top = pixels[0]
        if region.value not in (unlabelled, onehot.VOID):
            cv2.fillPoly(covered, [pixels], 1)
        elif not covered[top, left]:
            continue
        kept.append(region)
    return kept


def inset(outline: Points, by: float) -> Points:
    """An exact outline, moved into its region by less than a pixel."""
    along = np.sign(np.roll(outline, -1, axis=0) - outline)  # one pixel along the edge that follows each point
    inward = np.stack([along[:, 1], -along[:, 0]], axis=1)
    return np.asarray(outline + by * (inward + np.roll(inward, 1, axis=0)), np.float32)


def simplified(outline: Points, tolerance: float) -> Points:
    """The outline by fewer of its points, at most `tolerance` away from it (Douglas and Peucker 1973).

    It stays as it is if fewer than three points, or no area, would be left. OpenCV leaves points up to 1.34 times its
    own bound away (measured on 2,500 random regions).
    """
    if not tolerance:
        return outline
    fewer = np.asarray(cv2.approxPolyDP(outline[:, None], tolerance / 1.4, closed=True), np.float32)[:, 0]
    return fewer if len(fewer) >= 3 and cv2.contourArea(fewer) > 0 else outline


def keyhole(outline: Points, holes: Sequence[Points]) -> Points:
    """One outline that leaves out the holes: a line goes to each and back, so it parts no pixels.

    Takes time by the number of holes and the length of all outlines, multiplied.
    """
    for hole in holes:
        at = int(np.abs(outline - hole[0]).sum(axis=1).argmin())
        outline = np.concatenate([outline[: at + 1], hole, hole[:1], outline[at:]])
    return outline


def runs(rings: Sequence[Points], height: int, width: int) -> list[int]:
    """The pixels within exact outlines, but not their holes, as lengths of runs down the columns of an image.

    The first is of pixels outside. Takes time by the length of the outlines.
    """
    x, y = np.concatenate(rings).astype(np.int64).T
    to = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings]).astype(np.int64)[:, 0]
    lengths = np.abs(to - x)  # of the edges that go along a row: a column enters or leaves the region at each
    columns = np.arange(lengths.sum()) + np.repeat(np.minimum(x, to) - lengths.cumsum() + lengths, lengths)
    places, counts = np.unique(columns * height + np.repeat(y, lengths), return_counts=True)
    turns = places[(counts == 1) & (places < height * width)]  # twice: down to the last row, and on in the next column
    found = np.diff(turns, prepend=0, append=height * width)
    return [int(length) for length in found]
