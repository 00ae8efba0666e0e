"""How uncertain a network is of an image: what to label next. K classes, bands of n lines, W pixels wide."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from segline.core import atomic
from segline.reporting import charts

Uint8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

SHOWN = 12  # images of the contact sheet
_LINES = 64  # of logits whose probabilities are found at once
_ACROSS, _SIDE, _GAP, _LINE = 4, 280, 10, 40  # pictures in a row; pixels of a picture, between two, of the text below


class Uncertainty:
    """Means over the pixels of an image, added in bands: of the entropy of the class probabilities, in nats, and of the
    margin between the two highest. Sure is entropy 0 and margin 1; nothing known is log K and 0."""

    def __init__(self) -> None:
        self._entropy = self._margin = 0.0
        self._pixels = 0

    def add(self, logits: Tensor, missing: Bools | None) -> None:
        """The next lines: logits float32 (K, n, W), and which pixels have no data, (n, W); they do not count."""
        for first in range(0, logits.shape[1], _LINES):
            lines = logits[:, first : first + _LINES]
            log_p = lines.log_softmax(dim=0)
            p = log_p.exp()
            entropy = -(p * log_p).sum(dim=0)
            highest, *second = p.topk(min(2, len(p)), dim=0).values
            margin = highest - second[0] if second else highest
            counted = torch.ones_like(entropy, dtype=torch.bool)
            if missing is not None:
                counted = torch.from_numpy(~missing[first : first + _LINES]).to(entropy.device)
            self._pixels += int(counted.sum())
            self._entropy += float(entropy[counted].sum(dtype=torch.float64))
            self._margin += float(margin[counted].sum(dtype=torch.float64))

    def means(self) -> tuple[float, float]:
        """Mean entropy and margin; of an image without data, 0 and 1: there is nothing to label."""
        return (self._entropy / self._pixels, self._margin / self._pixels) if self._pixels else (0.0, 1.0)


def planes(logits: Tensor) -> Uint8:
    """The class probabilities of logits (K, n, W), uint8 (n, W, K): 255 is 1, rounded."""
    scaled: Uint8 = logits.softmax(dim=0).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
    return scaled


def sheet(path: Path, pictures: Sequence[tuple[Path, str]]) -> None:
    """Pictures from PNG files, in rows, each above its text."""
    wide = _ACROSS * (_SIDE + _GAP) + _GAP
    step = _SIDE + _LINE + _GAP
    canvas = np.full((math.ceil(len(pictures) / _ACROSS) * step + _GAP, wide, 3), 255, np.uint8)
    places = [(_GAP + at // _ACROSS * step, _GAP + at % _ACROSS * (_SIDE + _GAP)) for at in range(len(pictures))]
    for (top, left), (file, _) in zip(places, pictures, strict=True):
        shrunk = _shrunk(file)
        canvas[top : top + len(shrunk), left : left + shrunk.shape[1]] = shrunk
    height = len(canvas)
    with (
        atomic.file(path) as temporary,
        # Half a pixel more: matplotlib truncates the size to an integer.
        charts.figure(temporary, (wide + 0.5) / charts.DPI, (height + 0.5) / charts.DPI, layout=None) as page,
    ):
        page.figimage(canvas)
        for (top, left), (_, text) in zip(places, pictures, strict=True):
            page.text(left / wide, 1 - (top + _SIDE + 4) / height, text, va="top", fontsize=8.5, parse_math=False)


def _shrunk(file: Path) -> Uint8:
    """A picture with `_SIDE` pixels on its longer side."""
    picture: Any = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    factor = _SIDE / max(picture.shape[:2])
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, (width, height), interpolation=smooth), np.uint8)
