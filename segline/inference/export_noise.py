"""Whether an exported file does on noise what torch does. K classes, H x W pixels."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from segline.core.errors import IntegrityError
from segline.dataset import objects as object_classes
from segline.dataset import tiling
from segline.dataset.preparation import Preparation
from segline.inference import onnx_graph
from segline.inference.onnx_graph import ImageToClasses
from segline.model import batches, checkpoint, forward, objects, stitching
from segline.preprocessing import working_image
from segline.preprocessing.image_files.image_file import ImageFile, Samples

Array = npt.NDArray[Any]
Classify = Callable[[Array], tuple[Array, Array]]  # an image (H, W, bands) -> classes (H, W), logits (K, H, W)

# The largest difference of logits from torch's, relative to the largest logit (or to 1 if that is larger). With random
# weights the networks reach 2e-5, MobileNetV2 the most; a wrong trace is off by far more than rounding.
LOGITS = 1e-4
EQUAL = 0.99  # the smallest share of pixels with the class that `segline predict` gives

REMEDY = "Nothing was written. Does the network depend on the input size in a way that a trace misses?"


@dataclass(frozen=True)
class Noise:
    """The largest difference from torch's logits, relative as `LOGITS`, and the share of pixels that have the class
    that `segline predict` gives."""

    logits: float
    equal: float


def check(path: Path, run: Classify, network: nn.Module, description: checkpoint.Description) -> Noise:
    """Compares on noise of several sizes, with the same steps in torch and with those of `segline predict`.

    Raises IntegrityError if the file fails, or is off by more than `LOGITS` or `EQUAL`; `path` names it.
    """
    steps = ImageToClasses(network, description).eval()
    farthest, equal, total = 0.0, 0, 0
    for image in _noise(description.preparation):
        size = "x".join(map(str, image.shape))
        classes, logits = run(image)
        with torch.inference_mode():
            expected = steps(torch.from_numpy(image))[1].numpy()
        if logits.shape != expected.shape:
            shapes = f"expected logits {expected.shape}, got {logits.shape}"
            raise IntegrityError(path, f"{shapes} on {size}", REMEDY)
        with np.errstate(invalid="ignore"):  # infinite logits
            difference = float(np.abs(logits - expected).max() / max(1.0, float(np.abs(expected).max())))
        if not difference <= LOGITS:  # NaN too
            problem = f"expected torch's logits within {LOGITS:g} of the largest, got {difference:.1e} on {size}"
            raise IntegrityError(path, problem, REMEDY)
        farthest = max(farthest, difference)
        equal += int(np.count_nonzero(classes == predicted(network, description, image)))
        total += classes.size
    if equal < EQUAL * total:
        problem = (
            f"expected the classes of segline predict on {EQUAL:.0%} of the pixels of noise, got {equal / total:.2%}"
        )
        raise IntegrityError(path, problem, REMEDY)
    return Noise(farthest, equal / total)


def _noise(form: Preparation) -> list[Array]:
    """Samples (H, W, bands): as large as a row, one pixel, one tall image and one wide."""
    draws = np.random.default_rng(0)
    kind, bands = onnx_graph.sample_type(form), onnx_graph.input_bands(form)
    step = tiling.own_pixels(form) if form.fit == "tile" else 1
    height, width = round(form.height * step), round(form.width * step)
    sizes = [(height, width), (1, 1), (height + height // 2, width // 2 + 1), (height // 3 + 1, width + 17)]
    limits = np.iinfo(kind) if kind.kind != "f" else np.finfo(kind)
    low, high = float(limits.min), float(limits.max)
    least, most = (low, high) if form.intensity.by == "full" else (min(form.intensity.low), max(form.intensity.high))
    return [draws.uniform(least, most, (*size, bands)).clip(low, high).astype(kind) for size in sizes]


@dataclass(frozen=True)
class _InMemory:
    """What `working_image` reads of an image file."""

    samples: Array

    @property
    def height(self) -> int:
        return len(self.samples)

    @property
    def width(self) -> int:
        return int(self.samples.shape[1])

    @property
    def bands(self) -> int:
        return int(self.samples.shape[2])

    def read(self, top: int, left: int, height: int, width: int) -> Samples:
        return Samples(self.samples[top : top + height, left : left + width], None)


def predicted(network: nn.Module, description: checkpoint.Description, image: Array) -> Array:
    """The classes uint8 (H, W) of samples (H, W, bands), by the functions of `segline predict`; tiles as one row."""
    form = description.preparation
    grid = tiling.grid(form, *image.shape[:2])
    if grid.is_cut:
        height, width = grid.tops[-1] + form.height, grid.lefts[-1] + form.width
        form = replace(form, height=height, width=width)
        grid = tiling.grid(form, *image.shape[:2])
    file = cast("ImageFile", _InMemory(image))
    (row,) = (pixels for pixels, _ in working_image.image_rows(file, form))
    inputs = batches.inputs(torch.from_numpy(row[None]), description.mean, description.std)
    bands = stitching.at_own_size(grid, stitching.bands(grid, forward.logits(network, inputs), None))
    parents = object_classes.parents(description.classes, description.objects).tolist()
    return np.concatenate([forward.classes(objects.folded(band, parents)[None])[0] for band in bands])
