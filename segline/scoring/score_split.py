"""The model's logits for a split -> predictions and confusion matrices, band by band. N images, K classes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from segline.dataset import onehot, processed, raw, tiling
from segline.model import batches, checkpoint, forward, stitching
from segline.preprocessing import mask_values, pair_files, working_image
from segline.scoring import confusion

Uint8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scored:
    """Matrices int64 (N, K, K) at the resolution of the raw masks and at the working resolution.

    `seam_disagreement` is the share of the working pixels in overlaps on which the tiles differ, 0 without overlaps.
    """

    own: confusion.Counts
    working: confusion.Counts
    seam_disagreement: float


def logits(
    network: nn.Module, model: checkpoint.Description, split: processed.Split, batch_size: int
) -> Iterator[Tensor]:
    """The logits float32 (K, H, W) of one row after another, in the order of the split."""
    device = next(network.parameters()).device
    samples = batches.place(split.images, split.onehot, len(split.index.classes), device)
    for inputs, _ in batches.in_order(samples, batch_size, model.mean, model.std):
        yield from forward.logits(network, inputs)


def score(
    folder: Path,
    split: processed.Split,
    logits_of_rows: Iterable[Tensor],
    margin: int | None,
    append: Callable[[Uint8], None],
) -> Scored:
    """Calls `append` with the predictions of each row, uint8 (H, W), and counts every pixel of an image once.

    `folder` is the raw folder of the split, `margin` as in `stitching.bands`.
    """
    index, rows = split.index, iter(logits_of_rows)
    num_classes, lookup = len(index.classes), onehot.lookup(index.values, raw.ENCODINGS[index.encoding])
    seams = stitching.Seams()
    own, working = (np.zeros((len(index.origins), num_classes, num_classes), np.int64) for _ in range(2))
    first = 0
    for number, origin in enumerate(index.origins):
        grid = index.grid(number)
        windows = seams.watch(grid, islice(rows, grid.count))
        at_rows = _Rows(grid, split.onehot[first : first + grid.count], working[number], append)
        first += grid.count
        top = 0
        with _opened_truth(folder, origin, lookup, index) as truth:
            for band in stitching.at_own_size(grid, at_rows.watch(stitching.bands(grid, windows, margin))):
                predicted = forward.classes(band[None])[0]
                own[number] += confusion.count(truth(top, len(predicted)), predicted, num_classes)
                top += len(predicted)
    return Scored(own, working, seams.differing / max(1, seams.shared))


class _Rows:
    """Appends the predictions of the rows of one image, and adds the parts that they own to `matrix`, int64 (K, K)."""

    def __init__(
        self, grid: tiling.Grid, packed: Uint8, matrix: confusion.Counts, append: Callable[[Uint8], None]
    ) -> None:
        self._windows, self._cut = zip(grid.windows, packed, strict=True), stitching.Rows(grid)
        self._grid, self._matrix, self._append = grid, matrix, append

    def watch(self, bands: Iterable[Tensor]) -> Iterator[Tensor]:
        """Passes on bands of logits of the working image."""
        for band in bands:
            for predicted in self._cut.add(forward.classes(band[None])[0]):
                window, packed = next(self._windows)
                top, bottom, left, right = self._grid.owned(*window)
                truth = onehot.unpack(packed[top:bottom, left:right], len(self._matrix))
                self._matrix += confusion.count(truth, predicted[top:bottom, left:right], len(self._matrix))
                self._append(predicted)
            yield band


@contextmanager
def _opened_truth(
    folder: Path, origin: processed.Origin, lookup: onehot.Lookup, index: processed.Index
) -> Iterator[Callable[[int, int], Uint8]]:
    """Reads some lines, from a first one on, of the raw mask that preprocess saw, as classes; `onehot.VOID` is above
    every class."""
    hashes = origin.sha256_image, origin.sha256_mask
    page = pair_files.Page(raw.Pair(origin.stem, origin.group, origin.image, origin.mask, *hashes), origin.page)
    form = index.preparation
    with ExitStack() as files:
        opened = pair_files.opened_mask(folder, page, form, index.encoding, index.threshold)
        mask = files.enter_context(opened)
        image = files.enter_context(pair_files.opened_image(folder, page, form)) if origin.no_data else None

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
