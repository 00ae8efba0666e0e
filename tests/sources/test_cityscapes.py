"""`data.source: cityscapes`: the published layout, 19 of its labels as classes, and numbers for their objects."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.core import params
from segline.core.errors import DataError, ParameterError, Problems
from segline.dataset.raw import Void
from segline.sources import cityscapes

VIEWS = {
    "train": ["aachen/aachen_000000_000019", "bochum/bochum_000000_000313"],
    "val": ["lindau/lindau_000000_000019"],
}
# Ego vehicle and road above; two cars, a group of cars, and a caravan, which is void, below.
IDS = np.array([[1, 1, 7, 7, 7, 7], [26, 26, 26, 26, 26, 29]], np.uint8)
INSTANCES = np.array([[1, 1, 7, 7, 7, 7], [26003, 26003, 26000, 26, 26000, 29000]], np.uint16)


def png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write(root: Path, views: dict[str, list[str]] = VIEWS) -> Path:
    """A small Cityscapes, with the files beside the labels that the published one has."""
    for split, stems in views.items():
        for stem in stems:
            picture = np.random.default_rng([*stem.encode()]).integers(0, 256, (*IDS.shape, 3), np.uint8)
            png(root / f"leftImg8bit/{split}/{stem}_leftImg8bit.png", picture)
            png(root / f"gtFine/{split}/{stem}_gtFine_labelIds.png", IDS)
            png(root / f"gtFine/{split}/{stem}_gtFine_instanceIds.png", INSTANCES)
            png(root / f"gtFine/{split}/{stem}_gtFine_color.png", picture)
            (root / f"gtFine/{split}/{stem}_gtFine_polygons.json").write_text("{}")
    return root


def section(*splits: str) -> cityscapes.Section:
    return params.section({"d": {"splits": list(splits)}}, "d", cityscapes.Section)


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_each_view_is_a_pair_with_its_city_as_group(tmp_path):
    root = write(tmp_path / "cityscapes")
    collected = cityscapes.collect(section("train", "val"), root, tmp_path / "raw")

    assert {split: [(pair.stem, pair.group) for pair in pairs] for split, pairs in collected.splits.items()} == {
        "train": [(VIEWS["train"][0], "aachen"), (VIEWS["train"][1], "bochum")],
        "val": [(VIEWS["val"][0], "lindau")],
    }
    (pair,) = collected.splits["val"]
    published = root / f"leftImg8bit/val/{VIEWS['val'][0]}_leftImg8bit.png"
    assert published.read_bytes() == (tmp_path / "raw/val" / pair.image).read_bytes()


def test_masks_hold_class_numbers_and_void(tmp_path):
    collected = cityscapes.collect(section("val"), write(tmp_path / "cityscapes"), tmp_path / "raw")
    (pair,) = collected.splits["val"]

    assert [[255, 255, 0, 0, 0, 0], [13, 13, 13, 13, 13, 255]] == read(tmp_path / "raw/val" / pair.mask).tolist()


def test_objects_of_classes_are_numbered_from_1_and_groups_and_void_are_none(tmp_path):
    collected = cityscapes.collect(section("val"), write(tmp_path / "cityscapes"), tmp_path / "raw")
    (pair,) = collected.splits["val"]

    assert [[0] * 6, [2, 2, 1, 0, 1, 0]] == read(tmp_path / "raw/val" / str(pair.objects)).tolist()


def test_the_class_table_is_the_published_one(tmp_path):
    """Train ids 0, 8, 11, 18 and the colours of `labels.py`."""
    described = cityscapes.describe(section("val"), tmp_path)
    table = [(label.name, label.rgb) for label in described.classes]

    assert 19 == len(set(table)) == len({rgb for _, rgb in table})
    assert [("road", (128, 64, 128)), ("vegetation", (107, 142, 35)), ("person", (220, 20, 60))] == [
        table[place] for place in (0, 8, 11)
    ]
    assert ("bicycle", (119, 11, 32)) == table[18]
    assert (tuple(range(19)), Void(255, (0, 0, 0))) == (described.values, described.void)


def test_without_instance_ids_the_objects_are_unknown_and_that_is_told(tmp_path, capsys):
    root = write(tmp_path / "cityscapes")
    (root / f"gtFine/val/{VIEWS['val'][0]}_gtFine_instanceIds.png").unlink()
    collected = cityscapes.collect(section("train", "val"), root, tmp_path / "raw")

    assert [(None, None)] == [(pair.objects, pair.sha256_objects) for pair in collected.splits["val"]]
    assert not (tmp_path / "raw/val/objects").exists()
    assert "1 of 3 images have no gtFine_instanceIds.png: their objects have no numbers" in capsys.readouterr().err


def test_a_split_with_withheld_labels_is_told(tmp_path, capsys):
    root = write(tmp_path / "cityscapes", {"test": ["berlin/berlin_000000_000019"]})
    for kind in ("labelIds", "instanceIds"):
        png(root / f"gtFine/test/berlin/berlin_000000_000019_gtFine_{kind}.png", np.ones_like(IDS))
    cityscapes.collect(section("test"), root, tmp_path / "raw")

    assert "split test has no labelled pixel: Cityscapes keeps those of test" in capsys.readouterr().err


def test_a_view_without_labels_is_found_out_before_anything_is_read(tmp_path):
    root = write(tmp_path / "cityscapes")
    (root / f"gtFine/train/{VIEWS['train'][1]}_gtFine_labelIds.png").unlink()

    assert cityscapes.require_input(section("val"), root) is None
    with pytest.raises(DataError, match=r"no mask gtFine/train/bochum/bochum_000000_000313_gtFine_labelIds.png"):
        cityscapes.require_input(section("train"), root)


@pytest.mark.parametrize(
    ("kind", "pixels", "expected"),
    [
        ("labelIds", IDS + 100, "labelIds.png: the value 129, expected label ids from 0 to 33. Take"),
        ("instanceIds", INSTANCES[:, :3], "instanceIds.png: 3x2 pixels, expected 6x2 as labelIds has"),
        ("instanceIds", INSTANCES * 0 + 7, "instanceIds.png: instance id 7 at (x, y) = (0, 0), where labelIds has 1"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, kind, pixels, expected):
    root = write(tmp_path / "cityscapes")
    png(root / f"gtFine/val/{VIEWS['val'][0]}_gtFine_{kind}.png", pixels)

    with pytest.raises(DataError) as caught:
        cityscapes.collect(section("val"), root, tmp_path / "raw")

    assert expected in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    root = write(tmp_path / "cityscapes")
    path = root / f"gtFine/val/{VIEWS['val'][0]}_gtFine_instanceIds.png"
    path.rename(tmp_path / "secret.png")
    path.symlink_to(tmp_path / "secret.png")

    with pytest.raises(DataError, match="a link that leads out of"):
        cityscapes.require_input(section("val"), root)


@pytest.mark.parametrize("missing", ["leftImg8bit", "gtFine", "nowhere"])
def test_a_folder_without_both_parts_is_no_cityscapes(tmp_path, missing):
    root = write(tmp_path / "cityscapes")
    if missing == "nowhere":
        root = tmp_path / "nowhere"
    else:
        (root / missing).rename(tmp_path / "elsewhere")

    with pytest.raises(ParameterError, match=r"data.input: no such folder: .*Unpack leftImg8bit_trainvaltest.zip"):
        cityscapes.require_input(section("val"), root)


@pytest.mark.parametrize("splits", [[], ["train", "train"], ["trainval"]])
def test_splits_are_known_and_stand_once(splits):
    with pytest.raises((ParameterError, Problems), match=r"d.splits"):
        section(*splits)
