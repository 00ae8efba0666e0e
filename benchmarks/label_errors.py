"""Wrong labels planted in drawn street scenes: the share that `segline labels` ranks first.

    python -m benchmarks.label_errors FOLDER [--seed N]

FOLDER becomes a clone of the committed project with other and more drawn images. 2 % of them get one error: an object
with another class, an object missing, or a whole mask shifted by 8 pixels, in turn. Then `segline crossvalidate` trains
a model for each fold by the recipe of params.yaml, on labels with errors, as a user's are. What FOLDER has already is
not made again. Seed 1 draws the images of params.yaml, on which the ranking was chosen: report another.
"""

import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path

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
SHARE, SHIFT = 0.02, 8
FIRST = 0.01, 0.05, 0.1  # of a ranking
PIXELS = 100, 4000  # of an object that gets an error; an image has 43,200
COUNTS = {"train": 480, "val": 60, "test": 60}
FOLDS, SEED = 5, 17
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
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the images and of the errors (default: {SEED})")
    args = parser.parse_args(argv)
    folder: Path = args.folder
    if not (folder / "planted.json").exists():
        _prepare(folder, args.seed)
    if not (folder / "metrics/crossvalidation.json").exists():
        _run(folder, "segline", "crossvalidate", "--folds", str(FOLDS), "--seeds", "1")
    _run(folder, "segline", "labels")
    planted = [Planted(**{**each, "box": tuple(each["box"])}) for each in records.read_json(folder / "planted.json")]
    for line in report(planted, *(records.read_csv(folder / f"predictions/labels/{name}.csv") for name in TABLES)):
        console.say(line)


def report(
    planted: Sequence[Planted], images: Sequence[Mapping[str, str]], objects: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    """Lines for each kind: how many are in the first 1, 5 and 10 % of the images, also by the softmin `quality` alone,
    and of the objects. Shifted masks are errors of no object."""
    yield f"{len(images)} images, {len(objects)} disputed objects; {len(planted)} planted errors"
    by_quality = sorted(images, key=lambda row: float(row["quality"]))
    for kind in (*KINDS, "all"):
        own = [each for each in planted if kind in (each.kind, "all")]
        single = [each for each in own if each.kind != "shifted"]
        yield f"{kind}, images: {_found(own, images, _is_of)}"
        yield f"{kind}, images by quality: {_found(own, by_quality, _is_of)}"
        if single:
            yield f"{kind}, objects: {_found(single, objects, _is_at)}"


def _found(
    planted: Sequence[Planted],
    rows: Sequence[Mapping[str, str]],
    is_it: Callable[[Mapping[str, str], Planted], bool],
) -> str:
    counts = []
    for share in FIRST:
        first = rows[: math.ceil(share * len(rows))]
        counts.append(str(sum(any(is_it(row, each) for row in first) for each in planted)))
    shares = ", ".join(f"{100 * share:.0f}" for share in FIRST)
    return f"{', '.join(counts)} of {len(planted)} in the first {shares} %"


def _is_of(row: Mapping[str, str], planted: Planted) -> bool:
    return row["image"] == planted.image


def _is_at(row: Mapping[str, str], planted: Planted) -> bool:
    """Whether a disputed object is what was planted: half of its box, at least, is within that of the error."""
    if row["image"] != planted.image:
        return False
    left, top, width, height = (int(row[name]) for name in ("left", "top", "width", "height"))
    x, y, w, h = planted.box
    across, down = min(left + width, x + w) - max(left, x), min(top + height, y + h) - max(top, y)
    return min(across, down) > 0 and across * down >= width * height / 2


def _prepare(folder: Path, seed: int) -> None:
    """A clone with the parameters, the raw data drawn, and the errors in it, which DVC takes for what was drawn."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    document = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    document["data"]["synthetic"] |= {"seed": seed, **COUNTS}
    (folder / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    _run(folder, "dvc", "repro", "download")
    planted = plant(folder / "data/raw", np.random.default_rng(seed))
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
