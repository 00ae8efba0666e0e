"""Images with drawn masks -> the raw data set: images byte for byte, masks and object numbers as PNG.

One image at a time is in memory. Equal pixels give equal bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from segline.core.errors import DataError, PipelineError
from segline.dataset.raw import Dataset, Pair, name_key
from segline.monitoring import console
from segline.preprocessing.image_files import png
from segline.sources.collecting import copying
from segline.sources.collecting.listing import Entry

Pixels = npt.NDArray[np.unsignedinteger[Any]]


class Drawn(Protocol):
    """What is written for an image, such as a `Canvas`: a mask (H, W), and object numbers of its shape, 0 = no object;
    None if nobody numbered them."""

    @property
    def mask(self) -> Pixels: ...
    @property
    def objects(self) -> Pixels | None: ...


class Reader(Protocol):
    """Reads and checks annotations once, then draws image by image, in any order, while their files are open."""

    def read(self, files: ExitStack, /) -> dict[str, list[Entry]]:
        """The entries of each split, sorted by stem. Raises PipelineError for all problems at once."""

    def draw(self, entry: Entry, /) -> Drawn:
        """What is drawn for an entry."""

    def notes(self) -> list[str]:
        """What was done without an error, a line each, with counts."""


def collected(reader: Reader, dataset: Dataset, source_input: Path, folder: Path) -> Dataset:
    """The data set with its pairs: those of `write`, of all that the reader finds below `source_input`. Says its notes.

    Raises what the reader and `write` do.
    """
    with ExitStack() as files:
        pairs = write(reader.read(files), reader.draw, folder)
    for line in reader.notes():
        console.warn(f"{source_input}: {line}")
    return replace(dataset, splits=pairs)


def alike(listed: Mapping[str, Sequence[Entry]]) -> list[PipelineError]:
    """An error for each image whose stem is that of another of its split, but for case or Unicode form."""
    problems: list[PipelineError] = []
    for entries in listed.values():
        first: dict[str, Entry] = {}
        for entry in entries:
            if (other := first.setdefault(name_key(entry.stem), entry)) is not entry:
                problem = f"has the same stem as {other.image} (ignoring case and Unicode form)"
                problems.append(DataError(entry.image, problem, "Rename one, in the annotations too."))
    return problems


def write(
    listed: Mapping[str, Sequence[Entry]],
    draw: Callable[[Entry], Drawn],
    folder: Path,
    content: Callable[[Entry], bytes | None] | None = None,
) -> dict[str, list[Pair]]:
    """The pairs, their files in `folder/<split>/images`, `masks` and `objects`; a `/` in a stem makes subfolders.

    `draw` returns what is drawn for an entry (its `mask` is the annotation file, which is not read here). The image is
    a copy of the file `image`, or the bytes that `content` returns: then only the suffix of `image` is used. Stems are
    those that `alike` has passed. Raises DataError before the first byte if the disk has no space for the images.
    """
    copying.require_space(folder, [e.image for each in listed.values() for e in each if e.image.is_file()])
    return {
        split: [
            _written(entry, draw(entry), folder / split, content(entry) if content else None)
            for entry in console.progress(entries, len(entries), f"draw {split}")
        ]
        for split, entries in listed.items()
    }


def _written(entry: Entry, drawn: Drawn, folder: Path, content: bytes | None) -> Pair:
    image, mask = f"images/{entry.stem}{entry.image.suffix}", f"masks/{entry.stem}.png"
    objects = None if drawn.objects is None else f"objects/{entry.stem}.png"
    for name in filter(None, (image, mask, objects)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    hashes = (
        copying.copy_file(entry.image, folder / image) if content is None else _stored(folder / image, content),
        _stored(folder / mask, png.encoded(drawn.mask)),
    )
    of_objects = None if drawn.objects is None else _stored(folder / f"{objects}", png.encoded(drawn.objects))
    return Pair(entry.stem, entry.group, image, mask, *hashes, objects, of_objects)


def _stored(path: Path, content: bytes) -> str:
    """SHA-256 of the file written at `path`."""
    with path.open("xb") as writer:
        writer.write(content)
    return hashlib.sha256(content).hexdigest()
