"""Images that are predicted in chunks, each by a task of its own: with the bytes of one process.

What a batch holds depends on the chunks and on no process: none reaches from one into the next, wherever they run.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from torch import nn

from segline.dataset.objects import semantic
from segline.dataset.preparation import Preparation
from segline.inference import output_folder
from segline.inference.input_files import InputImage
from segline.inference.output_folder import Contents, Listed, OutputFolder
from segline.inference.predict_all import Findings, predict_all
from segline.inference.sliding_window import Predictor
from segline.model import checkpoint, device, randomness, receptive_field
from segline.monitoring import console
from segline.scheduling import tasks
from segline.scheduling.places import Place

IMAGES = 32  # of a chunk; more if a batch has more
BYTES = 32 << 20  # of its files, if they are cut into tiles, unless one file is larger


@dataclass(frozen=True)
class Chunk:
    """Images and how to predict them into the folder `out`; `number` counts the chunks. Every node sees the paths."""

    model: Path
    out: Path
    contents: Contents
    batch_size: int
    sizes: Sequence[tuple[int, int]]
    flip: bool
    sources: Sequence[InputImage] = ()
    number: int = 0


def cut(sources: Sequence[InputImage], form: Preparation, batch_size: int) -> Iterator[tuple[int, int]]:
    """The first and the last image, exclusive, of each chunk: of whole batches, if an image is one row."""
    if form.fit != "tile":
        return tasks.cut([1] * len(sources), -(-IMAGES // batch_size) * batch_size)
    pages = Counter(source.path for source in sources)
    sizes = (max(_size(source.path) // pages[source.path], BYTES // IMAGES) for source in sources)
    return tasks.cut(sizes, BYTES)


def _size(path: Path) -> int:
    with suppress(OSError):  # whoever opens it will report it
        return path.stat().st_size
    return 0


def predict(whole: Chunk, parts: Sequence[Sequence[InputImage]], results: OutputFolder) -> Findings:
    """Adds the images of all chunks to `results`; however it ends, nothing is left of chunks that were not finished."""
    chunks = [replace(whole, sources=sources, number=number) for number, sources in enumerate(parts)]
    found: dict[int, Findings] = {}
    try:
        with tasks.computing(len(chunks)) as compute, closing(compute(predict_chunk, chunks)) as ended:
            for number, (listed, findings) in console.progress(ended, len(chunks), "predict", unit="chunk"):
                results.join(listed, output_folder.spool(whole.out, number))
                found[number] = findings
    finally:
        unfinished = [chunk for chunk in chunks if chunk.number not in found]
        results.discard([source.name for chunk in unfinished for source in chunk.sources])
    findings = Findings()
    findings.add(found[chunk.number] for chunk in chunks)
    return findings


def predict_chunk(chunk: Chunk, place: Place) -> tuple[Listed, Findings]:
    """Writes the results of the images of a chunk; what is listed of them in tables comes back."""
    network, model = _opened(chunk.model)
    randomness.deterministic(0)  # as `predict` does
    margin = receptive_field.of_tiles(network, model.preparation)
    predictor = Predictor(network, model, chunk.sizes, chunk.batch_size, chunk.flip, margin)
    classes, spool = semantic(model.classes, model.objects), output_folder.spool(chunk.out, chunk.number)
    results = OutputFolder(chunk.out, classes, chunk.contents, spool)
    findings = predict_all(predictor, chunk.sources, results, threads=place.threads)
    return results.listed(), findings


@lru_cache(maxsize=1)
def _opened(model: Path) -> tuple[nn.Module, checkpoint.Description]:
    """The network on the device: read once in each process."""
    network, description = checkpoint.read_named(model)
    return network.to(device.pick()), description
