"""How far from the edge of a tile a network's outputs depend on what lies beyond it, measured from the network itself.

That is half its receptive field at most: tiles start and end at multiples of `tiling.UNIT`, where strides and pools
start too, so an output next to an edge looks across it less far than others do. Source: Araujo et al. 2019.
"""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from segline.dataset import tiling
from segline.dataset.preparation import MOST_OVERLAP, Preparation


def margin(network: nn.Module, channels: int, limit: int) -> int | None:
    """The width in pixels of the strip along an edge that depends on pixels beyond it; None if it is above `limit`.

    A network that pools globally depends on everything, so it has None. Strides above `tiling.UNIT` are not supported:
    tiles then see other pools than the whole image does.
    """
    network = copy.deepcopy(network).float().cpu().eval()
    half = tiling.UNIT * (limit // tiling.UNIT + 1)
    across = torch.zeros(2, channels, tiling.UNIT, 2 * half)
    across[0, ..., :half] = across[1, ..., half:] = torch.nan  # whatever looks at a NaN becomes one
    with torch.inference_mode():
        seen = [network(across), network(across.transpose(2, 3)).transpose(2, 3)]
    farthest = max(_farthest(strips[0, ..., half:]) for strips in seen)
    farthest = max(farthest, *(_farthest(strips[1, ..., :half].flip(-1)) for strips in seen))
    return farthest if farthest <= limit else None


def of_tiles(network: nn.Module, preparation: Preparation) -> int | None:
    """The margin of the network that tiles need; None if images are not cut, or if no tile is large enough.

    It must be less than half of a tile's longer side.
    """
    if preparation.fit != "tile":
        return None
    return margin(network, preparation.channels, max(preparation.height, preparation.width) // 2)


def overlap_line(preparation: Preparation, margin: int | None) -> str:
    """Whether tiles overlap enough to give the logits of the whole image, and from where on; `margin` of `of_tiles`."""
    shared, most = (min(tiling.shared(form)) for form in (preparation, replace(preparation, overlap=MOST_OVERLAP)))
    line = f"tiles overlap by {shared} pixels"
    if margin is None:
        return f"{line}; this network sees too far for tiles of this size to give what the whole image gives"
    known = f"(margin of this network: {margin})"
    if 2 * margin <= shared:
        return f"{line} and give what the whole image gives {known}"
    if 2 * margin <= most:
        return f"{line}; from {2 * margin} on they would give what the whole image gives {known}"
    return f"{line}; only larger tiles, with {2 * margin}, would give what the whole image gives {known}"


def _farthest(outputs: Tensor) -> int:
    """One more than the last column of (K, H, W) with a NaN."""
    columns = outputs.isnan().any(dim=0).any(dim=0).nonzero()
    return int(columns.max()) + 1 if len(columns) else 0
