"""The rows of images -> their logits, batch by batch, and those of each whole image, band by band.

K classes. An image is never whole in memory: only the rows of a batch, and the logits of one line of its windows.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from segline.dataset import tiling
from segline.inference import test_time_augmentation
from segline.inference.input_files import InputImage
from segline.inference.input_rows import Failure, Image, Row
from segline.model import batches, checkpoint, stitching

_LINES = 64  # of logits whose classes are found at once


@dataclass(frozen=True)
class Predictor:
    """A network on its device, the input sizes (height, width) of its views, and whether each is mirrored too.

    `margin` is that of `segline.model.stitching`.
    """

    network: nn.Module
    model: checkpoint.Description
    sizes: Sequence[tuple[int, int]]
    batch_size: int
    flip: bool
    margin: int | None

    def logits(
        self, rows: Iterable[Row | Failure], starts: Collection[InputImage] = ()
    ) -> Iterator[tuple[Image, list[Tensor]] | Failure]:
        """The image of each row and the row's logits (K, h, w) in each view; failures keep their place.

        A batch ends where one of the images `starts` begins.
        """
        waiting: list[Row | Failure] = []
        count, before = 0, None
        for row in rows:
            source = row.image.source if isinstance(row, Row) else row.source
            if source in starts and source != before:
                yield from self._batch(waiting)
                waiting, count = [], 0
            before = source
            waiting.append(row)
            count += isinstance(row, Row)
            if count == self.batch_size or not count:
                yield from self._batch(waiting)
                waiting, count = [], 0
        yield from self._batch(waiting)

    def _batch(self, waiting: Sequence[Row | Failure]) -> Iterator[tuple[Image, list[Tensor]] | Failure]:
        inputs = [row.inputs for row in waiting if isinstance(row, Row)]
        target = next(self.network.parameters()).device
        views: list[Tensor] = []
        for pixels in zip(*inputs, strict=True):
            stacked = torch.from_numpy(np.stack(pixels)).to(target)
            scaled = batches.inputs(stacked, self.model.mean, self.model.std)
            views += test_time_augmentation.views(self.network, scaled, self.flip)
        number = 0
        for row in waiting:
            if isinstance(row, Failure):
                yield row
            else:
                yield row.image, [view[number] for view in views]
                number += 1

    def merged(self, grid: tiling.Grid, rows: Iterable[list[Tensor]]) -> Iterator[Tensor]:
        """The logits of an image at its own size, (K, n, width), in bands from the top, as `evaluate` has them.

        Of several views the probabilities are averaged: of a stretched image at its own size, otherwise at that of a
        row, before the rows are put together.
        """
        if self.model.preparation.fit == "stretch":
            yield from (test_time_augmentation.merged(views, *grid.own) for views in rows)
            return
        logits = (test_time_augmentation.merged(views, *grid.row) for views in rows)
        for band in stitching.at_own_size(grid, stitching.bands(grid, logits, self.margin)):
            yield from torch.split(band, _LINES, dim=1) if grid.count > 1 else [band]
