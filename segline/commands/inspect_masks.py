"""The masks of a data set whose classes are not known yet: their values, counted, and what these values mean."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segline.core.errors import DataError, PipelineError
from segline.preprocessing import palettes, smears
from segline.preprocessing.image_files import masks as mask_files
from segline.preprocessing.image_files.formats import Source
from segline.preprocessing.image_files.masks import MaskFile
from segline.preprocessing.image_files.stored_samples import Array

MOST = 256  # values of one mask that are counted; there can be 255 classes at most
MOST_CLASSES = 255
_AT_ONCE = 1 << 22  # pixels
_CHROMA = 32  # of the 256 levels between the channels of a pixel, at most, in a JPEG of a gray mask


@dataclass(frozen=True)
class Mask:
    """One mask: its values as `encoding` (index, rgb, or jpeg for gray JPEG) decodes them, and their pixels.

    `used` are the colours of the palette indices in it, `palette` those of all indices.
    """

    kind: str
    size: tuple[int, int]
    encoding: str
    palette: palettes.Colours
    used: palettes.Colours
    num_values: int
    counts: dict[int, int]

    @property
    def gray(self) -> dict[int, int] | None:
        """The counts as a gray picture; None if it has colours."""
        if self.encoding != "rgb":
            return None if self.palette else self.counts
        is_gray = self.num_values == len(self.counts) and all(code % 0x010101 == 0 for code in self.counts)
        return {code & 255: count for code, count in self.counts.items()} if is_gray else None

    @property
    def is_gapless(self) -> bool:
        """Whether no value from 0 or 1 to the highest is left out; True if there are too many to be counted."""
        return self.num_values > MOST or sorted(self.counts) == [*range(min(self.counts) > 0, max(self.counts) + 1)]

    @property
    def by_colour(self) -> dict[int, int]:
        """The counts of a palette mask by the colour codes of its indices."""
        counts: Counter[int] = Counter()
        for index, (red, green, blue) in self.used.items():
            counts[red << 16 | green << 8 | blue] += self.counts[index]
        return counts


@dataclass
class Labels:
    """Counts over all masks that fit together; `problems` are those of the others, `doubts` say how they were read.

    `encoding` is that of most masks. `pixels` and `masks` count the pixels of each mask value and the masks it is in.
    `fullest` is the number of values in the mask that has the most, and its path. In masks with smeared edges only the
    values in `common` are classes; if a `threshold` divides them, `pixels` and `masks` count all values on its sides.
    `void` is known only if something beside the masks says so. In `gapless` masks no number up to the highest is left
    out, as where objects are numbered.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    encoding: str = "index"
    pixels: Counter[int] = field(default_factory=Counter)
    masks: Counter[int] = field(default_factory=Counter)
    palette: dict[int, palettes.Rgb] = field(default_factory=dict)
    fullest: tuple[int, Path] = (0, Path())
    common: list[int] = field(default_factory=list)
    threshold: int | None = None
    void: int | None = None
    gapless: int = 0
    doubts: list[str] = field(default_factory=list)
    problems: list[PipelineError] = field(default_factory=list)

    def add(self, counts: dict[int, int]) -> None:
        """Counts one mask."""
        self.pixels.update(counts)
        self.masks.update(value for value, count in counts.items() if count)


def surveyed(file: MaskFile, content: Source, path: Path) -> Mask:
    """The values of an open mask, which was opened without an encoding. Raises DataError if it is damaged."""
    encoding, (values, numbers) = file.encoding, _counts(file)
    if file.lossy:
        if encoding == "rgb" and not _are_gray(values):
            raise mask_files.refused_lossy(path, file.format)
        encoding = "jpeg"
        values, numbers = np.unique(mask_files.gray_samples(content, path), return_counts=True)
    most = np.argsort(numbers, kind="stable")[::-1][:MOST]
    counts = dict(zip(values[most].tolist(), numbers[most].tolist(), strict=True))
    palette = dict(enumerate(file.palette))
    used = {index: palette[index] for index in counts if index in palette}
    kind = f"{file.depth}-bit {file.colour} {file.format}"
    return Mask(kind, (file.height, file.width), encoding, palette, used, len(values), counts)


def _counts(file: MaskFile) -> tuple[Array, Array]:
    """The values of a mask, ascending, and the pixels of each; read piece by piece."""
    values, numbers = np.zeros(0, np.uint32), np.zeros(0, np.int64)
    lines = max(1, _AT_ONCE // file.width)
    for top in range(0, file.height, lines):
        piece = file.read(top, 0, min(lines, file.height - top), file.width)
        if piece.dtype.itemsize <= 2:
            counted = np.bincount(piece.ravel())
            found = np.flatnonzero(counted)
            counted = counted[found]
        else:
            found, counted = np.unique(piece, return_counts=True)
        values, places = np.unique(np.concatenate([values, found]), return_inverse=True)
        together = np.zeros(len(values), np.int64)
        np.add.at(together, places, np.concatenate([numbers, counted]))
        numbers = together
    return values, numbers


def _are_gray(codes: Array) -> bool:
    channels = np.stack([codes >> shift & 255 for shift in (16, 8, 0)])
    return int(np.ptp(channels, axis=0).max()) <= _CHROMA


def labels(masks: Sequence[tuple[Path, Mask]]) -> Labels:
    """What the values of all masks mean."""
    table = Labels(kinds=Counter(mask.kind for _, mask in masks))
    if not _add_as_binary(table, masks):
        table.problems += [mask_files.refused_lossy(path) for path, mask in masks if mask.encoding == "jpeg"]
        usable = [(path, mask) for path, mask in masks if mask.encoding != "jpeg"]
        if usable:
            ((table.encoding, _),) = Counter(mask.encoding for _, mask in usable).most_common(1)
        table.problems += _others(table.encoding, usable)
        _add(table, [(path, mask) for path, mask in usable if mask.encoding == table.encoding])
        table.doubts += _smeared(table)
    return table


def _add_as_binary(table: Labels, masks: Sequence[tuple[Path, Mask]]) -> bool:
    """Adds the masks if all are gray and, taken together, two values with smeared edges."""
    grays = [gray for _, mask in masks if (gray := mask.gray)]
    counts: Counter[int] = Counter()
    for gray in grays:
        counts.update(gray)
    smeared = smears.binary(counts, jpeg=all(mask.encoding == "jpeg" for _, mask in masks))
    if smeared is None or len(grays) < len(masks):
        return False
    low, high, threshold = smeared.low, smeared.high, smeared.threshold
    for gray in grays:
        above = sum(count for value, count in gray.items() if value > threshold)
        table.add({low: sum(gray.values()) - above, high: above})
    table.common, table.threshold = [low, high], threshold
    table.doubts.append(
        f"binary masks with smeared edges (smoothing, resizing or JPEG): {len(counts)} values, of which {low} and "
        f"{high} hold {100 * smeared.share:.1f} % of the pixels and {smeared.others} lie around them; threshold: "
        f"{threshold} divides them. If all these values are classes, write threshold: null and list them"
    )
    return True


def _others(encoding: str, masks: Iterable[tuple[Path, Mask]]) -> Iterator[PipelineError]:
    for path, mask in masks:
        if mask.encoding != encoding:
            problem = f"{mask.kind}, while most masks are of the encoding {encoding}"
            yield DataError(path, problem, "Save all masks in the same way.")


def _add(table: Labels, masks: Sequence[tuple[Path, Mask]]) -> None:
    """Adds masks of one encoding: by colour if their palettes differ and the colours recur."""
    clash = palettes.conflict((path, mask.used) for path, mask in masks)
    if clash:
        table.doubts.append(str(clash))
        if _colours_recur([mask for _, mask in masks]):
            table.encoding = "palette"
    for path, mask in masks:
        table.add(mask.by_colour if table.encoding == "palette" else mask.counts)
        table.palette = table.palette or dict(mask.palette)
        table.palette |= mask.used
        table.gapless += mask.is_gapless
        table.fullest = max(table.fullest, (mask.num_values, path))


def _colours_recur(masks: Sequence[Mask]) -> bool:
    """Whether all masks have palettes, of few colours that come back: on average each is in two masks or more."""
    colours = {rgb for mask in masks for rgb in mask.used.values()}
    total = sum(len(mask.used) for mask in masks)
    return all(mask.palette for mask in masks) and len(colours) <= MOST_CLASSES and 2 * len(colours) <= total


def _smeared(table: Labels) -> Iterator[str]:
    """Says that few values are classes, and lists them in `table.common`."""
    kind = "values" if table.encoding == "index" else "colours"
    table.common = smears.common_values(table.pixels) if kind == "values" else smears.common_colours(table.pixels)
    if table.common:
        share = sum(table.pixels[value] for value in table.common) / table.pixels.total()
        yield (
            f"masks with smeared edges (smoothing, resizing or JPEG): {len(table.pixels)} {kind}, of which "
            f"{len(table.common)} hold {100 * share:.1f} % of the pixels; only these are listed as classes. Export the "
            "masks again without smoothing, or list the others too"
        )
