"""`segline predict`, from files to files, compared with its network alone in the same run; and its peak memory.

    python -m benchmarks.predict

A U-Net of width 32 and depth 4 on generated 480x360 images, at three working sizes, and in a sliding window: tiles of
512x512 with an overlap of a quarter, from one TIFF. The goal is 90 % of the network's own speed. Decoding, resizing and
encoding cost about 20 ms of CPU time an image of that size: where the network itself uses all cores, no overlap can
hide them, and the ratio grows with the working size.

Memory is that of the whole process, for one square TIFF of 3 bands, 8 classes and a tiny network. The goal is less than
2 GiB at 20,000 x 20,000 pixels. It grows with the width of an image, by a line of tiles, and not with its height.
"""

import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from benchmarks.preprocess import make, seconds
from segline.dataset import raw, tiling
from segline.dataset.preparation import FULL, Preparation
from segline.inference import input_files, output_folder
from segline.inference.predict_all import predict_all
from segline.inference.sliding_window import Predictor
from segline.model import batches, checkpoint, device, forward, randomness, receptive_field
from segline.monitoring import console

NETWORK = {"width": 32, "depth": 4, "norm": "batch", "dropout": 0.0}
SIZES = ((128, 128), (180, 240), (360, 480))
BATCH, NUM_IMAGES, NUM_CLASSES = 8, 16, 12
ROUNDS = 3
TILE, OVERLAP, SIDE = 512, 0.25, 2048  # SIDE is that of the image in the sliding window
LARGE = ((5_000, "tiled"), (10_000, "tiled"), (20_000, "tiled"), (20_000, "stripped"))
TINY, TINY_CLASSES = {"width": 4}, 8  # of small_unet
PEAK = (  # VmHWM, since ru_maxrss starts at what the parent held
    "import sys, time\nfrom pathlib import Path\nfrom segline.__main__ import main\n"
    "start = time.monotonic()\nmain(['predict', *sys.argv[1:]])\n"
    "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0], time.monotonic() - start)\n"
)


def description(
    preparation: Preparation, network: str, parameters: dict[str, Any], num_classes: int
) -> checkpoint.Description:
    """A model whose images are prepared so."""
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (num_classes, 3)).tolist()
    classes = tuple(raw.Label(f"class {k}", (r, g, b)) for k, (r, g, b) in enumerate(colours))
    scaling = batches.MEAN, batches.STD
    return checkpoint.Description(network, parameters, "softmax", preparation, *scaling, classes, ())


def predictor_of(preparation: Preparation) -> Predictor:
    """A U-Net for such images."""
    model = description(preparation, "unet", NETWORK, NUM_CLASSES)
    network = checkpoint.network(model)
    size = preparation.height, preparation.width
    margin = receptive_field.of_tiles(network, preparation)
    return Predictor(network.to(device.pick()), model, [size], BATCH, flip=False, margin=margin)


def make_tiff(path: Path, side: int, layout: str) -> None:
    """A square TIFF of coloured patches with a little grain, written line of blocks by line."""
    random = np.random.default_rng(side)
    form: dict[str, Any] = {"compress": "deflate", "zlevel": 1, "interleave": "pixel", "photometric": "rgb"}
    form |= {"tiled": True, "blockxsize": 512, "blockysize": 512} if layout == "tiled" else {"blockysize": 64}
    grain = random.integers(0, 8, (512, 512, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", "GTiff", side, side, 3, dtype="uint8", **form) as file:
            for top in range(0, side, 512):
                height = min(512, side - top)
                patches = (
                    random.integers(0, 248, (8, -(-side // 64), 3), np.uint8).repeat(64, axis=0).repeat(64, axis=1)
                )
                pixels = patches[:height, :side] + np.tile(grain, (1, -(-side // 512), 1))[:height, :side]
                file.write(np.moveaxis(pixels, 2, 0), window=Window(0, top, side, height))


def network_alone(predictor: Predictor, rows: int) -> None:
    """The network alone on as many prepared rows."""
    target = next(predictor.network.parameters()).device
    height, width = predictor.sizes[0]
    for first in range(0, rows, BATCH):
        images = torch.zeros((min(BATCH, rows - first), height, width, 3), dtype=torch.uint8, device=target)
        forward.logits(predictor.network, batches.inputs(images, batches.MEAN, batches.STD))
    if target.type == "cuda":
        torch.cuda.synchronize()


def files_to_files(predictor: Predictor, inputs: Sequence[input_files.InputImage], out: Path) -> None:
    """The command, after the model is loaded."""
    names = [image.name for image in inputs]
    with output_folder.opened(out, predictor.model.classes, output_folder.Contents(), names) as results:
        predict_all(predictor, inputs, results)


def compare(name: str, predictor: Predictor, rows: int, inputs: Sequence[input_files.InputImage], out: Path) -> None:
    """Prints two lines of the table. The two take turns, so that a busy machine slows both."""
    alone, whole = [], []
    for _ in range(ROUNDS + 1):
        alone.append(seconds(partial(network_alone, predictor, rows)))
        whole.append(seconds(partial(files_to_files, predictor, inputs, out)))
    for clock, kind in enumerate(("wall", "CPU")):
        # The first round warms up.
        a, b = (rows / statistics.median(times[clock] for times in series[1:]) for series in (alone, whole))
        console.say(f"| {name} | {kind} | {a:.2f} rows/s | {b:.2f} rows/s | {b / a:.0%} |")


def speed(folder: Path) -> None:
    """Files to files against the network alone."""
    console.say("| rows | clock | network alone | predict | ratio |\n|---|---|---|---|---|")
    made, out = folder / "made", folder / "out"
    make(made, NUM_IMAGES)
    inputs = input_files.find([made / "images"], out, [], [])
    for height, width in SIZES:
        form = Preparation("stretch", height, width, 1.0, 0.0, "rgb", "check", "refuse", FULL)
        compare(f"{width}x{height}", predictor_of(form), NUM_IMAGES, inputs, out)
    tiles = Preparation("tile", TILE, TILE, 1.0, OVERLAP, "rgb", "check", "refuse", FULL)
    make_tiff(folder / "scene.tif", SIDE, "tiled")
    inputs = input_files.find([folder / "scene.tif"], out, [], [])
    windows = tiling.grid(tiles, SIDE, SIDE).count
    compare(f"sliding window, {TILE}x{TILE}", predictor_of(tiles), windows, inputs, out)


def memory(folder: Path) -> None:
    """Peak memory of the command by the size of the image."""
    tiles = Preparation("tile", TILE, TILE, 1.0, OVERLAP, "rgb", "check", "refuse", FULL)
    model = description(tiles, "small_unet", TINY, TINY_CLASSES)
    checkpoint.write(folder / "tiny.safetensors", checkpoint.network(model).state_dict(), model)
    console.say("\n| TIFF | peak memory | MPixel/s |\n|---|---|---|")
    for side, layout in LARGE:
        path = folder / "large.tif"
        make_tiff(path, side, layout)
        arguments = [str(path), "--model", str(folder / "tiny.safetensors"), "--out", str(folder / "large")]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *arguments], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        peak, taken = done.stdout.split()[-2:]
        rate = side * side / 1e6 / float(taken)
        console.say(f"| {side} x {side}, {layout} | {int(peak) / 2**20:.2f} GiB | {rate:.2f} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Prints both tables."""
    console.parser(__doc__).parse_args(argv)
    randomness.deterministic(1)
    with tempfile.TemporaryDirectory() as temporary:
        speed(Path(temporary))
        memory(Path(temporary))


if __name__ == "__main__":
    console.run(main)
