"""Entropy and margin of an image, by band, and the sheet of the least certain."""

import math

import cv2
import numpy as np
import pytest
import torch

from segline.inference import uncertainty
from segline.inference.uncertainty import Uncertainty
from segline.preprocessing.image_files import png


def of(logits: torch.Tensor, *bands: int, missing: np.ndarray | None = None) -> tuple[float, float]:
    """The means, added in bands of so many lines."""
    doubt, top = Uncertainty(), 0
    for lines in bands or (logits.shape[1],):
        doubt.add(logits[:, top : top + lines], None if missing is None else missing[top : top + lines])
        top += lines
    return doubt.means()


def test_they_are_those_of_a_loop_over_pixels():
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1)) * 2
    missing = np.zeros((5, 6), np.bool_)
    missing[1, 2:] = True
    entropies, margins = [], []
    for y, x in np.argwhere(~missing):
        powers = [math.exp(value) for value in logits[:, y, x].tolist()]
        p = sorted(power / sum(powers) for power in powers)
        entropies.append(-sum(each * math.log(each) for each in p))
        margins.append(p[-1] - p[-2])

    assert (np.mean(entropies), np.mean(margins)) == pytest.approx(of(logits, missing=missing), abs=1e-6)


def test_bands_do_not_matter():
    logits = torch.randn(3, 200, 7, generator=torch.Generator().manual_seed(1))

    assert of(logits) == pytest.approx(of(logits, 1, 100, 99), abs=1e-9)


def test_a_sure_network_a_clueless_one_and_an_image_without_data():
    sure = torch.zeros(4, 3, 3)
    sure[2] = 1000

    assert of(sure) == (0.0, 1.0)
    assert of(torch.zeros(4, 3, 3)) == pytest.approx((math.log(4), 0.0))
    assert of(torch.zeros(4, 3, 3), missing=np.ones((3, 3), np.bool_)) == (0.0, 1.0)


def test_planes_are_rounded_probabilities():
    logits = torch.log(torch.tensor([0.2, 0.3, 0.5]))[:, None, None].expand(3, 2, 5)
    planes = uncertainty.planes(logits)

    assert (planes.dtype, planes.shape) == (np.uint8, (2, 5, 3))
    assert (planes == [51, 76, 128]).all() or (planes == [51, 77, 128]).all(), "76.5, to either side"


def test_a_sheet_has_each_picture_above_its_text(tmp_path):
    for name, shade in (("a", 10), ("b", 200)):
        png.write_png(tmp_path / f"{name}.png", np.full((40, 20 if name == "a" else 900, 3), shade, np.uint8))
    uncertainty.sheet(tmp_path / "sheet.png", [(tmp_path / "a.png", "1. $a_"), (tmp_path / "b.png", "2. b")])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))

    assert (280 + 40 + 20, 4 * 290 + 10) == sheet.shape[:2]
    assert (sheet[20:280, 20:140] == 10).all(), "enlarged"
    assert (sheet[12:20, 310:570] == 200).all(), "shrunk"
    assert (sheet[290:330, :290] < 128).any()
    assert (sheet[290:330, 600:] == 255).all()
