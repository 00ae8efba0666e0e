"""The classes of the pixels of a decoded mask, or the values that are not in the class table."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError
from segline.dataset import onehot
from segline.preprocessing import smears
from segline.preprocessing.image_files.masks import colour
from segline.preprocessing.image_files.page_errors import on_page

_SHOWN = 8  # runs of values in a message


def classes(mask: npt.NDArray[Any], where: Path, lookup: onehot.Lookup, encoding: str) -> onehot.Uint8:
    """The class of each pixel, `onehot.VOID` for unlabelled ones: uint8 (H, W).

    `mask` is what `masks.decode` returns. Raises as `require_known` does.
    """
    require_known(mask, where, lookup, encoding)
    return lookup.classes(mask)


def require_known(mask: npt.NDArray[Any], where: Path, lookup: onehot.Lookup, encoding: str) -> None:
    """Raises DataError for values that are not in the class table."""
    if not lookup.knows(mask):
        raise unknown([mask], where, lookup, encoding)


def unknown(
    pieces: Iterable[npt.NDArray[Any]], where: Path, lookup: onehot.Lookup, encoding: str, page: int | None = None
) -> DataError:
    """The error for a mask, given from its top in pieces of whole lines, some of whose values are not known.

    `page` of the file is None if that has only one.
    """
    counts: Counter[int] = Counter()
    first: tuple[int, int, int] | None = None  # x, y and value
    line = 0
    for piece in pieces:
        values, numbers = np.unique(piece, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        if first is None and not lookup.knows(piece):
            y, x = (int(place) for place in np.argwhere(~lookup.known[piece])[0])
            first = x, line + y, int(piece[y, x])
        line += len(piece)
    if first is None:
        raise ValueError("all values are known")
    x, y, value = first
    others = sum(not lookup.known[each] for each in counts) - 1
    coloured = encoding != "index"
    kind = "colour" if coloured else "value"
    named = str(colour(value)) if coloured else str(value)
    also = f" (and {others} other unknown {kind}{'s' * (others != 1)})" if others else ""
    problem = f"{kind} {named} on {counts[value]} pixels, first at (x, y) = ({x}, {y}){also}"
    if coloured:
        allowed = f"expected only the {lookup.known.sum()} colours of the class table"
        remedy = "Export it again without smoothing or JPEG, which mix colours; or add the class to the source's table."
    else:
        allowed = f"expected a value of the class table ({runs(np.flatnonzero(lookup.known).tolist())})"
        remedy = "Correct the mask, or add the class to the source's table."
        if smeared := smears.binary(counts):
            problem = f"binary mask with smeared edges: {problem}"
            remedy = f"Set data.folder.threshold to {smeared.threshold}, or export it again without smoothing or JPEG."
    return on_page(DataError(where, f"{problem}, {allowed}", remedy), page)


def runs(values: Sequence[int]) -> str:
    """Ascending values as people write them: "0..10, 255"."""
    starts = [value for value in values if value - 1 not in values]
    ends = [value for value in values if value + 1 not in values]
    runs = [f"{start}..{end}" if end > start else str(start) for start, end in zip(starts, ends, strict=True)]
    return ", ".join(runs if len(runs) <= _SHOWN else [*runs[:_SHOWN], "..."])
