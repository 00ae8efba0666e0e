"""The same picture in two splits though the files differ: saved anew, or in another format.

Candidates share a checksum of what preprocess made of them, which is cheap; decoding them again proves it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from segline import audit, images
from segline.arrays import Row
from segline.errors import PipelineError


def problems(raw: Path, channels: int, candidates: Iterable[Sequence[tuple[str, Row]]]) -> Iterator[PipelineError]:
    """One error for each picture in several splits. `candidates` are (split, row) of images that may be equal."""
    for places in candidates:
        if len({split for split, _ in places}) > 1 and len({row.sha256_image for _, row in places}) > 1:
            yield from audit.leaks(_equal(raw, channels, places), "an image of the same pixels")


def _equal(raw: Path, channels: int, places: Sequence[tuple[str, Row]]) -> Iterable[Sequence[tuple[str, Path]]]:
    same: dict[tuple[int, int, bytes], list[tuple[str, Path]]] = defaultdict(list)
    for split, row in places:
        path = raw / split / row.image
        pixels = images.decode_image(images.read(path), path, channels)
        same[row.height, row.width, hashlib.sha256(pixels.data).digest()].append((split, path))
    return same.values()
