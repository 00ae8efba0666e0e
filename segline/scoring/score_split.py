"""The model's logits for a split -> predictions and confusion matrices."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from segline.dataset import onehot, processed
from segline.dataset.raw import ENCODINGS
from segline.model import batches, checkpoint, forward
from segline.preprocessing import images, mask_values
from segline.scoring import confusion


def logits(
    network: nn.Module, model: checkpoint.Description, split: processed.Split, batch_size: int
) -> Iterator[Tensor]:
    """The logits float32 (K, H, W) of one image after another, in the order of the split."""
    device = next(network.parameters()).device
    samples = batches.place(split.images, split.onehot, len(split.index.classes), device)
    for inputs, _ in batches.in_order(samples, batch_size, model.mean, model.std):
        yield from forward.logits(network, inputs)


def score(
    raw: Path, split: processed.Split, logits_of_images: Iterable[Tensor]
) -> tuple[npt.NDArray[np.uint8], confusion.Counts, confusion.Counts]:
    """Predictions uint8 (N, H, W), and matrices (N, K, K) at the working resolution and at that of the raw masks.

    `raw` is the raw folder of the split.
    """
    num_classes = len(split.index.classes)
    lookup = onehot.lookup(split.index.values, ENCODINGS[split.index.encoding])
    predictions, working, own = [], [], []
    for image_logits, packed, origin in zip(logits_of_images, split.onehot, split.index.origins, strict=True):
        predictions.append(forward.classes(image_logits[None])[0])
        working.append(confusion.count(onehot.unpack(packed, num_classes), predictions[-1], num_classes))
        resized = forward.classes_at(image_logits, origin.height, origin.width)
        own.append(confusion.count(_raw_truth(raw, origin, lookup, split.index), resized, num_classes))
    return np.stack(predictions), np.stack(working), np.stack(own)


def _raw_truth(
    raw: Path, origin: processed.Origin, lookup: onehot.Lookup, index: processed.Index
) -> npt.NDArray[np.uint8]:
    """The classes of a raw mask (H, W), the one that preprocess saw; `onehot.VOID` is above every class."""
    path, content = images.read_listed(raw, origin.mask, origin.sha256_mask, processed.INDEX)
    mask = images.decode_mask(content, path, index.encoding, index.threshold)
    return mask_values.classes(mask, path, lookup, index.encoding)
