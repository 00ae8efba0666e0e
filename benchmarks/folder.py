"""A user's folder in download and preprocess: speed and peak memory for a quarter, a half and all of it.

    python -m benchmarks.folder [PAIRS]

2,000 pairs by default; 20,000 take 3 GB of disk and some minutes. JPEG images and PNG masks of 500x375 and 21 classes,
as in PASCAL VOC, become 128x128. 100 are generated, the others are links to these. DVC's own time is not measured.
The goal: memory grows only with the rows of the indices, by at most 4 KiB for each pair.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from segline.core import atomic
from segline.monitoring import console
from segline.preprocessing import images
from segline.preprocessing.image_files import png
from segline.sources import voc
from segline.sources.collecting import labels

HEIGHT, WIDTH, DISTINCT, VAL = 375, 500, 100, 4
ROOT = Path(__file__).parents[1]
STAGES = {"download": ["--input", "mine", "--raw", "raw"], "preprocess": ["--raw", "raw", "--processed", "processed"]}
PARAMETERS = {
    "data": {
        "source": "folder",
        "folder": {
            "images": "images/{split}/*.jpg",
            "masks": "masks/{split}/*.png",
            "split": {"by": "folder", "names": ["train", "val"]},
            "group": "",
            "encoding": "index",
            "threshold": None,
            "classes": [
                {"name": name, "value": value, "rgb": list(labels.colour(value))}
                for value, name in enumerate(voc.NAMES)
            ],
            "void": {"value": 255, "rgb": [224, 224, 192]},
        },
    },
    "preprocess": {
        "fit": "stretch",
        "height": 128,
        "width": 128,
        "scale": 1.0,
        "overlap": 0.25,
        "bands": "rgb",
        "orientation": "check",
        "alpha": "refuse",
        "intensity": {"by": "full"},
        "void": "ignore",
        "merge": {},
    },
}
MEASURED = (  # VmHWM, since ru_maxrss starts at what the parent held
    "import sys, time\nfrom pathlib import Path\nfrom stages import {stage}\n"
    "wall, cpu = time.perf_counter(), time.process_time()\n{stage}.main(sys.argv[1:])\n"
    "print(time.perf_counter() - wall, time.process_time() - cpu)\n"
    "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
)


def make(folder: Path) -> None:
    """DISTINCT pairs for train and VAL others for val: smooth images with some grain, blocky masks."""
    random = np.random.default_rng(1)
    for number in range(DISTINCT + VAL):
        split = "train" if number < DISTINCT else "val"
        coarse = random.integers(0, 256, (24, 32, 3), np.uint8)
        grain = random.integers(0, 8, (HEIGHT, WIDTH, 3), np.uint8)
        image = folder / f"images/{split}/{number:05}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), images.resize_image(coarse, HEIGHT, WIDTH) // 2 + grain)
        blocks = random.integers(0, len(voc.NAMES), (9, 12), np.uint8)
        png.write_png(folder / f"masks/{split}/{number:05}.png", images.resize_mask(blocks, HEIGHT, WIDTH))


def link(made: Path, mine: Path, count: int) -> None:
    """`count` pairs in `mine`, the last VAL of them for val."""
    for number in range(count):
        is_val = number >= count - VAL
        split, source = ("val", DISTINCT + count - 1 - number) if is_val else ("train", number % DISTINCT)
        for kind, extension in (("images", "jpg"), ("masks", "png")):
            target = mine / kind / split / f"{number:06}.{extension}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(made / kind / split / f"{source:05}.{extension}")


def measure(stage: str, work: Path) -> tuple[float, float, float]:
    """A stage in its own process, after the imports: seconds, CPU seconds of all threads, peak memory in MiB."""
    command = [sys.executable, "-c", MEASURED.format(stage=stage), *STAGES[stage]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=work, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    seconds, cpu, kibibytes = done.stdout.split()[-3:]
    return float(seconds), float(cpu), int(kibibytes) / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = console.parser(__doc__)
    parser.add_argument("pairs", type=int, nargs="?", default=2000, help="of the largest folder (%(default)s)")
    largest: int = parser.parse_args(argv).pairs
    console.say("| pairs | stage | wall | CPU | pairs/s | peak memory |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        made, work = Path(temporary) / "made", Path(temporary) / "work"
        make(made)
        peaks: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for count in (largest // 4, largest // 2, largest):
            link(made, work / "mine", count)
            (work / "params.yaml").write_text(yaml.safe_dump(PARAMETERS), encoding="utf-8")
            for stage in STAGES:
                wall, cpu, peak = measure(stage, work)
                peaks[stage].append(peak)
                times = f"{wall:.1f} s | {cpu:.1f} s | {count / wall:.0f}"
                console.say(f"| {count} | {stage} | {times} | {peak:.0f} MiB |")
            atomic.remove(work)
    for stage, (least, *_, most) in peaks.items():
        console.say(f"{stage}: {1024 * (most - least) / (largest - largest // 4):.1f} KiB for each additional pair")


if __name__ == "__main__":
    console.run(main)
