"""Objects from insides and borders against connected pixels of the same network's classes, scored in one run.

    python -m benchmarks.objects      after `make repro PRESET=cells`

Both leave out what is smaller than `evaluate.objects.smallest`. The score of connected pixels is the mean probability
of their class.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from segline.core import params
from segline.core.errors import DataError
from segline.dataset import objects as object_classes
from segline.dataset import onehot, processed
from segline.inference import instances
from segline.model import checkpoint, forward, objects, watershed
from segline.monitoring import console
from segline.preprocessing.image_files import masks
from segline.scoring import average_precision, score_split
from segline.scoring.objects import THRESHOLDS, Matched, match, panoptic

PROCESSED, RAW, MODEL = Path("data/processed/test"), Path("data/raw/test"), Path("models/model.safetensors")
LEARNT, CONNECTED = "insides and borders", "connected pixels"


def matches(split: processed.Split, rule: watershed.Section) -> Iterator[dict[str, list[Matched]]]:
    """For each image, the objects of each class with objects: found in both ways, matched with the true ones."""
    network, model = checkpoint.read(MODEL)
    index = split.index
    if index.objects is None or any((each.height, each.width) != split.images.shape[1:3] for each in index.origins):
        raise DataError(PROCESSED, "expected objects, and images at their own size", "Use the preset cells.")
    classes = index.objects.inside(index.classes)
    parents = object_classes.parents(index.classes, index.objects)
    rows = console.progress(score_split.logits(network, model, split, 16), index.num_rows, "find")
    for origin, logits, packed in zip(index.origins, rows, split.onehot, strict=True):
        folded = objects.folded(logits, parents.tolist())
        labels = forward.classes(folded[None])[0]
        inside = objects.insides(logits, classes)
        path = RAW / f"{origin.objects}"
        numbers = masks.decode(path.read_bytes(), path, "index").astype(np.uint16)
        target = onehot.unpack(packed, len(index.classes))
        truth = np.append(parents, np.full(256 - len(parents), onehot.VOID, np.uint8))[target]
        found: dict[str, list[Matched]] = {LEARNT: [], CONNECTED: []}
        for k, name in ((k, name) for k in classes for name in found):
            if name == LEARNT:
                of_class = watershed.find(labels, inside[[classes.index(k)]], [k], rule, path)
                predicted, scores = of_class.numbers, of_class.scores
            else:
                predicted, scores = _connected(labels, folded.softmax(dim=0)[k].numpy(), k, rule, path)
            own = np.where(truth == k, numbers, np.uint16(0))
            found[name].append(match(own, predicted, truth != onehot.VOID, scores))
        yield found


def _connected(
    labels: npt.NDArray[np.uint8], probability: npt.NDArray[np.float32], k: int, rule: watershed.Section, where: Path
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float64]]:
    """The numbers (H, W) and scores of what `segline predict --instances` finds for a model without objects."""
    numbers, every = instances.find(labels, [k], where)
    scores = np.bincount(numbers.ravel(), probability.ravel(), minlength=len(every) + 1)[1:]
    areas = np.array([each.area for each in every], np.float64)
    small = np.append(False, areas < rule.smallest)
    return np.where(small[numbers], np.uint16(0), numbers), scores / areas


def main(_: object = None) -> None:
    """Prints average precision and panoptic quality of both, for each class with objects."""
    rule = params.section(params.load(), "evaluate.objects", watershed.Section)
    split = processed.read(PROCESSED)
    images = list(matches(split, rule))
    for name in (LEARNT, CONNECTED):
        for place, k in enumerate(split.index.objects.classes if split.index.objects else ()):
            of_class = [image[name][place] for image in images]
            ap = average_precision.by_pycocotools([each.predicted for each in of_class], THRESHOLDS)
            quality, *_ = panoptic(np.sum([each.cells for each in of_class], axis=0))
            console.say(f"{k} from {name}: AP50 {ap[0]:.3f}, AP {ap.mean():.3f}, PQ {quality:.3f}")


if __name__ == "__main__":
    console.run(main)
