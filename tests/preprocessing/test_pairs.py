"""A pair becomes rows, or a list of everything that is wrong with it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segline.core import params
from segline.core.errors import ParameterError
from segline.dataset.preparation import FULL, Intensity
from segline.dataset.raw import Dataset, Label, Pair
from segline.preprocessing import pair_files, pairs
from tests import pictures, tiny
from tests.preprocessing.image_files.test_tiff import damaged

CLASSES = tuple(Label(name, (number, number, number)) for number, name in enumerate(("sky", "road", "tree")))
TILE = {"fit": "tile", "height": 32, "width": 32, "bands": "gray"}


def section(**changes: Any) -> pairs.Section:
    return params.section({"preprocess": tiny.PARAMETERS["preprocess"] | changes}, "preprocess", pairs.Section)


@pytest.fixture
def prepare(tmp_path) -> Callable[..., Any]:
    """Prepares a pair of TIFF files of this content with these parameters; the rows are kept in `prepare.rows`."""

    def prepared(image: bytes, mask: bytes, **changes: Any) -> Any:
        for name, content in (("a.tif", image), ("b.tif", mask)):
            (tmp_path / name).write_bytes(content)
        digests = [hashlib.sha256(content).hexdigest() for content in (image, mask)]
        page = pair_files.Page(Pair("a", None, "a.tif", "b.tif", *digests))
        data = Dataset("pairs", CLASSES, (0, 1, 2), None, "index", {})
        recipe = pairs.recipe(tmp_path, data, section(**changes))
        rows.clear()
        count = pair_files.num_rows(tmp_path, page, recipe.preparation)
        return pairs.prepare(tmp_path, recipe, page, count, lambda number, *row: rows.append((number, *row)))

    rows: list[tuple[int, np.ndarray, np.ndarray]] = []
    prepared.rows = rows
    return prepared


def gray(height: int, width: int, most: int = 256) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, most, (height, width, 1)).astype(np.uint8)


def test_rows_are_put_one_by_one_in_their_order(prepare):
    prepared = prepare(pictures.geotiff(gray(70, 50)), pictures.geotiff(gray(70, 50, 2)), **TILE)

    assert [*range(6)] == [number for number, *_ in prepare.rows]
    assert [True, True, False] == prepared.classes.tolist()
    assert (70, 50, None, False) == (
        prepared.origin.height,
        prepared.origin.width,
        prepared.origin.page,
        prepared.origin.no_data,
    )


def test_problems_of_image_and_mask_come_together(prepare, tmp_path):
    problems = prepare(damaged("deflate", 0, gray(32, 32)), pictures.geotiff(gray(32, 32)), **TILE)

    assert [f"{tmp_path}/a.tif: damaged:", f"{tmp_path}/b.tif: value"] == [
        " ".join(str(problem).split()[:2]) for problem in problems
    ]


def test_unknown_values_are_counted_over_the_whole_mask_from_its_corner(prepare):
    """It is read in pieces of 512 lines."""
    mask = np.zeros((1300, 40, 1), np.uint8)
    mask[600, 7], mask[600:1200, 9], mask[1299, 39] = 5, 5, 7
    (problem,) = prepare(pictures.geotiff(gray(1300, 40)), pictures.geotiff(mask), **TILE)

    assert problem.problem.startswith("value 5 on 601 pixels, first at (x, y) = (7, 600) (and 1 other unknown value)")


def test_a_mask_damaged_after_an_unknown_value_is_said_to_be_damaged(prepare):
    mask = np.full((32, 32, 1), 9, np.uint8)
    (problem,) = prepare(pictures.geotiff(gray(32, 32)), damaged("deflate", 0, mask), **TILE)

    assert problem.problem.startswith("damaged: a strip or tile")


def test_equal_pixels_have_equal_checksums_whatever_the_file(prepare):
    mask, pixels = pictures.geotiff(gray(70, 50, 2)), gray(70, 50)
    plain, packed, other = (
        prepare(pictures.geotiff(values, compress=how), mask, **TILE).checksum
        for values, how in ((pixels, "none"), (pixels, "zstd"), (pixels + 1, "none"))
    )

    assert plain == packed != other


@pytest.mark.parametrize(
    ("bands", "form", "expected"),
    [
        ("rgb", {"by": "full"}, FULL),
        ("rgb", {"by": "window", "low": 5, "high": 9.5}, Intensity("window", (5.0,) * 3, (9.5,) * 3)),
        ([7], {"by": "window", "low": 5, "high": 9.5}, Intensity("window", (5.0,), (9.5,))),
        (
            "gray",
            {"by": "percentile", "low": 1, "high": 99},
            Intensity("percentile", (0.0,), (1.0,)),
        ),  # not yet measured
    ],
)
def test_parameters_become_a_preparation(bands, form, expected):
    """Percentiles are not measured then."""
    preparation = pairs.preparation(section(bands=bands, intensity=form))

    assert expected == preparation.intensity
    assert {"rgb": "rgb", "gray": "gray"}.get(str(bands), (7,)) == preparation.bands


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fit": "tile", "height": 500, "width": 32}, r"preprocess\.height: expected a multiple of 32 with fit: tile"),
        ({"fit": "tile", "width": 40, "height": 32}, r"preprocess\.width: .*multiple of 32"),
        ({"scale": 0.001}, r"preprocess\.scale: .*0\.01"),
        ({"overlap": 0.95}, r"preprocess\.overlap: .*0\.9"),
        ({"fit": "crop"}, r"preprocess\.fit: .*'stretch', 'pad' or 'tile'"),
    ],
)
def test_sizes_that_do_not_fit_tiles_are_refused(changes, problem):
    with pytest.raises(ParameterError, match=problem):
        section(**changes)


def test_the_sides_of_whole_images_need_no_multiple():
    assert (12, 20) == (section(fit="pad").height, section(fit="pad").width)


def test_where_pixels_have_no_data_nothing_is_labelled(prepare, tmp_path: Path):
    values = gray(32, 32, 200)
    values[:10] = 255
    prepared = prepare(pictures.geotiff(values, nodata=255), pictures.geotiff(gray(32, 32, 2)), **TILE)
    ((_, _, onehot),) = prepare.rows

    assert prepared.origin.no_data
    assert not onehot[:10].any()
    assert onehot[10:].all()
