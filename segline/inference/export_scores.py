"""Whether an exported file scores on raw images what `evaluate` found, if the split it used is at hand.

H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from segline.core import pipeline, untrusted
from segline.core.errors import DataError, IntegrityError, PipelineError
from segline.dataset import onehot, processed, raw
from segline.dataset.objects import semantic
from segline.dataset.origins import Origin
from segline.dataset.preparation import Preparation
from segline.inference import onnx_graph
from segline.model import checkpoint
from segline.monitoring import console
from segline.preprocessing import intensity, pair_files
from segline.preprocessing.image_files.image_file import Samples
from segline.scoring import confusion, evaluation

Array = npt.NDArray[Any]

WITHIN = 0.005  # the largest difference of accuracy and mIoU from those of `evaluate`
MOST_PIXELS = 1 << 22  # of an image that the network sees whole, with tiles only: 1 GiB for a unet of width 8
_MAX_BYTES = 1 << 24  # of eval.json


@dataclass(frozen=True)
class Evaluated:
    """A split that is at hand, and what `evaluate` found on it, in `metrics`. `folder` has its raw images."""

    index: processed.Index
    folder: Path
    metrics: Path
    accuracy: float
    miou: float


@dataclass(frozen=True)
class Scores:
    """Accuracy and mIoU of the exported file on a split, at the size of its masks."""

    split: str
    accuracy: float
    miou: float


@dataclass(frozen=True)
class _Metrics:
    accuracy: float
    miou: float
    protocol: dict[str, str]


def at_hand(model: Path, description: checkpoint.Description) -> Evaluated | str:
    """The split that the project's model was evaluated on, if `model` is that model; otherwise why not.

    The metrics are taken as they are: nothing in them names the model.
    """
    try:
        return _evaluated(model, description)
    except OSError as error:
        return f"{error.filename}: {untrusted.problem(error)}"
    except PipelineError as error:
        return f"{error.where}: {error.problem}"


def _evaluated(model: Path, description: checkpoint.Description) -> Evaluated:
    """Raises OSError, or PipelineError."""
    own, metrics = (pipeline.path("evaluate", argument) for argument in ("model", "metrics"))
    if not own.is_file() or model.read_bytes() != own.read_bytes():
        raise DataError(model, f"not the model of this project, {own}", "")
    try:
        known = untrusted.parse_json(untrusted.read(metrics, _MAX_BYTES), TypeAdapter(_Metrics))
        split = known.protocol["split"]
    except (ValueError, KeyError) as error:
        raise DataError(metrics, f"not what evaluate writes ({error})", "") from None
    index = processed.read(pipeline.path("evaluate", "processed").parent / split).index
    if evaluation.data_hash(index) != known.protocol.get("data") or index.classes != description.classes:
        raise DataError(metrics, f"about other images, masks or classes than those of {split}", "")
    largest = max(origin.height * origin.width for origin in index.origins)
    if description.preparation.fit == "tile" and largest > MOST_PIXELS:
        raise DataError(split, f"an image of {largest} pixels, which the network would see at once", "")
    folder = pipeline.path("evaluate", "raw").parent / split
    for path in (folder / name for origin in index.origins for name in (origin.image, origin.mask)):
        if not path.is_file():  # after a partial `dvc pull`, say
            raise DataError(path, "missing", "")
    return Evaluated(index, folder, metrics, known.accuracy, known.miou)


def check(path: Path, run: Callable[[Array], Array], evaluated: Evaluated, form: Preparation) -> Scores:
    """The scores of `run`, which gives the classes (H, W) of an image (H, W, bands).

    Raises IntegrityError if they differ by more than `WITHIN`, and PipelineError if an image or mask cannot be read;
    `path` names the file.
    """
    index = evaluated.index
    lookup = onehot.lookup(index.values, raw.ENCODINGS[index.encoding])
    count = len(semantic(index.classes, index.objects))
    total = np.zeros((count, count), np.int64)
    for origin in console.progress(index.origins, len(index.origins), "export"):
        samples, truth = _pair(evaluated.folder, origin, index, form, lookup)
        total += confusion.count(truth, run(model_input(samples, form)), count)
    found = confusion.scores(total)
    for name, actual, expected in (
        ("accuracy", found.accuracy, evaluated.accuracy),
        ("mIoU", found.miou, evaluated.miou),
    ):
        if not abs(actual - expected) <= WITHIN:
            problem = f"{name} {actual:.4f} on {index.split}, while evaluate found {expected:.4f}"
            remedy = "Nothing was written. Are the metrics those of this model (dvc repro evaluate)?"
            if form.fit == "tile":
                remedy += " The file sees images whole: do its tiles overlap enough to give the same?"
            raise IntegrityError(path, problem, remedy)
    return Scores(index.split, found.accuracy, found.miou)


def model_input(samples: Samples, form: Preparation) -> Array:
    """The samples of an image file as the input of the exported file, (H, W, bands)."""
    if not isinstance(form.bands, str):
        values = samples.values
    elif form.dtype is None and form.intensity.by == "full":
        values = intensity.to_bytes(samples, form)  # of deeper samples too, which the input does not take
    else:
        values = intensity.chosen(samples.values, form.bands)
    return np.ascontiguousarray(values.astype(onnx_graph.sample_type(form), copy=False))


def _pair(
    folder: Path, origin: Origin, index: processed.Index, form: Preparation, lookup: onehot.Lookup
) -> tuple[Samples, Array]:
    """An image, and its truth as classes (H, W); `onehot.VOID` is above every class."""
    hashes = origin.sha256_image, origin.sha256_mask
    page = pair_files.Page(raw.Pair(origin.stem, origin.group, origin.image, origin.mask, *hashes), origin.page)
    with (
        pair_files.opened_image(folder, page, form) as image,
        pair_files.opened_mask(folder, page, form, index.encoding, index.threshold) as mask,
    ):
        samples = image.read(0, 0, image.height, image.width)
        truth = lookup.classes(mask.read(0, 0, mask.height, mask.width))
    if samples.valid is not None:
        truth[~samples.valid] = onehot.VOID
    return samples, truth
