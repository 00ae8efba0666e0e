"""Borders folded into their classes, and what objects are found from, also across the edges of tiles."""

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from segline.dataset import tiling
from segline.dataset.preparation import FULL, Preparation
from segline.model import forward, objects, stitching, watershed
from segline.model.watershed import ONE

HERE = Path("cells.tif")
RULE = watershed.Section(smallest=1, seed=0.5)


def test_a_border_s_probability_is_added_to_that_of_its_class():
    logits = torch.randn(5, 6, 7, generator=torch.Generator().manual_seed(1))
    shares = logits.softmax(dim=0)

    folded = objects.folded(logits, [0, 1, 2, 2, 0])

    expected = torch.stack([shares[0] + shares[4], shares[1], shares[2] + shares[3]])
    torch.testing.assert_close(expected, folded.softmax(dim=0))


def test_without_borders_logits_stay_as_they_are():
    logits = torch.randn(3, 4, 5)

    assert objects.folded(logits, [0, 1, 2]) is logits


@given(data=st.data())
def test_insides_are_rounded_probabilities(data):
    height = data.draw(st.sampled_from((1, 64, 65, 130)))
    logits = torch.randn(4, height, 3, generator=torch.Generator().manual_seed(height)) * 5
    expected = (logits.softmax(dim=0)[[1, 3]] * ONE).round().int().numpy()

    np.testing.assert_allclose(expected, objects.insides(logits, [1, 3]), atol=1)


def test_an_object_that_the_edge_of_a_tile_cuts_is_one():
    """Four tiles meet in the middle of a disc; the whole image gives the same numbers."""
    preparation = Preparation("tile", 64, 64, 1.0, 0.5, "gray", "check", "refuse", FULL)
    grid = tiling.grid(preparation, 96, 96)
    y, x = np.mgrid[:128, :128]
    distance = np.hypot(y - 48, x - 48)
    logits = np.stack([np.where(distance > 30, 9.0, 0), np.where(distance < 26, 9.0, 0), np.zeros((128, 128))])
    logits[2][(distance >= 26) & (distance <= 30)] = 9
    whole = torch.from_numpy(logits).float()
    windows = [whole[:, top : top + 64, left : left + 64] for top, left in grid.windows]

    bands = [band.clone() for band in stitching.at_own_size(grid, stitching.bands(grid, windows, None))]
    stitched = torch.cat(bands, dim=1)
    found, expected = (_found(each) for each in (stitched, whole[:, :96, :96]))

    assert grid.count == 4
    assert 1 == len(found.classes)
    np.testing.assert_array_equal(expected.numbers, found.numbers)


def _found(logits: torch.Tensor) -> watershed.Found:
    labels = forward.classes(objects.folded(logits, [0, 1, 1])[None])[0]
    return watershed.find(labels, objects.insides(logits, [1]), [1], RULE, HERE)
