"""A split that is scored in chunks of images, each by a task of its own: with the bytes of the whole.

A chunk computes whole batches of the split, also where its first or last one reaches into its neighbours.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from torch import nn

from segline.dataset import npy, processed
from segline.dataset.processed import Split
from segline.model import checkpoint, device, randomness, receptive_field, watershed
from segline.monitoring import console
from segline.scheduling import tasks
from segline.scheduling.places import Place
from segline.scoring import score_split
from segline.scoring.score_split import Scored, Uint8, Wanted

BYTES = 32 << 20  # of the images of a chunk, unless one image is larger


@dataclass(frozen=True)
class Chunk:
    """The origins of `processed` from `first` to `last`, exclusive, and how to score them. Every node sees the paths.

    `folder` takes the predictions; without a `rule` no objects are found.
    """

    raw: Path
    processed: Path
    model: Path
    folder: Path
    batch_size: int
    seed: int
    rule: watershed.Section | None
    first: int = 0
    last: int = 0

    def file(self, name: str) -> Path:
        """The rows of this kind, until they are in the file of the whole split."""
        return self.folder / f".{name}-{self.first}.npy"


def score(whole: Chunk, split: Split, appends: Mapping[str, Callable[[Uint8], None]]) -> Scored:
    """What `score_split.score` gives for the split. `appends` takes the rows of "classes", and of "outlines" if there
    is a rule."""
    chunks = [replace(whole, first=first, last=last) for first, last in cut(split)]
    with tasks.computing(len(chunks)) as compute, closing(compute(score_chunk, chunks)) as ended:
        found = dict(console.progress(ended, len(chunks), "evaluate", unit="chunk"))
    for chunk in chunks:
        for name, append in appends.items():
            for row in npy.map_array(chunk.file(name)):
                append(row)
            chunk.file(name).unlink()
    return score_split.joined([found[number] for number in range(len(chunks))])


def cut(split: Split, limit: int | None = None) -> Iterator[tuple[int, int]]:
    """The first and last origin, exclusive, of chunks of at most `limit` bytes of images, BYTES by default."""
    row_bytes = split.images.nbytes // max(1, len(split.images))
    sizes = np.diff(split.index.first_rows) * row_bytes
    return tasks.cut(sizes.tolist(), BYTES if limit is None else limit)


def score_chunk(chunk: Chunk, _: Place) -> Scored:
    """Scores the images of a chunk and writes their rows to its files."""
    split, network, model = _opened(chunk.processed, chunk.model)
    randomness.deterministic(chunk.seed)
    own, rows = part(split, chunk.first, chunk.last)
    begin, end = rows.start // chunk.batch_size * chunk.batch_size, -(-rows.stop // chunk.batch_size) * chunk.batch_size
    batches = Split(split.index, split.images[begin:end], split.onehot[begin:end])
    logits = score_split.logits(network, model, batches, chunk.batch_size)
    margin = receptive_field.of_tiles(network, split.index.preparation)
    shape = len(rows), *split.images.shape[1:3]
    with ExitStack() as files, device.within_memory("lower evaluate.batch_size"):
        classes = files.enter_context(npy.writing(chunk.file("classes"), shape))
        wanted = None
        if chunk.rule:
            wanted = Wanted(chunk.rule, files.enter_context(npy.writing(chunk.file("outlines"), shape)))
        mine = islice(logits, rows.start - begin, rows.stop - begin)
        return score_split.score(chunk.raw, own, mine, margin, classes, temperature=model.temperature, wanted=wanted)


def part(split: Split, first: int, last: int) -> tuple[Split, range]:
    """The split of some origins, exclusive `last`, and the numbers of their rows."""
    taken = range(*split.index.first_rows[[first, last]].tolist())
    index = replace(split.index, origins=split.index.origins[first:last])
    return Split(index, split.images[taken.start : taken.stop], split.onehot[taken.start : taken.stop]), taken


@lru_cache(maxsize=1)
def _opened(folder: Path, model: Path) -> tuple[Split, nn.Module, checkpoint.Description]:
    """The split and the network on the device: read and compared with their digests once in each process."""
    network, description = checkpoint.read(model)
    return processed.read(folder), network.to(device.pick()), description
