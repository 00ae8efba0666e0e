"""Preprocess compared with decoding alone in the same run, and its peak memory for growing data sets.

    python -m benchmarks.preprocess [ARCHIVE]

ARCHIVE is a CamVid archive in the SegNet layout; without it PNG pairs of 480x360 are generated. They become 128x128.
The goal: preprocess takes at most 1.25 times what reading and `cv2.imdecode` of the same files take on as many threads.
"""

import contextlib
import hashlib
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from segline.core import atomic
from segline.dataset import raw as raw_dataset
from segline.dataset.raw import Dataset, Label, Pair, Void
from segline.monitoring import console
from segline.preprocessing import images
from stages import preprocess

PARAMS = """\
preprocess:
  fit: stretch
  height: 128
  width: 128
  scale: 1.0
  overlap: 0.25
  bands: rgb
  orientation: check
  alpha: refuse
  intensity: {by: full}
  void: ignore
  merge: {}
"""
HEIGHT, WIDTH, NUM_CLASSES = 360, 480, 11
REPEATS = 7
SIZES = (100, 400, 1600)
DISTINCT = 100  # images made; larger data sets link to them again
PEAK = (  # VmHWM, since ru_maxrss starts at what the parent held
    "from pathlib import Path\nfrom stages import preprocess\n"
    "preprocess.main(['--raw', 'raw', '--processed', 'processed'])\n"
    "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
)


def make(folder: Path, count: int) -> None:
    """`count` pairs of smooth images and blocky masks, with about the file sizes of street scenes."""
    random = np.random.default_rng(1)
    for number in range(count):
        coarse = random.integers(0, 256, (24, 32, 3), np.uint8)
        grain = random.integers(0, 8, (HEIGHT, WIDTH, 3), np.uint8)
        image = images.resize_image(coarse, HEIGHT, WIDTH) // 2 + grain
        mask = images.resize_mask(random.integers(0, NUM_CLASSES + 1, (9, 12), np.uint8), HEIGHT, WIDTH)
        images.write_png(folder / "images" / f"{number:05}.png", image)
        images.write_png(folder / "masks" / f"{number:05}.png", mask)


def extract(archive: Path, folder: Path) -> None:
    """The train and val pairs of a CamVid archive in the SegNet layout, as one split."""
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = Path(member.name).parts
            kinds = {"train": "images", "val": "images", "trainannot": "masks", "valannot": "masks"}
            if member.isfile() and len(parts) > 1 and parts[-2] in kinds and (content := tar.extractfile(member)):
                target = folder / kinds[parts[-2]] / parts[-1]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def describe(raw: Path) -> None:
    """Writes dataset.json for the one split `train` in `raw`."""
    classes = tuple(Label(f"class_{number}", (number, number, number)) for number in range(NUM_CLASSES))
    pairs = [
        Pair(path.stem, None, f"images/{path.name}", f"masks/{path.name}", _sha256(path), _sha256(_mask(path)))
        for path in sorted((raw / "train" / "images").iterdir())
    ]
    void = Void(NUM_CLASSES, (0, 0, 0))
    raw_dataset.write(raw, Dataset("benchmark", classes, tuple(range(NUM_CLASSES)), void, "index", {"train": pairs}))


def _mask(image: Path) -> Path:
    return image.parent.parent / "masks" / image.name


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def decode_alone(paths: Sequence[Path]) -> None:
    """Reads and decodes every image and mask on all cores, and drops the results."""

    def decode(path: Path) -> None:
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
        cv2.imdecode(np.frombuffer(_mask(path).read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, paths):
            pass


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Times one call: wall clock, and CPU time of all threads, which other programs disturb less."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def speed(raw: Path) -> None:
    """Prints the times of both, taken in turn so that a busy machine slows both."""
    paths = sorted((raw / "train" / "images").iterdir())
    images.single_threaded()
    processed = raw.parent / "processed"
    alone, whole = [], []
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(REPEATS):
            atomic.remove(processed)  # as DVC does before a stage
            alone.append(seconds(lambda: decode_alone(paths)))
            whole.append(seconds(lambda: preprocess.main(["--raw", str(raw), "--processed", str(processed)])))
    console.say(f"{len(paths)} pairs, {os.cpu_count()} threads, median of {REPEATS} rounds")
    console.say("| clock | decode alone | preprocess | ratio |\n|---|---|---|---|")
    for clock, name in enumerate(("wall", "CPU")):
        decode, stage = (statistics.median(times[clock] for times in series) for series in (alone, whole))
        console.say(f"| {name} | {decode:.2f} s | {stage:.2f} s | {decode / stage:.0%} |")


def memory(folder: Path) -> None:
    """Prints the peak resident memory of the stage, in a process of its own, for each size."""
    made = folder / "made"
    make(made, DISTINCT)
    console.say("| images | peak memory |\n|---|---|")
    for size in SIZES:
        work = folder / str(size)
        for number in range(size):
            for kind in ("images", "masks"):
                target = work / "raw" / "train" / kind / f"{number:05}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(made / kind / f"{number % DISTINCT:05}.png")
        describe(work / "raw")
        (work / "params.yaml").write_text(PARAMS, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        command = [sys.executable, "-c", PEAK]
        shown = subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout
        console.say(f"| {size} | {int(shown.split()[-1]) / 1024:.0f} MiB |")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    parser = console.parser(__doc__)
    parser.add_argument("archive", type=Path, nargs="?", help="a CamVid archive; without it pairs are generated")
    archive: Path | None = parser.parse_args(argv).archive
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "raw"
        if archive is None:
            make(raw / "train", 4 * DISTINCT)
        else:
            extract(archive, raw / "train")
        describe(raw)
        (raw.parent / "params.yaml").write_text(PARAMS, encoding="utf-8")
        with contextlib.chdir(raw.parent):
            speed(raw)
        memory(Path(temporary))


if __name__ == "__main__":
    console.run(main)
