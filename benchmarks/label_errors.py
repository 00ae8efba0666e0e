"""Wrong labels planted in drawn street scenes: the share that `segline labels` ranks in its first 5 %.

    python -m benchmarks.label_errors FOLDER

FOLDER becomes a clone of the committed project with more and smaller images, and fewer epochs. 2 % of its images get
one error: an object with another class, an object missing, or a whole mask shifted by 8 pixels, in turn. Then
`segline crossvalidate` trains a model for each fold, on labels with errors, as a user's are. What FOLDER has already is
not made again.
"""

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from segline.core import records
from segline.dataset import raw
from segline.monitoring import console
from segline.preprocessing.image_files import png
from segline.sources.streets.view import VOID

ROOT = Path(__file__).parents[1]
KINDS = ("swapped", "missing", "shifted")
SHARE, FIRST, SHIFT = 0.02, 0.05, 8
PIXELS = 100, 4000  # of an object that gets an error; an image has 43,200
CHANGES: dict[str, dict[str, Any]] = {
    "data.synthetic": {"train": 400, "val": 100, "test": 100},
    "preprocess": {"height": 64, "width": 80},
    "train": {"epochs": 5},
    "evaluate": {"resamples": 200},
}
FOLDS = 3
TABLES = ("images", "objects")
TRAINED = ("train", "evaluate", "plot")

Uint8 = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True)
class Planted:
    """An error: its kind, its image, and the box of the pixels that were given another class."""

    kind: str
    image: str
    box: Box


def main(argv: Sequence[str] | None = None) -> None:
    """Prints what was found."""
    parser = console.parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the project is made")
    folder: Path = parser.parse_args(argv).folder
    if not (folder / "planted.json").exists():
        _prepare(folder)
    if not (folder / "metrics/crossvalidation.json").exists():
        _run(folder, "segline", "crossvalidate", "--folds", str(FOLDS), "--seeds", "1")
    _run(folder, "segline", "labels")
    planted = [Planted(**{**each, "box": tuple(each["box"])}) for each in records.read_json(folder / "planted.json")]
    for line in report(planted, *(records.read_csv(folder / f"predictions/labels/{name}.csv") for name in TABLES)):
        console.say(line)


def report(
    planted: Sequence[Planted], images: Sequence[Mapping[str, str]], objects: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    """A line for each kind: how many are in the first 5 % of each table."""
    first_images = {row["image"] for row in images[: math.ceil(FIRST * len(images))]}
    first_objects = objects[: math.ceil(FIRST * len(objects))]
    yield f"{len(images)} images, {len(objects)} disputed objects; {len(planted)} planted errors"
    for kind in (*KINDS, "all"):
        own = [each for each in planted if kind in (each.kind, "all")]
        by_image = sum(each.image in first_images for each in own)
        single = [each for each in own if each.kind != "shifted"]  # of one object
        by_object = sum(any(_is_at(row, each) for row in first_objects) for each in single)
        yield f"{kind}: {by_image} of {len(own)} by image, {by_object} of {len(single)} by object"


def _is_at(row: Mapping[str, str], planted: Planted) -> bool:
    """Whether a disputed object is what was planted: half of its box, at least, is within that of the error."""
    if row["image"] != planted.image:
        return False
    left, top, width, height = (int(row[name]) for name in ("left", "top", "width", "height"))
    x, y, w, h = planted.box
    across, down = min(left + width, x + w) - max(left, x), min(top + height, y + h) - max(top, y)
    return min(across, down) > 0 and across * down >= width * height / 2


def _prepare(folder: Path) -> None:
    """A clone with the parameters, the raw data drawn, and the errors in it, which DVC takes for what was drawn."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    document = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    for key, values in CHANGES.items():
        section = document
        for name in key.split("."):
            section = section[name]
        section.update(values)
    (folder / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    _run(folder, "dvc", "repro", "download")
    planted = plant(folder / "data/raw", np.random.default_rng(1))
    _run(folder, "dvc", "commit", "--force", "download")
    _run(folder, "dvc", "repro", "preprocess")
    _stand_in(folder)
    records.write_json(folder / "planted.json", [asdict(each) for each in planted])


def _stand_in(folder: Path) -> None:
    """Has the project's own training, scores and report taken for done: the cross-validation does not read them."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for entry in (
        each for name in TRAINED for kind in ("outs", "metrics", "plots") for each in stages[name].get(kind, [])
    ):
        path = folder / (entry if isinstance(entry, str) else next(iter(entry)))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("stands in\n", encoding="utf-8")
    _run(folder, "dvc", "commit", "--force", *TRAINED)


def plant(folder: Path, random: np.random.Generator) -> list[Planted]:
    """Gives images of the raw data set in `folder` an error each."""
    dataset = raw.read(folder)
    every = [(split, number) for split, pairs in dataset.splits.items() for number in range(len(pairs))]
    chosen = random.permutation(len(every))[: round(SHARE * len(every))]
    splits = {split: list(pairs) for split, pairs in dataset.splits.items()}
    planted = []
    for place, kind in zip(chosen, cycle(KINDS), strict=False):
        split, number = every[place]
        pair = splits[split][number]
        path = folder / split / pair.mask
        before = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.uint8)
        after = erroneous(before, kind, len(dataset.classes), random)
        path.unlink()  # it may be a link into DVC's cache
        png.write_png(path, after)
        splits[split][number] = replace(pair, sha256_mask=hashlib.sha256(path.read_bytes()).hexdigest())
        x, y, width, height = cv2.boundingRect((before != after).astype(np.uint8))
        planted.append(Planted(kind, pair.stem, (x, y, width, height)))
    raw.write(folder, replace(dataset, splits=splits))
    return planted


def erroneous(mask: Uint8, kind: str, num_classes: int, random: np.random.Generator) -> Uint8:
    """The mask (H, W) with an error."""
    if kind == "shifted":
        down, across = random.choice([[0, SHIFT], [0, -SHIFT], [SHIFT, 0], [-SHIFT, 0]])
        padded = np.pad(mask, SHIFT, mode="edge")
        return np.asarray(padded[SHIFT + down :, SHIFT + across :][: mask.shape[0], : mask.shape[1]], np.uint8)
    regions = []
    for value in range(num_classes):
        count, numbers, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), connectivity=4)
        found = (k for k in range(1, count) if PIXELS[0] <= stats[k, cv2.CC_STAT_AREA] <= PIXELS[1])
        regions += [numbers == k for k in found]
    region = regions[random.integers(len(regions))]
    value = int(mask[region][0])
    if kind == "swapped":
        new = random.choice([other for other in range(num_classes) if other != value])
    else:  # what most of its neighbours are
        rim = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~region & (mask != VOID)
        new = np.bincount(mask[rim]).argmax()
    return np.where(region, new, mask).astype(np.uint8)


def _run(folder: Path, module: str, *arguments: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # DVC's stages call `python`
    environment = {**os.environ, "PATH": path, "SEGLINE_TRACKING": "off", "SEGLINE_DEVICE": "cpu"}
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    console.run(main)
