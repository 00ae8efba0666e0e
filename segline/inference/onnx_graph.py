"""What `segline export` exports: the samples of an image -> the class of each of its pixels, as one torch module.

C channels, K classes, K' with the borders of objects, H x W pixels of an image; rows and working sizes are those of
`segline.dataset.tiling`. The steps are those of `preprocess` and `segline predict`, in operations that are right at any
size when one size is traced: a height or width is a number, or a tensor while torch traces, so nothing here branches on
one, and none below zero is divided: ONNX rounds quotients towards zero.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segline.dataset import objects, tiling
from segline.dataset.preparation import Preparation
from segline.dataset.tiling import UNIT, Size
from segline.model import checkpoint, output_head

OPSET = 18
INPUT, OUTPUTS = "image", ["classes", "logits"]
_AXES = {"image": {0: "height", 1: "width"}, "classes": {0: "height", 1: "width"}, "logits": {1: "height", 2: "width"}}
_FIXED = 256  # OpenCV's INTER_LINEAR_EXACT knows so many places between two pixels


def sample_type(preparation: Preparation) -> np.dtype[Any]:
    """The type of the input: that of the samples of training; if it was not recorded, uint8, or float32 for a rule
    with bounds."""
    return np.dtype(preparation.dtype or ("uint8" if preparation.intensity.by == "full" else "float32"))


def input_bands(preparation: Preparation) -> int:
    """The bands of the input: all of a file of training if `bands` are numbers of them, otherwise the channels."""
    named = preparation.bands
    return preparation.channels if isinstance(named, str) else preparation.file_bands or max(named)


class ImageToClasses(nn.Module):
    """Samples (H, W, bands), any H and W -> classes below K, uint8 (H, W), logits / temperature, float32 (K', H, W).

    With tiles the network sees the whole image at once, padded as its last tiles are.
    """

    def __init__(self, network: nn.Module, description: checkpoint.Description) -> None:
        super().__init__()
        form = description.preparation
        self.network = network
        self.to_bytes = _Bytes(form)
        self.frame = _Tiles(form) if form.fit == "tile" else _Row(form)
        self.mean, self.std, self.temperature = description.mean, description.std, description.temperature
        self.parents = objects.parents(description.classes, description.objects).tolist()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        own = image.shape[0], image.shape[1]
        pixels = self.frame.prepared(self.to_bytes(image.permute(2, 0, 1)))
        logits = output_head.class_logits(self.network((pixels[None] - self.mean) / self.std)).float()
        logits = self.frame.at_own_size(logits, own).squeeze(0)
        return _folded(logits, self.parents).argmax(dim=0).byte(), logits / self.temperature


def _folded(logits: Tensor, parents: Sequence[int]) -> Tensor:
    """As `segline.model.objects.folded`, (K', H, W) -> (K, H, W): ONNX has `logsumexp`, but no `logaddexp`."""
    own = [k for k, parent in enumerate(parents) if parent == k]
    if len(own) == len(parents):
        return logits
    members = [[each for each, parent in enumerate(parents) if parent == k] for k in own]
    return torch.stack([logits[of_class].logsumexp(dim=0) for of_class in members])


class _Bytes(nn.Module):
    """Samples (bands, H, W) -> float32 (C, H, W), whole numbers 0..255: the bytes of `intensity.to_bytes`.

    The whole range of a type is a rule with two bounds like the others: its step is odd, so nothing lies halfway.
    """

    low: Tensor
    high: Tensor

    def __init__(self, form: Preparation) -> None:
        super().__init__()
        kind, rule = sample_type(form), form.intensity
        self.are_bytes = rule.by == "full" and kind == np.uint8
        self.may_be_nan = kind.kind == "f"
        self.picks = None if isinstance(form.bands, str) else [number - 1 for number in form.bands]
        bounds = (rule.low, rule.high)
        if rule.by == "full":
            limits = np.iinfo(kind)
            bounds = ((float(limits.min),), (float(limits.max),))
        low, high = torch.tensor(bounds, dtype=torch.float64)[..., None, None]
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        if self.picks is not None:
            samples = samples[self.picks]
        if self.are_bytes:
            return samples.float()
        values = samples.double()
        if self.may_be_nan:
            values = torch.where(values.isnan(), self.low, values)
        within = torch.minimum(torch.maximum(values, self.low), self.high)
        return torch.floor(255 * (within - self.low) / (self.high - self.low) + 0.5).float()


class _Row(nn.Module):
    """A whole image as one row: `stretch` and `pad`."""

    def __init__(self, form: Preparation) -> None:
        super().__init__()
        self.row, self.stretches = (form.height, form.width), form.fit == "stretch"

    def prepared(self, pixels: Tensor) -> Tensor:
        """Pixels (C, H, W) -> the row (C, height, width)."""
        own = pixels.shape[1], pixels.shape[2]
        return _resized(pixels, self.row, self.working(own), own)

    def at_own_size(self, logits: Tensor, own: Size) -> Tensor:
        """Logits of a row (1, K, height, width) -> (1, K, H, W)."""
        rows, columns = self.working(own)
        return F.interpolate(logits[:, :, :rows, :columns], size=own, mode="bilinear", align_corners=False)

    def working(self, own: Size) -> Size:
        """As `tiling.grid`, where a side is rounded half to even."""
        (height, width), (rows, columns) = own, self.row
        if self.stretches:
            return self.row
        return _at_most(rows, height * columns, width), _at_most(columns, width * rows, height)


def _at_most(most: int, dividend: int, divisor: int) -> Any:
    """The quotient, rounded, but at least 1: exact in float64, as sides are below 2^26."""
    return (torch.as_tensor(dividend).double() / divisor).round().clamp(1, most).long()


class _Tiles(nn.Module):
    """A whole image at the scale of its tiles."""

    weights: Tensor

    def __init__(self, form: Preparation) -> None:
        super().__init__()
        self.row, self.step = (form.height, form.width), tiling.own_pixels(form)
        self.unit = int(self.step * UNIT)  # own pixels across `UNIT` working pixels
        self.register_buffer("weights", _shares(UNIT, UNIT, self.unit, shrinks=True), persistent=False)

    def prepared(self, pixels: Tensor) -> Tensor:
        """Pixels (C, H, W) -> a row (C, h, w) of the whole image: a tile's size and a multiple of `UNIT` more."""
        if self.unit != UNIT:
            pixels = self._averaged(pixels)
        down, across = (_missing(length, side) for length, side in zip(pixels.shape[1:], self.row, strict=True))
        return F.pad(pixels, (0, across, 0, down), mode="replicate")

    def _averaged(self, pixels: Tensor) -> Tensor:
        """At the working size, unit by unit: one that is not whole repeats its edge first."""
        height, width = pixels.shape[1:]
        rows, columns = self.working((height, width))
        whole = F.pad(pixels, (0, -width % self.unit, 0, -height % self.unit), mode="replicate")
        down = (self.weights @ torch.unflatten(whole, 1, (-1, self.unit))).flatten(1, 2)
        across = (torch.unflatten(down, 2, (-1, self.unit)) @ self.weights.T).flatten(2)
        halves_up = torch.tensor(self.unit == 2 * UNIT)
        return _rounded(across, halves_up)[:, :rows, :columns]

    def at_own_size(self, logits: Tensor, own: Size) -> Tensor:
        """Logits of that row (1, K, h, w) -> (1, K, H, W)."""
        rows, columns = self.working(own)
        logits = logits[:, :, :rows, :columns]
        if self.unit == UNIT:
            return logits
        many = self.step.denominator
        logits = F.pad(logits, (0, -columns % many, 0, -rows % many), mode="replicate")
        size = [length // many * self.step.numerator for length in logits.shape[2:]]
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[:, :, : own[0], : own[1]]

    def working(self, own: Size) -> Size:
        """As `tiling.grid`: own sides divided by the step, rounded up."""
        height, width = own
        return (height * UNIT + self.unit - 1) // self.unit, (width * UNIT + self.unit - 1) // self.unit


def _missing(length: int, side: int) -> int:
    """How many pixels `length` lacks to be `side` and a multiple of `UNIT` more."""
    more = (length - side + UNIT - 1) // UNIT
    return side + more * (more > 0) * UNIT - length


def _resized(pixels: Tensor, row: Size, working: Size, own: Size) -> Tensor:
    """Pixels (C, H, W) at the working size, then padded to that of a row, as `images.resize_image` computes them.

    ONNX has no resizing by areas; as two products of matrices it is one, and cheaper than a layer of most networks.
    """
    shrinks = torch.as_tensor((working[0] <= own[0]) & (working[1] <= own[1]))
    halves = torch.as_tensor((2 * working[0] == own[0]) & (2 * working[1] == own[1]))
    down, across = (_shares(*lengths, shrinks) for lengths in zip(row, working, own, strict=True))
    return _rounded(down @ pixels @ across.T, halves | ~shrinks)


def _rounded(pixels: Tensor, halves_up: Tensor) -> Tensor:
    """Whole numbers; OpenCV rounds halves up when it halves an image exactly or enlarges it, otherwise to even."""
    return torch.where(halves_up, torch.floor(pixels + 0.5), pixels.round())


def _shares(count: int, working: int, own: int, shrinks: Tensor | bool) -> Tensor:
    """How much of each own pixel is in each of `count` pixels, float32 (count, own); from `working` on they are alike.

    Shrinking gives the share of the area, otherwise that of linear interpolation. Integers up to the last step.
    """
    here = torch.minimum(torch.arange(count), torch.as_tensor(working - 1))[:, None]
    there = torch.arange(own)
    overlap = torch.minimum((here + 1) * own, (there + 1) * working) - torch.maximum(here * own, there * working)
    place = (((2 * here + 1) * own - working) * _FIXED + working).clamp(min=0) // (2 * working)
    place = torch.minimum(place, torch.as_tensor((own - 1) * _FIXED))
    nearness = _FIXED - (place - _FIXED * there).abs()
    by_area, linear = overlap.clamp(min=0) / own, nearness.clamp(min=0) / _FIXED
    return torch.where(torch.as_tensor(shrinks), by_area, linear)


def trace(path: Path, network: nn.Module, description: checkpoint.Description) -> None:
    """Writes the module as ONNX with torch's older exporter, which traces one example.

    A network that pads to a multiple of its stride (`blocks.at_multiple_of`) sees rows of one size, or with tiles sizes
    of one remainder, so the branch that the example takes is that of all. torch plans to remove this exporter; the
    newer one (`dynamo=True`) needs two more packages and 3 to 27 s of CPU time for a network, not under 1 s.
    """
    form = description.preparation
    example = torch.zeros(form.height, form.width, input_bands(form), dtype=torch.uint8)
    torch.onnx.export(
        ImageToClasses(network, description).eval(),
        (example,),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=OUTPUTS,
        dynamic_axes=_AXES,
    )
