"""How a data set grows: seconds and own memory of each stage for more and more tiles.

    python -m benchmarks.growth [TILES ...] [--side 1024]

1,000 and 10,000 tiles of 64x64 by default, an image and a mask of three classes each, a PNG file each: train, and a
tenth of that in val and in test. With a larger side, files of that size are cut into as many tiles. Each stage is a
process, as DVC runs it; one epoch of a small U-Net. Seconds are those of the processor, which other programs disturb
less. At the end DVC runs download and preprocess of the largest, and once more with nothing to do.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

from segline.core import params
from segline.monitoring import console
from segline.preprocessing.image_files import png

ROOT = Path(__file__).parents[1]
TILE = 64  # side
DISTINCT = 100  # files of a split, the others are links to these
POLLED = 0.02  # seconds between two looks at the memory
STAGES = ("download", "preprocess", "train", "evaluate")
CLASSES = [{"name": name, "value": value, "rgb": [100 * value] * 3} for value, name in enumerate(("a", "b", "c"))]


def source(folder: Path, count: int, side: int) -> None:
    """Images of three bands of gray, and their masks, for `count` tiles in train."""
    random = np.random.default_rng(1)
    of_one = (side // TILE) ** 2
    for split, tiles in {"train": count, "val": count // 10, "test": count // 10}.items():
        made: list[tuple[Path, Path]] = []
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for n in range(max(1, round(tiles / of_one))):
            image, mask = (folder / kind / split / f"{n:07}.png" for kind in ("images", "masks"))
            if n < DISTINCT:
                edges = np.sort(random.integers(0, side, 2))
                classes = np.searchsorted(edges, np.arange(side))[:, None].repeat(side, axis=1).astype(np.uint8)
                noise = random.integers(0, 56, (side, side, 3))
                png.write_png(image, (100 * classes[..., None] + noise).astype(np.uint8))
                png.write_png(mask, classes)
                made.append((image, mask))
            else:
                for path, first in zip((image, mask), made[n % DISTINCT], strict=True):
                    path.hardlink_to(first)


def parameters() -> params.Document:
    """Those of presets/folder.yaml, for one epoch on rows of 64x64."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "presets/folder.yaml").read_text(encoding="utf-8"))
    document["data"]["folder"] |= {"classes": CLASSES, "void": None}
    document["preprocess"] |= {"height": TILE, "width": TILE, "fit": "tile", "overlap": 0.0}
    document["model"]["unet"] |= {"width": 4, "depth": 2}
    document["train"] |= {"epochs": 1, "batch_size": 32}
    return document


def project(folder: Path, count: int, side: int = TILE) -> Path:
    """A clone of this repository's HEAD with the parameters and the source."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    document = parameters()
    source(folder / document["data"]["input"], count, side)
    (folder / params.FILE).write_text(yaml.safe_dump(dict(document), sort_keys=False), encoding="utf-8")
    return folder


def command(folder: Path, stage: str) -> list[str]:
    """What DVC would run."""
    text = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"][stage]["cmd"]
    document = params.load(folder / params.FILE)
    for key in ("data.input", "evaluate.split"):
        text = text.replace(f"${{{key}}}", str(params.find(document, key)))
    return [sys.executable, *shlex.split(text)[1:]]


def measured(folder: Path, arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds of the processor, and the highest MiB that belong to the process alone. Raises CalledProcessError.

    Not counted are the pages of files that it maps: the system takes them back when it needs them.
    """
    environment = {**os.environ, "SEGLINE_TRACKING": "off", "SEGLINE_DEVICE": "cpu"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = psutil.Popen(arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    ended, status, memory = 0, 0, 0
    while not ended:
        with suppress(psutil.Error):
            seen = process.memory_info()
            memory = max(memory, seen.rss - seen.shared)
        time.sleep(POLLED)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    if code := os.waitstatus_to_exitcode(status):
        raise subprocess.CalledProcessError(code, arguments)
    return usage.ru_utime + usage.ru_stime, memory / 2**20


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = console.parser(__doc__)
    parser.add_argument("tiles", nargs="*", type=int, default=[1000, 10000], help="tiles in train, in rising order")
    parser.add_argument("--side", type=int, default=TILE, help="of a file, in pixels")
    arguments = parser.parse_args(argv)
    console.say(f"| tiles | {' | '.join(f'{stage}: s | MiB' for stage in STAGES)} |\n|{'---|' * (2 * len(STAGES) + 1)}")
    with tempfile.TemporaryDirectory() as temporary:
        for count in arguments.tiles:
            folder = project(Path(temporary) / str(count), count, arguments.side)
            cells = [measured(folder, command(folder, stage)) for stage in STAGES]
            console.say(f"| {count:,} | {' | '.join(f'{used:.1f} | {memory:.0f}' for used, memory in cells)} |")
        repro = [sys.executable, "-m", "dvc", "repro", "--quiet", "preprocess"]
        first, again = (measured(folder, repro)[0] for _ in range(2))
        files = sum(len(names) for _, _, names in os.walk(folder / "data/source"))
        console.say(f"{files:,} files through dvc repro: {first:.1f} s, then {again:.1f} s")


if __name__ == "__main__":
    console.run(main)
