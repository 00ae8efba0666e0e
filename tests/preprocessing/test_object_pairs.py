"""A pair with object numbers becomes rows of insides and borders; what is wrong with its numbers is told."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from segline.core.errors import DataError
from segline.dataset import onehot, tiling
from segline.dataset.raw import Dataset, Label, Pair
from segline.preprocessing import pair_files, pairs
from tests import pictures
from tests.preprocessing.test_pairs import section

CLASSES = (Label("sky", (0, 0, 0)), Label("cell", (9, 9, 9)))
TILE = {"fit": "tile", "height": 32, "width": 32, "overlap": 0.0, "bands": "gray"}
CELLS = {"classes": ["cell"], "border": 2}


@pytest.fixture
def prepare(tmp_path) -> Callable[..., Any]:
    """What becomes of a mask and these numbers, and the rows as classes."""

    def prepared(mask: np.ndarray, numbers: np.ndarray, listed: str = "", **changes: Any) -> Any:
        contents = [np.zeros((*mask.shape, 1), np.uint8), mask.astype(np.uint8)[..., None], np.atleast_3d(numbers)]
        names = ["image.tif", "mask.tif", "objects.tif"]
        for name, pixels in zip(names, contents, strict=True):
            (tmp_path / name).write_bytes(pictures.geotiff(pixels))
        digests = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
        pair = Pair("a", None, *names[:2], *digests[:2], names[2], listed or digests[2])
        data = Dataset("pairs", CLASSES, (0, 1), None, "index", {"train": [pair]})
        recipe = pairs.recipe(tmp_path, data, section(**{"objects": CELLS} | changes))
        count = pair_files.num_rows(tmp_path, pair_files.Page(pair), recipe.preparation)
        rows: list[np.ndarray] = []
        found = pairs.prepare(tmp_path, recipe, pair_files.Page(pair), count, lambda _, *row: rows.append(row[1]))
        return found, [onehot.unpack(row, len(recipe.table.classes)) for row in rows]

    return prepared


def cells(height: int, width: int) -> np.ndarray:
    """Numbers of cells 20 pixels wide that touch, in no order, 5 of 6 places of a board."""
    y, x = np.mgrid[:height, :width] // 20
    number = (y * 7 + x * 13) % 60_000
    return np.where((x + y) % 6 > 0, number + 1, 0).astype(np.uint16)


def test_tiles_are_cut_from_the_borders_of_the_whole_image(prepare):
    numbers = cells(150, 90)
    _, (whole,) = prepare(numbers > 0, numbers, fit="stretch", height=150, width=90)
    prepared, rows = prepare(numbers > 0, numbers, **TILE)
    grid = tiling.grid(pairs.preparation(section(**TILE)), 150, 90)

    assert {0, 1, 2} == {*np.unique(whole)}
    assert ("objects.tif", 64) == (prepared.origin.objects, len(prepared.origin.sha256_objects))
    for (top, left), row in zip(grid.windows, rows, strict=True):
        inside = whole[top : top + 32, left : left + 32]
        np.testing.assert_array_equal(inside, row[: inside.shape[0], : inside.shape[1]])


def test_borders_have_their_width_at_the_working_size(prepare):
    numbers = np.repeat(np.array([[1, 2]], np.uint16), [60, 60], axis=1).repeat(120, axis=0)
    _, (row,) = prepare(numbers > 0, numbers, fit="stretch", height=40, width=40)

    assert [[1] * 18 + [2] * 4 + [1] * 18] * 40 == row.tolist()


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (np.ones((40, 41), np.uint16), "objects.tif: 41x40 pixels, expected 40x40 as mask.tif"),
        (np.ones((40, 40), np.uint16), "objects.tif: one object lies in two classes, number 1 in sky and cell"),
        (
            np.full((40, 40), 70_000, np.uint32),
            "value 70000 at (x, y) = (0, 0), expected whole numbers from 0 to 65535",
        ),
        (np.full((40, 40, 3), 1, np.uint8), "objects.tif: 8-bit RGB mask, expected gray or palette"),
    ],
    ids=["size", "two classes", "more than 65,535", "colours"],
)
def test_numbers_that_cannot_be_those_of_the_mask_are_refused(prepare, numbers, said):
    mask = np.zeros((40, 40), np.uint8)
    mask[5:20, 5:20] = 1
    (problem,), _ = prepare(mask, numbers)

    assert said in str(problem)


def test_images_without_numbers_are_refused_before_any_is_read(tmp_path):
    with_numbers = Pair("a", None, "images/a.png", "masks/a.png", "0" * 64, "0" * 64, "objects/a.png", "0" * 64)
    without = Pair("b", None, "images/b.png", "masks/b.png", "0" * 64, "0" * 64)
    data = Dataset("pairs", CLASSES, (0, 1), None, "index", {"train": [with_numbers, without]})

    with pytest.raises(
        DataError, match=r"1 of 2 images have no object numbers, such as train/images/b\.png\. Name them"
    ):
        pairs.recipe(tmp_path, data, section(objects=CELLS))
    assert pairs.recipe(tmp_path, data, section()).table.objects is None


def test_numbers_are_those_that_were_downloaded(prepare):
    numbers = cells(40, 40)
    (problem,), _ = prepare(numbers > 0, numbers, listed="0" * 64)

    assert "objects.tif: sha256 " in str(problem)
