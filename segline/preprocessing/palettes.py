"""The colours that palette masks give to their indices: one index must mean the same in all masks of a data set.

Programs that write 8-bit PNG choose a palette for each file, often by the colours in it: index 1 is then a dog in one
mask and a cat in another.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError

Rgb = tuple[int, int, int]
Colours = Mapping[int, Rgb]  # of the palette indices that are in a mask
_REMEDY = (
    "If the colours are the classes, set data.folder.encoding to palette; if the indices are, save all masks with the "
    "same palette."
)


def colours(palette: Sequence[Rgb], used: npt.NDArray[np.bool_]) -> Colours:
    """The colours of the indices that are in a mask, bool (256,), as far as its palette has them."""
    return {index: palette[index] for index in np.flatnonzero(used).tolist() if index < len(palette)}


def conflict(masks: Iterable[tuple[Path, Colours]]) -> DataError | None:
    """One error for all indices that have different colours in different masks: it shows the first with its files."""
    first: dict[int, tuple[Path, Rgb]] = {}
    clashes: dict[int, tuple[Path, Rgb]] = {}
    files: Counter[Path] = Counter()
    for path, used in masks:
        for index, rgb in used.items():
            if first.setdefault(index, (path, rgb))[1] != rgb:
                clashes.setdefault(index, (path, rgb))
                files[path] += 1
    if not clashes:
        return None
    index = min(clashes)
    (path, rgb), (other, other_rgb) = clashes[index], first[index]
    more = f"; {len(clashes)} indices and {len(files)} masks differ from earlier ones" if len(files) > 1 else ""
    return DataError(path, f"palette index {index} is {rgb}, but {other_rgb} in {other}{more}", _REMEDY)
