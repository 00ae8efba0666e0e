"""The raw mask of an image, at its own size, as classes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.dataset import onehot, processed, raw
from segline.dataset.origins import Origin
from segline.preprocessing import mask_values, pair_files, working_image

Uint8 = npt.NDArray[np.uint8]


@contextmanager
def opened(folder: Path, origin: Origin, index: processed.Index) -> Iterator[Callable[[int, int], Uint8]]:
    """Reads some lines, from a first one on, of the raw mask that preprocess saw, as classes; `onehot.VOID` is above
    every class. `folder` is the raw folder of the split."""
    lookup = onehot.lookup(index.values, raw.ENCODINGS[index.encoding])
    of_mask = page(origin, origin.mask, origin.sha256_mask)
    form = index.preparation
    with ExitStack() as files:
        mask = files.enter_context(pair_files.opened_mask(folder, of_mask, form, index.encoding, index.threshold))
        image = files.enter_context(pair_files.opened_image(folder, of_mask, form)) if origin.no_data else None

        def read(top: int, lines: int) -> Uint8:
            values = mask.read(top, 0, lines, mask.width)
            if not lookup.knows(values):
                pieces = working_image.mask_pieces(mask, form)
                raise mask_values.unknown(pieces, folder / origin.mask, lookup, index.encoding, origin.page)
            truth = lookup.classes(values)
            if image and (valid := image.read(top, 0, lines, image.width).valid) is not None:
                truth[~valid] = onehot.VOID
            return truth

        yield read


def page(origin: Origin, mask: str, sha256_mask: str) -> pair_files.Page:
    """The page of an image and of one of its masks."""
    hashes = origin.sha256_image, sha256_mask
    return pair_files.Page(raw.Pair(origin.stem, origin.group, origin.image, mask, *hashes), origin.page)
