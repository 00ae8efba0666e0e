"""Preprocess compared with decoding alone in the same run, and its peak memory for growing data sets and images.

    python -m benchmarks.preprocess [ARCHIVE]

ARCHIVE is a CamVid archive in the SegNet layout; without it PNG pairs of 480x360 are generated. They become 128x128.
Scenes are PNG or tiled TIFF files that become tiles of 512x512 with an overlap of a quarter: 2.7 times as many bytes.
The goal: preprocess takes at most 1.25 times what reading and decoding of the same files take on as many threads, by
`cv2.imdecode` or by rasterio. Also shown: decoding, then writing as many bytes as preprocess does, and hashing all.
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
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from segline.core import atomic
from segline.dataset import raw as raw_dataset
from segline.dataset.raw import Dataset, Label, Pair, Void
from segline.monitoring import console
from segline.preprocessing import images
from segline.preprocessing.image_files import png
from stages import preprocess

PARAMS = """\
preprocess:
  fit: {fit}
  height: {side}
  width: {side}
  scale: 1.0
  overlap: 0.25
  bands: rgb
  orientation: check
  alpha: refuse
  intensity: {{by: full}}
  void: ignore
  merge: {{}}
"""
STRETCH, TILE = PARAMS.format(fit="stretch", side=128), PARAMS.format(fit="tile", side=512)
HEIGHT, WIDTH, NUM_CLASSES = 360, 480, 11
REPEATS = 7
SIZES = (100, 400, 1600)
SCENES, SIDES = 8, (2_500, 5_000, 10_000)  # how many are timed; sides of those whose memory is measured
BLOCK = 256  # of a scene's file
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
        png.write_png(folder / "images" / f"{number:05}.png", image)
        png.write_png(folder / "masks" / f"{number:05}.png", mask)


def make_scenes(folder: Path, count: int, side: int, compress: str = "deflate") -> None:
    """`count` pairs of square TIFF files, made line of blocks by line: smooth images with grain, and blocky masks.

    If `compress` is "PNG", they become PNG files.
    """
    form = {"driver": "GTiff", "height": side, "width": side, "dtype": "uint8", "tiled": True, "BIGTIFF": "IF_SAFER"}
    form |= {"blockxsize": BLOCK, "blockysize": BLOCK}
    random = np.random.default_rng(1)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(count):
        image, mask = (folder / kind / f"{number:05}.tif" for kind in ("images", "masks"))
        colours = {"photometric": "YCBCR"} if compress == "JPEG" else {}
        with (
            rasterio.open(image, "w", count=3, compress=compress.replace("PNG", "none"), **colours, **form) as images_,
            rasterio.open(mask, "w", count=1, compress="deflate", **form) as masks,
        ):
            for top in range(0, side, BLOCK):
                height = min(BLOCK, side - top)
                coarse = random.integers(0, 256, (16, side // 16, 3), np.uint8)
                grain = random.integers(0, 8, (height, side, 3), np.uint8)
                pixels = images.resize_image(coarse, height, side) // 2 + grain
                labels = images.resize_mask(random.integers(0, NUM_CLASSES, (4, side // 64), np.uint8), height, side)
                window = Window(0, top, side, height)
                images_.write(np.moveaxis(pixels, 2, 0), window=window)
                masks.write(labels[None], window=window)
        if compress == "PNG":
            for path in (image, mask):
                with rasterio.open(path) as file:
                    png.write_png(path.with_suffix(".png"), np.ascontiguousarray(np.moveaxis(file.read(), 0, 2)))
                path.unlink()


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


def _decode(path: Path, mode: int) -> None:
    if path.suffix != ".tif":
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), mode)
        return
    with rasterio.open(path) as file:
        for top in range(0, file.height, BLOCK):
            file.read(window=Window(0, top, file.width, min(BLOCK, file.height - top)))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def decode_alone(paths: Sequence[Path]) -> None:
    """Reads and decodes every image and mask on all cores, and drops the results."""

    def decode(path: Path) -> None:
        _decode(path, cv2.IMREAD_COLOR_RGB)
        _decode(_mask(path), cv2.IMREAD_GRAYSCALE)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, paths):
            pass


def write_alone(raw: Path, processed: Path, target: Path) -> None:
    """Writes the arrays in `processed` again, row by row on all cores, and hashes them and all raw files."""

    def copy(path: Path) -> None:
        array = np.load(path, mmap_mode="r")
        with (target / path.name).open("wb", buffering=0) as stream:
            for row in array:
                stream.write(row.data)

    target.mkdir(exist_ok=True)
    arrays = [*processed.rglob("*.npy")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for function, paths in ((copy, arrays), (_sha256, [*raw.rglob("*.*g"), *raw.rglob("*.tif"), *arrays])):
            for _ in pool.map(function, paths):
                pass


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Times one call: wall clock, and CPU time of all threads, which other programs disturb less."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def speed(raw: Path, kind: str) -> None:
    """Prints the times of both, taken in turn so that a busy machine slows both."""
    paths = sorted((raw / "train" / "images").iterdir())
    images.single_threaded()
    processed = raw.parent / "processed"
    alone, written, whole = [], [], []
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(REPEATS):
            atomic.remove(processed)  # as DVC does before a stage
            alone.append(seconds(lambda: decode_alone(paths)))
            whole.append(seconds(lambda: preprocess.main(["--raw", str(raw), "--processed", str(processed)])))
            written.append(seconds(lambda: write_alone(raw, processed, raw.parent / "written")))
    for clock, name in enumerate(("wall", "CPU")):
        decode, write, stage = (
            statistics.median(times[clock] for times in series) for series in (alone, written, whole)
        )
        ratios = f"{decode / stage:.0%} | {(decode + write) / stage:.0%}"
        console.say(f"| {len(paths)} {kind} | {name} | {decode:.2f} s | {write:.2f} s | {stage:.2f} s | {ratios} |")


def peak(work: Path, parameters: str) -> float:
    """Peak resident memory of the stage in MiB, in a process of its own, for the data in `work/raw`."""
    describe(work / "raw")
    (work / "params.yaml").write_text(parameters, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", PEAK]
    shown = subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True, text=True).stdout
    return int(shown.split()[-1]) / 1024


def memory(folder: Path) -> None:
    """Prints the peak memory for each number of images, and for each size of a scene."""
    made = folder / "made"
    make(made, DISTINCT)
    console.say("\n| images | peak memory |\n|---|---|")
    for size in SIZES:
        work = folder / str(size)
        for number in range(size):
            for kind in ("images", "masks"):
                target = work / "raw" / "train" / kind / f"{number:05}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(made / kind / f"{number % DISTINCT:05}.png")
        console.say(f"| {size} | {peak(work, STRETCH):.0f} MiB |")
    console.say("\n| scene | decoded | peak memory |\n|---|---|---|")
    for side in SIDES:
        work = folder / f"scene_{side}"
        make_scenes(work / "raw" / "train", 1, side)
        console.say(f"| {side}x{side} | {4 * side * side >> 20} MiB | {peak(work, TILE):.0f} MiB |")
        atomic.remove(work)


def timed(raw: Path, parameters: str, kind: str) -> None:
    """Prints two rows for the data in `raw`."""
    describe(raw)
    (raw.parent / "params.yaml").write_text(parameters, encoding="utf-8")
    with contextlib.chdir(raw.parent):
        speed(raw, kind)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints all tables."""
    parser = console.parser(__doc__)
    parser.add_argument("archive", type=Path, nargs="?", help="a CamVid archive; without it pairs are generated")
    archive: Path | None = parser.parse_args(argv).archive
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    with tempfile.TemporaryDirectory() as temporary:
        raw = Path(temporary) / "pairs" / "raw"
        if archive is None:
            make(raw / "train", 4 * DISTINCT)
        else:
            extract(archive, raw / "train")
        console.say(f"{os.cpu_count()} threads, median of {REPEATS} rounds\n")
        console.say(
            "| files | clock | decode | write and hash | preprocess | decode / preprocess | both / preprocess |"
        )
        console.say("|---|---|---|---|---|---|---|")
        timed(raw, STRETCH, "pairs, stretched")
        for compress in ("PNG", "JPEG", "deflate"):
            raw = Path(temporary) / compress / "raw"
            make_scenes(raw / "train", SCENES, SIDES[0], compress)
            timed(raw, TILE, f"scenes, {compress}")
        memory(Path(temporary))


if __name__ == "__main__":
    console.run(main)
