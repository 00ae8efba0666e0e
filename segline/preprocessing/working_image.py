"""A whole image or mask -> the rows of its grid, one after the other, in memory that does not grow with its height.

See `segline.dataset.tiling` for the grid. A working pixel shows the average of the image's own pixels under it, by
OpenCV's area method; those that are not valid have no part in it. It has the label of the one at its centre, and is
void if that one is not valid. Padding repeats the edge. Each own pixel is read once, and tiles that overlap agree on
what they share.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from segline.dataset.preparation import Preparation
from segline.dataset.tiling import UNIT, Grid, grid
from segline.preprocessing import images, intensity
from segline.preprocessing.image_files.image_file import ImageFile
from segline.preprocessing.image_files.masks import Mask, MaskFile
from segline.preprocessing.image_files.stored_samples import Array, Samples

Uint8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Arrays = tuple[Array, ...]  # of the same pixels

_LINES = 512  # that are read at once: a line of the usual blocks of TIFF, which are decoded whole
_MOST_READ = 1 << 26  # samples at once
_MOST_CONVERTED = 1 << 22  # samples at once: 32 MiB of float64


def image_rows(
    image: ImageFile, preparation: Preparation, watch: Callable[[Samples, Uint8], None] | None = None
) -> Iterator[tuple[Uint8, Bool]]:
    """Each row of an image, uint8 (H, W, C), and what is void in it, bool (H, W), in the order of its windows.

    `watch` is called with all own pixels, piece by piece from the top: the samples, and the bytes that they become.
    Raises DataError as `image.read` does.
    """
    form = grid(preparation, image.height, image.width)

    def own(samples: Samples) -> Uint8:
        pixels = intensity.to_bytes(samples, preparation)
        if watch:
            watch(samples, pixels)
        return np.ascontiguousarray(pixels)

    def strips() -> Iterator[Arrays]:
        for samples in image_pieces(image, preparation):
            if preparation.fit == "tile":
                valid = np.ones(samples.values.shape[:2], np.bool_) if samples.valid is None else samples.valid
                for pixels, here in _units((own(samples), valid), form):
                    yield _averaged(pixels, here, form), _at_centres(here, form)
            else:
                valid = np.ones(form.working, np.bool_)
                if samples.valid is not None:
                    valid = images.resize_mask(samples.valid.view(np.uint8), *form.working).view(np.bool_)
                yield images.resize_image(own(samples), *form.working, samples.valid), valid

    for (top, left), (shown, valid) in zip(form.windows, _windows(form, strips()), strict=True):
        void = ~valid
        void[max(0, form.working[0] - top) :] = True
        void[:, max(0, form.working[1] - left) :] = True
        yield shown, void


def label_rows(
    masks: Sequence[MaskFile],
    preparation: Preparation,
    labels: Callable[[Iterator[tuple[Mask, ...]]], Iterator[Uint8]],
    watch: Callable[[tuple[Mask, ...]], None] | None = None,
) -> Iterator[Uint8]:
    """Each row of labels (H, W), in the order of its windows. What is void in the image is not void here.

    `masks` are files of the same size. `labels` turns their values in strips of whole lines of the working image, from
    the top, into labels, in any strips. `watch` is called with all own pixels, piece by piece from the top. Raises
    DataError as `mask.read` does.
    """
    form = grid(preparation, masks[0].height, masks[0].width)

    def strips() -> Iterator[tuple[Mask, ...]]:
        for own in zip(*(mask_pieces(mask, preparation) for mask in masks), strict=True):
            if watch:
                watch(own)
            if preparation.fit == "tile":
                for unit in _units(own, form):
                    yield tuple(_at_centres(values, form) for values in unit)
            else:
                yield tuple(images.resize_mask(each, *form.working) for each in own)

    return (values for (values,) in _windows(form, ((strip,) for strip in labels(strips()))))


def image_pieces(image: ImageFile, preparation: Preparation) -> Iterator[Samples]:
    """All own pixels of an image, piece by piece from the top: each once, lines whole; without tiles in one piece."""
    if preparation.fit != "tile":
        yield image.read(0, 0, image.height, image.width)
        return
    unit, samples_a_line = _unit(grid(preparation, image.height, image.width)), image.width * image.bands
    for first, last in _pieces(image.height, unit, min(_LINES, _MOST_READ // samples_a_line)):
        read = image.read(first, 0, last - first, image.width)
        for top, bottom in _pieces(last - first, unit, _MOST_CONVERTED // samples_a_line):
            parts = (None if each is None else each[top:bottom] for each in (read.valid, read.hidden))
            yield Samples(read.values[top:bottom], *parts)


def mask_pieces(mask: MaskFile, preparation: Preparation) -> Iterator[Mask]:
    """All own pixels of a mask, as `image_pieces`."""
    if preparation.fit != "tile":
        yield mask.read(0, 0, mask.height, mask.width)
        return
    unit = _unit(grid(preparation, mask.height, mask.width))
    for first, last in _pieces(mask.height, unit, min(_LINES, _MOST_READ // mask.width)):
        yield mask.read(first, 0, last - first, mask.width)


def _unit(form: Grid) -> int:
    """How many own pixels, down and across, become `UNIT` working pixels."""
    return int(form.step[0] * UNIT)


def _pieces(height: int, unit: int, most: int) -> Iterator[tuple[int, int]]:
    """First line and the one after the last of pieces of whole units: of about `most` lines, at least one unit."""
    lines = unit * max(1, most // unit)
    return ((first, min(first + lines, height)) for first in range(0, height, lines))


def _units(piece: Arrays, form: Grid) -> Iterator[Arrays]:
    """The own lines of one unit after the other. What a unit becomes does not depend on the piece it was read in."""
    unit = _unit(form)
    for top in range(0, len(piece[0]), unit):
        yield tuple(array[top : top + unit] for array in piece)


def _averaged(pixels: Uint8, valid: Bool, form: Grid) -> Uint8:
    """The working lines of the own lines of a unit; the last unit may be smaller than the others."""
    unit, (_, width) = _unit(form), form.working
    if unit == UNIT:
        return pixels
    units_across = -(-width // UNIT)
    height = -(-len(pixels) * UNIT // unit)
    whole, counted = (_padded(array, unit, units_across * unit) for array in (pixels, valid))
    return images.resize_image(whole, UNIT, units_across * UNIT, counted)[:height, :width]


def _at_centres(values: Array, form: Grid) -> Array:
    """The values (n, w) of the own lines of a unit under the centres of working pixels."""
    unit = _unit(form)
    if unit == UNIT:
        return values
    height, width = -(-len(values) * UNIT // unit), form.working[1]
    down, across = ((2 * np.arange(count) + 1) * unit // (2 * UNIT) for count in (height, width))
    down, across = (np.minimum(place, side - 1) for place, side in zip((down, across), values.shape, strict=True))
    return np.asarray(values[down[:, None], across])


def _windows(form: Grid, strips: Iterator[Arrays]) -> Iterator[Arrays]:
    """The windows of a working image, given from the top in strips of lines; what sticks out repeats its edge."""
    height, width = form.row
    across = form.lefts[-1] + width
    first, held = form.tops[0], next(strips)
    for top in form.tops:
        held, first = tuple(array[top - first :] for array in held), top
        parts = [held]
        lines = len(held[0])
        while lines < min(height, form.working[0] - top):
            parts.append(next(strips))
            lines += len(parts[-1][0])
        held = tuple(arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        band = tuple(_padded(array[:height], height, across) for array in held)
        for left in form.lefts:
            yield tuple(np.ascontiguousarray(array[:, left : left + width]) for array in band)


def _padded(array: Array, height: int, width: int) -> Array:
    """An array (h, w, ...) as (height, width, ...): its last line and column are repeated."""
    missing = height - array.shape[0], width - array.shape[1]
    if missing == (0, 0):
        return array
    return np.pad(array, ((0, missing[0]), (0, missing[1]), *[(0, 0)] * (array.ndim - 2)), mode="edge")
