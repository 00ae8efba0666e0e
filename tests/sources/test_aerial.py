"""The drawn aerial views: the same bytes everywhere, every class in every scene, GeoTIFF that others can place."""

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from pydantic import ValidationError

from segline.core.errors import ParameterError
from segline.dataset import raw
from segline.dataset.raw import Dataset
from segline.sources import aerial
from segline.sources.aerial import Kind
from tests.sources.test_synthetic import OLDER_CPU

CODE = Path(aerial.__file__)
SMALL = {"seed": 3, "size": 320, "train": 2, "val": 1, "test": 1}


def collect(folder: Path, **changes: int) -> Dataset:
    return aerial.collect(aerial.Section(**(SMALL | changes)), CODE, folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.tif"))}


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return np.moveaxis(file.read(), 0, -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aerial")


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Dataset:
    return collect(folder)


def test_the_same_seed_gives_the_same_bytes_and_the_same_index(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    assert drawn == collect(tmp_path)
    assert files(folder) == files(tmp_path)


def test_another_seed_gives_other_files(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    collect(tmp_path, seed=4)

    here, there = files(folder), files(tmp_path)
    assert here.keys() == there.keys()
    assert not [name for name in here if here[name] == there[name]]


def test_more_scenes_of_one_split_change_no_other_file(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    collect(tmp_path, train=3)

    before, after = files(folder), files(tmp_path)
    assert before == {name: after[name] for name in before}
    assert len(before) + 2 == len(after)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_cpu(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    """A process that may not use the newer instructions, nor IPP, writes the same files."""
    program = (
        "import sys; from pathlib import Path; from segline.sources import aerial as s;"
        f"s.collect(s.Section(**{SMALL}), Path({str(CODE)!r}), Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env={**os.environ, **OLDER_CPU}, check=True, timeout=120
    )

    assert files(folder) == files(tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_every_scene_shows_every_class_even_the_smallest(seed: int) -> None:
    image, mask = aerial.scene(np.random.default_rng(seed), 256)

    assert ((256, 256, 3), np.uint8) == (image.shape, image.dtype)
    assert set(Kind) == set(np.unique(mask).tolist())


@pytest.mark.slow
def test_classes_are_as_common_as_from_a_plane() -> None:
    """Bounds in percent. Cars are rare."""
    mask = np.concatenate([aerial.scene(np.random.default_rng(seed), 2000)[1] for seed in range(4)])
    shares = dict(zip(Kind, 100 * np.bincount(mask.ravel()) / mask.size, strict=True))

    bounds = [(Kind.FIELD, 40, 65), (Kind.PAVED, 15, 30), (Kind.BUILDING, 4, 12), (Kind.TREE, 5, 30)]
    for kind, low, high in [*bounds, (Kind.CAR, 1, 3), (Kind.WATER, 1, 6)]:
        assert low < shares[kind] < high


def test_a_car_alone_is_six_by_twelve_pixels() -> None:
    """The usual area of what is connected, though some cars touch and some are half under a tree."""
    _, mask = aerial.scene(np.random.default_rng(1), 1000)
    _, _, stats, _ = cv2.connectedComponentsWithStats((mask == Kind.CAR).astype(np.uint8), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]

    assert 100 < len(areas)
    assert 60 < np.median(areas) < 110


def test_a_shadow_is_darker_than_the_same_ground_in_the_sun() -> None:
    """A single hall on paved ground: on one side of it, the ground is darker than on the other."""
    view = aerial._View(np.random.default_rng(2), 256)
    view.cos, view.sin, view.sun = 1.0, 0.0, (0.7, 0.7)
    view.fill((-128, -128, 128, 128), (140, 140, 140), Kind.PAVED)
    view.fill((-20, -20, 20, 20), (180, 180, 180), Kind.BUILDING, 20)
    seen = view.seen()

    assert seen[150:154, 150:154].mean() < 0.8 * seen[100:104, 100:104].mean()
    assert Kind.PAVED == view.mask[152, 152]


def test_files_are_what_the_index_says(folder: Path, drawn: Dataset) -> None:
    """Hashes, sizes, types and values; no file without a pair."""
    named = set()
    for split, pairs in drawn.splits.items():
        assert SMALL[split] == len(pairs)
        for pair in pairs:
            image, mask = (folder / split / path for path in (pair.image, pair.mask))
            assert pair.stem == pair.group == image.stem == mask.stem
            assert pair.sha256_image == hashlib.sha256(image.read_bytes()).hexdigest()
            assert pair.sha256_mask == hashlib.sha256(mask.read_bytes()).hexdigest()
            assert ((320, 320, 3), np.uint8) == (pixels(image).shape, pixels(image).dtype)
            assert ((320, 320, 1), np.uint8) == (pixels(mask).shape, pixels(mask).dtype)
            assert pixels(mask).max() == Kind.WATER
            named |= {str(path.relative_to(folder)) for path in (image, mask)}

    assert set(files(folder)) == named


def test_files_hold_rgb_and_not_bgr(folder: Path, drawn: Dataset) -> None:
    """Trees are more green than red, and more red than blue."""
    image, mask = (
        pixels(folder / "test" / path) for path in (drawn.splits["test"][0].image, drawn.splits["test"][0].mask)
    )
    red, green, blue = image[mask[..., 0] == Kind.TREE].astype(int).sum(axis=0)

    assert green > red > blue


def test_a_scene_is_a_tiled_geotiff_and_its_mask_lies_where_it_lies(folder: Path, drawn: Dataset) -> None:
    for split, pairs in drawn.splits.items():
        for pair in pairs:
            with rasterio.open(folder / split / pair.image) as image, rasterio.open(folder / split / pair.mask) as mask:
                assert ("EPSG:32633", (0.35, 0.35)) == (image.crs.to_string(), image.res)
                assert [(256, 256)] * 3 == image.block_shapes
                assert "deflate" == image.compression.value.lower()
                assert (image.crs, image.transform) == (mask.crs, mask.transform)


def test_no_two_scenes_lie_on_top_of_each_other(folder: Path, drawn: Dataset) -> None:
    bounds = []
    for path in sorted(folder.rglob("images/*.tif")):
        with rasterio.open(path) as file:
            bounds.append(file.bounds)

    for one, other in pairwise(sorted(bounds)):
        assert one.right <= other.left or one.bottom >= other.top or one.top <= other.bottom


def test_the_index_survives_the_disk(folder: Path, drawn: Dataset) -> None:
    raw.write(folder, drawn)

    assert drawn.splits["train"] == raw.read(folder).splits["train"]
    assert drawn.classes == raw.read(folder).classes


def test_another_input_than_its_own_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"data\.input: expected segline/sources/aerial\.py, the code that draws"):
        aerial.collect(aerial.Section(**SMALL), CODE.with_name("cells.py"), tmp_path)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("key", "value"), [("train", 0), ("val", 0), ("test", -1), ("size", 255), ("seed", -1)])
def test_values_that_cannot_be_drawn_are_refused(key: str, value: int) -> None:
    with pytest.raises(ValidationError, match=key):
        aerial.Section(**(SMALL | {key: value}))
