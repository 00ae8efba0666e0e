"""Drawn street scenes in the eleven classes of CamVid: raw data that needs no download.

They exercise the pipeline and rank models; scores on them say nothing about real streets.
"""

import hashlib
import math
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import cycle
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from pydantic import Field

from segline.core import parallel, params
from segline.core.errors import DataError, ParameterError
from segline.dataset.raw import Dataset, Label, Pair, Void
from segline.monitoring import console
from segline.sources.streets import scene
from segline.sources.streets.view import VOID, Kind

SPLITS = ("train", "val", "test")  # a split's position seeds its streets
FRAMES = 4  # consecutive frames of one street share layout and light, so they form a group
COLOURS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
CLASSES = tuple(Label(kind.name.lower(), rgb) for kind, rgb in zip(Kind, COLOURS, strict=True))

Task = tuple[str, int, int]  # split, street, number of frames


class Section(params.Section):
    """Size in pixels, and number of image-mask pairs per split."""

    seed: int = Field(ge=0, lt=2**32)
    height: int = Field(ge=96, le=1080)
    width: int = Field(ge=96, le=1920)
    train: int = Field(ge=1, le=100_000)
    val: int = Field(ge=1, le=100_000)
    test: int = Field(ge=1, le=100_000)


def splits(section: Section) -> list[str]:  # noqa: ARG001 - all sources share this signature
    """The names of the splits that `collect` returns."""
    return list(SPLITS)


def describe(section: Section, source_input: Path) -> Dataset:  # noqa: ARG001 - all sources share this signature
    """The data set without its pairs."""
    return Dataset("synthetic-streets", CLASSES, tuple(range(len(CLASSES))), Void(VOID, (0, 0, 0)), "index", {})


def require_input(section: Section, source_input: Path) -> None:  # noqa: ARG001 - as above
    """Raises ParameterError unless DVC tracks the code that draws: otherwise stale scenes would go unnoticed."""
    code = Path(scene.__file__).parent
    if source_input.resolve() != code.resolve():
        problem = f"expected segline/sources/{code.name}, the code that draws the scenes, got {source_input}"
        raise ParameterError("params.yaml: data.input", problem, f"Write segline/sources/{code.name}.")


def collect(section: Section, source_input: Path, folder: Path) -> Dataset:
    """The data set; its files are `folder/<split>/images/*.png` (RGB) and `masks/*.png` (0..10, void 11).

    Every split shows every class. A scene depends only on the seed, the size, its split and its position in it, so
    adding scenes leaves the others unchanged. `source_input` is for DVC to track. Raises ParameterError if it is not
    the code that draws, DataError if the pictures are too small or too oblong to show every class.
    """
    require_input(section, source_input)
    counts = {"train": section.train, "val": section.val, "test": section.test}
    for split in SPLITS:
        (folder / split / "images").mkdir(parents=True, exist_ok=True)
        (folder / split / "masks").mkdir(parents=True, exist_ok=True)
    tasks = [
        (split, street, min(FRAMES, counts[split] - street * FRAMES))
        for split in SPLITS
        for street in range(math.ceil(counts[split] / FRAMES))
    ]
    listed: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    try:
        for (split, _, _), pairs in zip(tasks, _drawn(section, folder, tasks), strict=True):
            listed[split].extend(pairs)
    except scene.NoLayoutError as error:
        remedy = "Choose a larger or less oblong size, or another seed."
        raise DataError(f"data.synthetic, {section.height} x {section.width} pixels", str(error), remedy) from None
    except BrokenProcessPool:
        problem = "a process that drew them was killed, most likely for lack of memory"
        raise DataError(
            "data.synthetic", problem, "Free some memory or choose a smaller size, then run again."
        ) from None
    return replace(describe(section, source_input), splits=listed)


def _drawn(section: Section, folder: Path, tasks: list[Task]) -> list[list[Pair]]:
    """The pairs of each task, in order. Processes are spawned: a fork of a process with threads may hang.

    Each process has its own pool: a pool of several starts them one by one, and if the first dies meanwhile, it waits
    forever for the second (Python 3.11).
    """
    draw = partial(_draw, section, folder)
    workers = min(
        parallel.count(), math.ceil(len(tasks) / 8)
    )  # a process costs as much to start as eight streets to draw
    if workers == 1:
        return [draw(task) for task in console.progress(tasks, len(tasks), "draw", "street")]
    quiet = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet) for _ in range(workers)]
    with ExitStack() as stack:
        for pool in pools:
            stack.callback(pool.shutdown, cancel_futures=True)
        drawn = [pool.submit(draw, task) for pool, task in zip(cycle(pools), tasks, strict=False)]
        return [pairs.result() for pairs in console.progress(drawn, len(tasks), "draw", "street")]


def _draw(section: Section, folder: Path, task: Task) -> list[Pair]:
    split, street, count = task
    size = (section.height, section.width)
    scenes = scene.frames(section.seed, SPLITS.index(split), street, count, size)
    group = f"{split}-{street:05d}"
    pairs = []
    for number, (image, mask) in enumerate(scenes):
        stem = f"{group}-{number}"
        files = {"images": cv2.cvtColor(image, cv2.COLOR_RGB2BGR), "masks": mask}
        names = {kind: f"{kind}/{stem}.png" for kind in files}
        image_hash, mask_hash = (_write(folder / split / names[kind], pixels) for kind, pixels in files.items())
        pairs.append(Pair(stem, group, names["images"], names["masks"], image_hash, mask_hash))
    return pairs


def _write(path: Path, pixels: Any) -> str:
    """SHA-256 of the PNG written at `path`."""
    _, encoded = cv2.imencode(".png", pixels)
    content = encoded.tobytes()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
