"""`data.source: voc`: PASCAL VOC as unpacked."""

from pathlib import Path

import pytest

from segline.core import params
from segline.core.errors import DataError, ParameterError, Problems
from segline.dataset.raw import Void
from segline.sources import voc
from tests import folders

COLOURS = [voc.colour(value) for value in range(256)]


def write(root: Path, lists: dict[str, list[str]], wanted: tuple[int, ...] = (0, 1, 15, 255)) -> Path:
    """A small VOC, with one photograph that no list names."""
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    for split, stems in lists.items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
        for stem in stems:
            folders.image(root / f"JPEGImages/{stem}.jpg")
            folders.palette(root / f"SegmentationClass/{stem}.png", wanted, COLOURS)
    folders.image(root / "JPEGImages/2007_999999.jpg")
    return root


LISTS = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033"], "trainval": ["2007_000032"]}


def section(*splits: str) -> voc.Section:
    return params.section({"data": {"voc": {"splits": list(splits)}}}, "data.voc", voc.Section)


def test_the_listed_pairs_are_collected(tmp_path):
    root = write(tmp_path / "VOC2012", LISTS)
    collected = voc.collect(section("train", "val"), root, tmp_path / "raw")

    assert {split: [pair.stem for pair in pairs] for split, pairs in collected.splits.items()} == {
        "train": ["2007_000032", "2007_000039"],
        "val": ["2007_000033"],
    }
    assert 6 == len([path for path in (tmp_path / "raw").rglob("*") if path.is_file()])
    for name in ("JPEGImages/2007_000033.jpg", "SegmentationClass/2007_000033.png"):
        kind = "images" if "JPEG" in name else "masks"
        assert (root / name).read_bytes() == (tmp_path / "raw/val" / kind / Path(name).name).read_bytes()


def test_the_class_table_is_the_published_one(tmp_path):
    """Colours as in the VOC 2012 development kit: aeroplane, person, tvmonitor, and the border."""
    collected = voc.collect(section("val"), write(tmp_path / "VOC2012", LISTS), tmp_path / "raw")
    table = {label.name: label.rgb for label in collected.classes}

    assert 21 == len(table)
    assert ["background", "aeroplane", "bicycle", "bird"] == list(table)[:4]
    assert ((0, 0, 0), (128, 0, 0), (192, 128, 128), (0, 64, 128)) == tuple(
        table[name] for name in ("background", "aeroplane", "person", "tvmonitor")
    )
    assert (tuple(range(21)), Void(255, (224, 224, 192)), "index") == (
        collected.values,
        collected.void,
        collected.encoding,
    )


def test_all_colours_differ():
    assert 256 == len(set(COLOURS))


def test_a_listed_file_that_is_missing_names_the_line(tmp_path):
    root = write(tmp_path / "VOC2012", LISTS)
    (root / "SegmentationClass/2007_000039.png").unlink()

    with pytest.raises(DataError, match=r"train.txt: line 2: no mask SegmentationClass/2007_000039.png"):
        voc.collect(section("train"), root, tmp_path / "raw")


def test_a_listed_file_that_is_missing_is_found_out_before_anything_runs(tmp_path):
    root = write(tmp_path / "VOC2012", LISTS)
    (root / "JPEGImages/2007_000033.jpg").unlink()

    assert voc.require_input(section("train"), root) is None
    with pytest.raises(DataError, match=r"val.txt: line 1: no image JPEGImages/2007_000033.jpg"):
        voc.require_input(section("train", "val"), root)


@pytest.mark.parametrize("place", [".", "VOCdevkit", "nowhere"])
def test_a_folder_above_voc_is_no_voc(tmp_path, place):
    write(tmp_path / "VOCdevkit/VOC2012", LISTS)

    with pytest.raises(ParameterError, match=r"data.input: no such folder: .*\(VOCdevkit/VOC2012\)"):
        voc.require_input(section("val"), tmp_path / place)


def test_a_split_without_a_list_is_told(tmp_path):
    root = write(tmp_path / "VOC2012", LISTS)

    with pytest.raises(DataError, match=r"test.txt: no such list"):
        voc.collect(section("val", "test"), root, tmp_path / "raw")


@pytest.mark.parametrize("splits", [[], ["train", "train"], ["trainval"]])
def test_splits_are_known_and_stand_once(splits):
    with pytest.raises((ParameterError, Problems), match=r"data.voc.splits"):
        section(*splits)
