"""Images/s of `segline predict`, from files to files, compared with its network alone in the same run.

    python -m benchmarks.predict

A U-Net of width 32 and depth 4 on generated 480x360 images, at three working sizes. The goal is 90 % of
the network's own speed. Decoding, resizing and encoding cost about 20 ms of CPU time an image: where the network
itself uses all cores, no overlap can hide them, and the ratio grows with the working size.
"""

import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.preprocess import make, seconds
from segline.dataset import raw
from segline.dataset.preparation import FULL, Preparation
from segline.inference import input_files, output_folder
from segline.inference.predict import Predictor, predict_all
from segline.model import batches, checkpoint, device, forward, randomness
from segline.monitoring import console

NETWORK = {"width": 32, "depth": 4, "norm": "batch", "dropout": 0.0}
SIZES = ((128, 128), (180, 240), (360, 480))
BATCH, NUM_IMAGES, NUM_CLASSES = 8, 16, 12
ROUNDS = 3


def description(height: int, width: int) -> checkpoint.Description:
    """A model with that input size."""
    random = np.random.default_rng(1)
    colours = random.integers(0, 256, (NUM_CLASSES, 3)).tolist()
    classes = tuple(raw.Label(f"class {k}", (r, g, b)) for k, (r, g, b) in enumerate(colours))
    return checkpoint.Description(
        network="unet",
        parameters=NETWORK,
        head="softmax",
        preparation=Preparation("stretch", height, width, 1.0, 0.0, "rgb", "check", "refuse", FULL),
        mean=batches.MEAN,
        std=batches.STD,
        classes=classes,
        class_weights=(),
    )


def network_alone(predictor: Predictor) -> None:
    """The network alone on as many prepared batches."""
    target = next(predictor.network.parameters()).device
    height, width = predictor.sizes[0]
    images = torch.zeros((BATCH, height, width, 3), dtype=torch.uint8, device=target)
    inputs = batches.inputs(images, batches.MEAN, batches.STD)
    for _ in range(NUM_IMAGES // BATCH):
        forward.logits(predictor.network, inputs)
    if target.type == "cuda":
        torch.cuda.synchronize()


def files_to_files(predictor: Predictor, inputs: Sequence[input_files.InputImage], out: Path) -> None:
    """The command, after the model is loaded."""
    with output_folder.opened(out, predictor.model.classes, (), [image.name for image in inputs]) as results:
        predict_all(predictor, inputs, results)


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table. The two take turns, so that a busy machine slows both."""
    console.parser(__doc__).parse_args(argv)
    randomness.deterministic(1)
    console.say("| working size | clock | network alone | predict | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        made, out = Path(temporary) / "made", Path(temporary) / "out"
        make(made, NUM_IMAGES)
        inputs = input_files.find([made / "images"], out, problems=[])
        for height, width in SIZES:
            model = description(height, width)
            network = checkpoint.network(model).to(device.pick())
            predictor = Predictor(network, model, [(height, width)], BATCH, flip=False)
            alone, whole = [], []
            for _ in range(ROUNDS + 1):
                alone.append(seconds(partial(network_alone, predictor)))
                whole.append(seconds(partial(files_to_files, predictor, inputs, out)))
            for clock, name in enumerate(("wall", "CPU")):
                # The first round warms up.
                a, b = (
                    NUM_IMAGES / statistics.median(times[clock] for times in series[1:]) for series in (alone, whole)
                )
                console.say(f"| {width}x{height} | {name} | {a:.1f} images/s | {b:.1f} images/s | {b / a:.0%} |")


if __name__ == "__main__":
    console.run(main)
