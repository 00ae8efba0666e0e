"""The drawn cells: the same bytes everywhere, few of the camera's grey levels in use, each cell numbered."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from segline.core.errors import ParameterError
from segline.dataset import raw
from segline.dataset.raw import Dataset
from segline.sources import cells
from tests.sources.test_synthetic import OLDER_CPU

CODE = Path(cells.__file__)
SMALL = {"seed": 5, "height": 192, "width": 256, "train": 4, "val": 1, "test": 2}
KINDS = ("images", "masks", "objects")


def collect(folder: Path, **changes: int) -> Dataset:
    return cells.collect(cells.Section(**(SMALL | changes)), CODE, folder)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Dataset:
    return collect(folder)


@pytest.fixture(scope="module")
def views(folder: Path, drawn: Dataset) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Image, mask and object numbers of every pair, as read from its files."""
    return [
        tuple(cv2.imread(str(folder / split / path), cv2.IMREAD_UNCHANGED) for path in (p.image, p.mask, p.objects))
        for split, pairs in drawn.splits.items()
        for p in pairs
    ]


def test_the_same_seed_gives_the_same_bytes_and_the_same_index(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    assert drawn == collect(tmp_path)
    assert files(folder) == files(tmp_path)


def test_another_seed_gives_other_files(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    collect(tmp_path, seed=6)

    here, there = files(folder), files(tmp_path)
    assert here.keys() == there.keys()
    assert not [name for name in here if here[name] == there[name]]


def test_more_images_of_one_split_change_no_other_file(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    collect(tmp_path, val=2)

    before, after = files(folder), files(tmp_path)
    assert before == {name: after[name] for name in before}
    assert len(before) + 3 == len(after)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_cpu(folder: Path, drawn: Dataset, tmp_path: Path) -> None:
    """A process that may not use the newer instructions, nor IPP, writes the same files."""
    program = (
        "import sys; from pathlib import Path; from segline.sources import cells as s;"
        f"s.collect(s.Section(**{SMALL}), Path({str(CODE)!r}), Path(sys.argv[1]))"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env={**os.environ, **OLDER_CPU}, check=True, timeout=120
    )

    assert files(folder) == files(tmp_path)


def test_files_are_what_the_index_says(folder: Path, drawn: Dataset) -> None:
    """Names and hashes; no file without a pair."""
    named = set()
    for split, pairs in drawn.splits.items():
        assert SMALL[split] == len(pairs)
        for pair in pairs:
            paths = [folder / split / path for path in (pair.image, pair.mask, pair.objects)]
            hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
            assert {pair.stem} == {pair.group} | {path.stem for path in paths}
            assert [pair.sha256_image, pair.sha256_mask, pair.sha256_objects] == hashes
            named |= {str(path.relative_to(folder)) for path in paths}

    assert set(files(folder)) == named


def test_an_image_has_twelve_bits_in_sixteen_and_uses_a_small_part_of_them(views) -> None:
    """Dirt reaches the end of the range: its maximum is no guide. v / 257 leaves next to nothing."""
    for image, _, _ in views:
        low, high = np.percentile(image, [0.5, 99.5])
        assert ((192, 256), np.uint16) == (image.shape, image.dtype)
        assert image.max() <= cells.BRIGHTEST
        assert high - low < 1000
        assert len(np.unique(np.rint(np.clip(image, low, high) / 257))) < 6
    assert max(image.max() for image, _, _ in views) > 3000


def test_a_mask_is_white_exactly_where_an_object_is(views) -> None:
    for _, mask, objects in views:
        assert (np.uint8, np.uint16) == (mask.dtype, objects.dtype)
        assert {0, 255} == set(np.unique(mask).tolist())
        assert np.array_equal(mask == 255, objects > 0)


def test_objects_are_numbered_from_one_without_gaps(views) -> None:
    for _, _, objects in views:
        assert list(range(objects.max() + 1)) == np.unique(objects).tolist()
        assert objects.max() > 20


def test_an_image_full_of_cells_has_no_object_zero(monkeypatch) -> None:
    monkeypatch.setattr(cells, "_cell", lambda *_: np.full((301, 301), 8, np.uint8))
    monkeypatch.setattr(cells, "_beyond", lambda _: 150)
    _, objects = cells._view(np.random.default_rng(0), 64, 64)

    assert [1] == np.unique(objects).tolist()


def test_every_cell_keeps_most_of_its_pixels(views) -> None:
    """Cells overlap, but none is a fragment: its pixels are most of a box around its largest piece."""
    for _, _, objects in views:
        for number in range(1, objects.max() + 1):
            _, _, facts, _ = cv2.connectedComponentsWithStats((objects == number).astype(np.uint8))
            left, top, width, height, area = facts[1:][facts[1:, 4].argmax()]
            at_edge = min(left, top) == 0 or left + width == objects.shape[1] or top + height == objects.shape[0]
            assert at_edge or area > 0.4 * width * height


def test_cells_touch(views) -> None:
    """In every image, pixels side by side belong to different cells."""
    for _, _, objects in views:
        left, right = objects[:, :-1], objects[:, 1:]
        assert ((left != right) & (left > 0) & (right > 0)).sum() > 20


def test_cells_come_in_several_sizes(views) -> None:
    areas = np.concatenate([np.bincount(objects.ravel())[1:] for _, _, objects in views])

    small, large = np.percentile(areas, [10, 90])
    assert small > 10
    assert large > 5 * small


def test_cells_are_brighter_than_what_is_around_them_but_no_one_value_parts_them(views) -> None:
    """The light is uneven, within an image and from one to the next: dim cells are as dark as bright background."""
    for image, mask, _ in views:
        assert np.median(image[mask == 255]) > 1.1 * np.median(image[mask == 0])
    cell, background = (np.concatenate([image[mask == value] for image, mask, _ in views]) for value in (255, 0))
    overlaps = [max((cell <= t).mean(), (background > t).mean()) for t in range(cells.DARK, 1000)]

    assert min(overlaps) > 0.12


def test_light_falls_off_from_one_place() -> None:
    """By hand: on a 64 x 64 image, the brightest pixel is the lamp's place, and a corner far from it is dark."""
    lamp = cells._lamp(np.random.default_rng(1), 64, 64)
    top, left = np.unravel_index(lamp.argmax(), lamp.shape)

    for line in (lamp[top, left:], lamp[top, left::-1], lamp[top:, left], lamp[top::-1, left]):
        assert (np.diff(line) <= 0).all()
    assert lamp.min() < 0.8 * lamp.max()
    assert lamp.min() > 0


def test_softening_is_the_mean_of_nine_pixels() -> None:
    light = np.random.default_rng(0).integers(0, 4000, (7, 9))
    expected = [
        [np.pad(light, 1, mode="edge")[y : y + 3, x : x + 3].sum() // 9 for x in range(9)] for y in range(7)
    ]  # fmt: skip

    assert np.array_equal(expected, cells._softened(light))


def test_object_numbers_survive_the_disk(folder: Path, drawn: Dataset) -> None:
    raw.write(folder, drawn)
    (folder / raw.DATASET_FILE).rename(folder.parent / raw.DATASET_FILE)

    assert drawn.splits["train"] == raw.read(folder.parent).splits["train"]
    assert drawn.values == raw.read(folder.parent).values


def test_another_input_than_its_own_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"data\.input: expected segline/sources/cells\.py, the code that draws"):
        cells.collect(cells.Section(**SMALL), CODE.with_name("aerial.py"), tmp_path)

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "value"), [("train", 0), ("val", 0), ("test", -1), ("height", 63), ("width", 5000), ("seed", -1)]
)
def test_values_that_cannot_be_drawn_are_refused(key: str, value: int) -> None:
    with pytest.raises(ValidationError, match=key):
        cells.Section(**(SMALL | {key: value}))
