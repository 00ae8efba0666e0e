"""The model's logits for a split -> predictions, confusion matrices and matched objects, band by band.

N images, K classes; K' with the borders of objects, see `segline.dataset.objects`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from segline.dataset import objects as object_classes
from segline.dataset import onehot, processed, tiling
from segline.dataset.origins import Origin
from segline.dataset.preparation import Preparation
from segline.model import batches, checkpoint, forward, objects, stitching, watershed
from segline.preprocessing import pair_files
from segline.scoring import calibration, confusion, image_objects, raw_masks
from segline.scoring.calibration import Calibrated
from segline.scoring.objects import Matched

Uint8 = npt.NDArray[np.uint8]
Uint16 = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Wanted:
    """How objects are found, and what takes the outlines of each row, uint8 (H, W), see `image_objects`."""

    rule: watershed.Section
    append: Callable[[Uint8], None]


@dataclass(frozen=True)
class Scored:
    """Matrices int64 (N, K, K) at the resolution of the raw masks and at the working resolution.

    `calibrated` is about the same pixels as `own`. `shared` counts the working pixels in overlaps, `differing` those of
    them on which the tiles differ. `objects` are those of each class with objects in each image; None if they were not
    asked for.
    """

    own: confusion.Counts
    working: confusion.Counts
    calibrated: Calibrated
    differing: int
    shared: int
    objects: list[list[Matched]] | None

    @property
    def seam_disagreement(self) -> float:
        """The share of the pixels in overlaps on which the tiles differ; 0 without overlaps."""
        return self.differing / max(1, self.shared)


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
    *,
    temperature: float,
    wanted: Wanted | None = None,
) -> Scored:
    """Calls `append` with the predictions of each row, uint8 (H, W), and counts every pixel of an image once.

    `folder` is the raw folder of the split, `margin` as in `stitching.bands`. A border counts as its class.
    Confidences are those at `temperature`.
    """
    index, rows = split.index, iter(logits_of_rows)
    if wanted:
        image_objects.require_sizes(folder, index)
    parents = object_classes.parents(index.classes, index.objects).tolist()
    num_classes = len(object_classes.semantic(index.classes, index.objects))
    seams = stitching.Seams(parents)
    own, working = (np.zeros((len(index.origins), num_classes, num_classes), np.int64) for _ in range(2))
    sure = np.zeros((len(index.origins), calibration.BINS, 3), np.int64)
    matched: list[list[Matched]] = []
    first = 0
    for number, origin in enumerate(index.origins):
        grid = index.grid(number)
        windows = seams.watch(grid, islice(rows, grid.count))
        packed = (split.onehot[row] for row in range(first, first + grid.count))  # one at a time
        at_rows = _Rows(grid, packed, working[number], parents, append)
        first += grid.count
        collected = _collected(folder, index, number) if wanted else None
        top = 0
        with (
            raw_masks.opened(folder, origin, index) as truth,
            _opened_numbers(folder, origin, index.preparation, collected) as numbers,
        ):
            for band in stitching.at_own_size(grid, at_rows.watch(stitching.bands(grid, windows, margin))):
                folded = objects.folded(band, parents)
                predicted = forward.classes(folded[None])[0]
                actual = truth(top, len(predicted))
                own[number] += confusion.count(actual, predicted, num_classes)
                confidence = forward.confidence(folded, temperature, calibration.ONE)
                sure[number] += calibration.count(confidence, actual == predicted, actual < num_classes)
                if collected:
                    collected.add(band, predicted, actual, numbers(top, len(predicted)))
                top += len(predicted)
        if wanted and collected:
            matches, outlines = collected.matched(wanted.rule)
            matched.append(matches)
            for row in stitching.Rows(grid).add(outlines):
                wanted.append(row)
    calibrated = Calibrated(sure, temperature)
    return Scored(own, working, calibrated, seams.differing, seams.shared, matched if wanted else None)


def joined(parts: Sequence[Scored]) -> Scored:
    """The counts of consecutive images, at least one, as those of one split."""
    counts = np.concatenate([part.calibrated.counts for part in parts])
    return Scored(
        own=np.concatenate([part.own for part in parts]),
        working=np.concatenate([part.working for part in parts]),
        calibrated=Calibrated(counts, parts[0].calibrated.temperature),
        differing=sum(part.differing for part in parts),
        shared=sum(part.shared for part in parts),
        objects=None if parts[0].objects is None else [each for part in parts for each in part.objects or []],
    )


class _Rows:
    """Appends the predictions of the rows of one image, and adds the parts that they own to `matrix`, int64 (K, K)."""

    def __init__(
        self,
        grid: tiling.Grid,
        packed: Iterable[Uint8],
        matrix: confusion.Counts,
        parents: Sequence[int],
        append: Callable[[Uint8], None],
    ) -> None:
        self._windows, self._cut = zip(grid.windows, packed, strict=True), stitching.Rows(grid)
        self._grid, self._matrix, self._parents, self._append = grid, matrix, parents, append
        self._counted = np.arange(256, dtype=np.uint8)
        self._counted[: len(parents)] = parents

    def watch(self, bands: Iterable[Tensor]) -> Iterator[Tensor]:
        """Passes on bands of logits of the working image, (K', n, W)."""
        for band in bands:
            for predicted in self._cut.add(forward.classes(objects.folded(band, self._parents)[None])[0]):
                window, packed = next(self._windows)
                top, bottom, left, right = self._grid.owned(*window)
                truth = self._counted[onehot.unpack(packed[top:bottom, left:right], len(self._parents))]
                self._matrix += confusion.count(truth, predicted[top:bottom, left:right], len(self._matrix))
                self._append(predicted)
            yield band


def _collected(folder: Path, index: processed.Index, number: int) -> image_objects.Collected:
    inside = index.objects.inside(index.classes) if index.objects else ()
    return image_objects.Collected(index.grid(number), inside, folder / index.origins[number].image)


@contextmanager
def _opened_numbers(
    folder: Path, origin: Origin, form: Preparation, collected: image_objects.Collected | None
) -> Iterator[Callable[[int, int], Uint16]]:
    """Reads some lines, from a first one on, of the object numbers that preprocess saw."""
    if collected is None or origin.objects is None or origin.sha256_objects is None:
        yield lambda _, lines: np.zeros((lines, origin.width), np.uint16)
        return
    page = raw_masks.page(origin, origin.objects, origin.sha256_objects)
    with pair_files.opened_mask(folder, page, form, "index", None) as file:
        yield lambda top, lines: file.read(top, 0, lines, file.width).astype(np.uint16)
