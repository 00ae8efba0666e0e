"""`data.folder.objects`: numbers of objects in files of their own, in the masks, or one mask file for each object."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segline.core.errors import DataError, PipelineError
from segline.preprocessing.image_files import png
from segline.sources import folder
from segline.sources.collecting import object_files
from tests import folders
from tests.sources.test_folder import section, sha256

HALVES = {"by": "ratio", "shares": {"train": 0.5, "val": 0.5}, "seed": 1}
ALL = {"by": "ratio", "shares": {"val": 1.0}, "seed": 1}
BOWL = {"images": "*/images/*.png", "objects": "one_file_each", "masks": "*/masks/*.png"}


def saved(path: Path, pixels: Any, dtype: Any = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    png.write_png(path, np.array(pixels, dtype))


def read(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED).tolist()


def test_object_numbers_are_copied_beside_the_masks(tmp_path):
    root = tmp_path / "mine"
    folders.pairs(root, "images/{}.png", "masks/{}.png", ["b", "a"], [0, 255])
    for number, name in enumerate("ab"):
        saved(root / f"objects/{name}.png", [[0, 300 + number]], np.uint16)
    names = {"images": "images/*.png", "masks": "masks/*.png", "objects": "objects/*.png"}
    collected = folder.collect(section(split=HALVES, **names), root, tmp_path / "raw")
    pairs = [(split, pair) for split, listed in collected.splits.items() for pair in listed]

    assert ["a", "b"] == sorted(pair.stem for _, pair in pairs)
    for split, pair in pairs:
        assert f"objects/{pair.stem}.png" == pair.objects
        assert pair.sha256_objects == sha256(root / pair.objects) == sha256(tmp_path / "raw" / split / pair.objects)


def test_number_masks_alone_are_enough(tmp_path):
    """What is above 0 is a cell: the mask is the file of numbers, which is there once."""
    root = tmp_path / "mine"
    folders.pairs(root, "images/{}.png", "labels/{}.png", ["a"], [0, 1, 2])
    names = {"images": "images/*.png", "masks": "labels/*.png", "objects": "labels/*.png"}
    collected = folder.collect(section(split=ALL, threshold=0, void=None, **names), root, tmp_path / "raw")
    (pair,) = collected.splits["val"]

    assert (0, (0, 1)) == (collected.threshold, collected.values)
    assert ("masks/a.png", pair.sha256_mask) == (pair.objects, pair.sha256_objects)
    assert ["images", "masks"] == sorted(path.name for path in (tmp_path / "raw/val").iterdir())


def test_an_image_without_object_numbers_is_named(tmp_path):
    folders.pairs(tmp_path, "images/{}.png", "masks/{}.png", ["a", "b"], [0, 255])
    saved(tmp_path / "objects/a.png", [[1]])
    names = {"images": "images/*.png", "masks": "masks/*.png", "objects": "objects/*.png"}

    with pytest.raises(DataError, match=r"no mask objects/b\.png"):
        folder.require_input(section(split=ALL, **names), tmp_path)


@pytest.fixture
def bowl(tmp_path: Path) -> Path:
    """Two images of the Data Science Bowl; the objects of the first share a pixel."""
    root = tmp_path / "stage1_train"
    for name, objects in {
        "0a": {"f": [[255, 255, 0, 0]], "e": [[0, 255, 255, 0]]},
        "1b": {"g": [[0, 0, 0, 255]]},
    }.items():
        saved(root / f"{name}/images/{name}.png", [[9, 8, 7, 6]])
        for each, pixels in objects.items():
            saved(root / f"{name}/masks/{each}.png", pixels)
    return root


def test_one_file_for_each_object_becomes_a_mask_and_a_file_of_numbers(bowl, tmp_path, capsys):
    """Numbered by their names; the later is on top. A line says so."""
    collected = folder.collect(section(split=ALL, threshold=127, void=None, **BOWL), bowl, tmp_path / "raw")
    first, second = collected.splits["val"]
    val = tmp_path / "raw/val"

    assert (None, (0, 1), "index") == (collected.threshold, collected.values, collected.encoding)
    assert ("0a/0a", "1b/1b") == (first.stem, second.stem)
    assert ([[2, 2, 1, 0]], [[1, 1, 1, 0]]) == (read(val / first.objects), read(val / first.mask))
    assert ([[0, 0, 0, 1]], [[0, 0, 0, 1]]) == (read(val / second.objects), read(val / second.mask))
    assert first.sha256_image == sha256(bowl / "0a/images/0a.png")
    assert "1 image: pixels in several object files go to the last (1 in all), such as in" in capsys.readouterr().err


def test_objects_may_lie_in_a_folder_named_like_their_image(tmp_path):
    """And lists may divide the images: a stem is that of the image."""
    root = tmp_path / "mine"
    for name in ("a", "b"):
        saved(root / f"images/{name}.png", [[1, 2]])
        saved(root / f"masks/{name}/0.png", [[255, 0]])
    (root / "val.txt").write_text("b\n", encoding="utf-8")
    form = {"by": "lists", "file": "{split}.txt", "names": ["val"]}
    names = {"images": "images/*.png", "objects": "one_file_each", "masks": "masks/*/*.png"}
    collected = folder.collect(section(split=form, threshold=0, void=None, **names), root, tmp_path / "raw")

    assert ["b"] == [pair.stem for pair in collected.splits["val"]]
    assert [[1, 0]] == read(tmp_path / "raw/val/objects/b.png")


def test_an_image_in_the_folder_of_its_objects_is_none_of_them(tmp_path):
    root = tmp_path / "mine"
    saved(root / "a/image_1.png", [[9, 9, 9]])
    saved(root / "a/object0.png", [[255, 0, 0]])
    saved(root / "a/zoom.png", [[0, 255, 0]])
    names = {"images": "*/image_*.png", "objects": "one_file_each", "masks": "*/*.png"}
    collected = folder.collect(section(split=ALL, threshold=0, void=None, **names), root, tmp_path / "raw")
    (pair,) = collected.splits["val"]

    assert [[1, 2, 0]] == read(tmp_path / "raw/val" / pair.objects)


def test_a_file_of_zeros_says_that_an_image_has_no_object(bowl, tmp_path, capsys):
    saved(bowl / "2c/images/2c.png", [[1, 2]])
    saved(bowl / "2c/masks/none.png", [[0, 0]])
    collected = folder.collect(section(split=ALL, threshold=127, void=None, **BOWL), bowl, tmp_path / "raw")
    pair = collected.splits["val"][2]

    assert [[0, 0]] == read(tmp_path / "raw/val" / pair.objects) == read(tmp_path / "raw/val" / pair.mask)
    assert "1 object file without a pixel, such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "pixels", "said"),
    [
        ("0a/masks/z.png", [[255, 0]], r"z\.png: 2x1 pixels, expected 4x1 as e\.png"),
        ("0a/images/other.png", [[1, 2, 3, 4]], r"0a/masks: 2 images beside one folder of objects: 0a/0a, 0a/other"),
        ("2c/images/2c.png", [[1, 2, 3, 4]], "no mask 2c/masks/"),
        ("2c/masks/h.png", [[1, 2, 3, 4]], "no image with the stem '2c'"),
    ],
)
def test_what_does_not_fit_is_named(bowl, tmp_path, path, pixels, said):
    saved(bowl / path, pixels)

    with pytest.raises(PipelineError, match=said):
        folder.collect(section(split=ALL, threshold=127, void=None, **BOWL), bowl, tmp_path / "raw")


def test_more_objects_than_16_bits_number_are_refused(bowl, tmp_path, monkeypatch):
    monkeypatch.setattr(object_files, "MOST", 1)

    with pytest.raises(DataError, match=r"0a/masks: 2 object files for one image, expected at most 1\. Cut"):
        folder.collect(section(split=ALL, threshold=127, void=None, **BOWL), bowl, tmp_path / "raw")


def test_an_object_file_that_leads_out_is_refused(bowl, tmp_path):
    saved(tmp_path / "outside.png", [[255, 0, 0, 0]])
    (bowl / "0a/masks/z.png").symlink_to(tmp_path / "outside.png")

    with pytest.raises(DataError, match=r"z\.png: a link that leads out of"):
        folder.collect(section(split=ALL, threshold=127, void=None, **BOWL), bowl, tmp_path / "raw")
