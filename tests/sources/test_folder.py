"""`data.source: folder`: a user's images and masks become a data set without a line of code."""

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline.commands import check
from segline.core import params
from segline.core.errors import ParameterError, PipelineError, Problems
from segline.dataset import raw
from segline.dataset.raw import Dataset, Label, Pair, Void
from segline.sources import folder
from tests import folders

ROOT = Path(folder.__file__).parents[2]
INDEX: dict[str, Any] = {
    "images": "images/{split}/*.*",
    "objects": None,
    "masks": "masks/{split}/*.png",
    "split": {"by": "folder", "names": ["train", "val"]},
    "group": "",
    "encoding": "index",
    "threshold": None,
    "classes": [{"name": "ground", "value": 0, "rgb": [0, 0, 0]}, {"name": "cell", "value": 255, "rgb": [1, 2, 3]}],
    "void": {"value": 9, "rgb": [4, 5, 6]},
}
COLOURS: dict[str, Any] = {
    "encoding": "rgb",
    "classes": [{"name": "ground", "rgb": [0, 0, 0]}, {"name": "cell", "rgb": [1, 2, 3]}],
    "void": {"rgb": [255, 255, 255]},
}


def section(**changes: Any) -> folder.Section:
    return params.section({"data": {"folder": {**INDEX, **changes}}}, "data.folder", folder.Section)


@pytest.fixture
def mine(tmp_path):
    """Two splits, with photographs as JPEG and PNG."""
    root = tmp_path / "my cells"
    folders.pairs(root, "images/train/{}.jpg", "masks/train/{}.png", ["v1_2", "v1_1"], [0, 255])
    folders.pairs(root, "images/val/{}.png", "masks/val/{}.png", ["v2_1"], [0, 255, 9])
    return root


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_data_set_is_what_the_section_says_and_the_files_are_copies(mine, tmp_path):
    collected = folder.collect(section(group=r"(.+)_\d+"), mine, tmp_path / "raw")
    pairs = {
        split: [
            Pair(
                stem,
                stem[:2],
                f"images/{stem}{extension}",
                f"masks/{stem}.png",
                sha256(mine / "images" / split / f"{stem}{extension}"),
                sha256(mine / "masks" / split / f"{stem}.png"),
            )
            for stem in stems
        ]
        for split, stems, extension in (("train", ["v1_1", "v1_2"], ".jpg"), ("val", ["v2_1"], ".png"))
    }

    assert collected == Dataset(
        name="my cells",
        classes=(Label("ground", (0, 0, 0)), Label("cell", (1, 2, 3))),
        values=(0, 255),
        void=Void(9, (4, 5, 6)),
        encoding="index",
        splits=pairs,
    )
    for split, listed in pairs.items():
        for pair in listed:
            assert pair.sha256_image == sha256(tmp_path / "raw" / split / pair.image)
            assert pair.sha256_mask == sha256(tmp_path / "raw" / split / pair.mask)


def test_equal_names_in_different_folders_stay_apart(tmp_path):
    root = tmp_path / "mine"
    folders.pairs(root, "images/train/{}.jpg", "masks/train/{}_gt.png", ["a/1", "b/1"])
    folders.pairs(root, "images/val/{}.jpg", "masks/val/{}_gt.png", ["c/1"])
    patterns = {"images": "images/{split}/*/*.jpg", "masks": "masks/{split}/*/*_gt.png"}
    collected = folder.collect(section(**patterns, group="(.+)/.+"), root, tmp_path / "raw")

    assert [
        ("a/1", "a", "images/a/1.jpg", "masks/a/1_gt.png"),
        ("b/1", "b", "images/b/1.jpg", "masks/b/1_gt.png"),
    ] == [(pair.stem, pair.group, pair.image, pair.mask) for pair in collected.splits["train"]]
    for pair in collected.splits["train"]:
        assert pair.sha256_image == sha256(tmp_path / "raw/train" / pair.image)


def test_what_was_collected_can_be_written_and_read(mine, tmp_path):
    collected = folder.collect(section(), mine, tmp_path / "raw")
    raw.write(tmp_path / "raw", collected)

    assert collected == raw.read(tmp_path / "raw")


def test_colours_are_the_values_of_colour_coded_masks(mine, tmp_path):
    collected = folder.collect(section(**COLOURS), mine, tmp_path / "raw")

    assert ((0, 0x010203), Void(0xFFFFFF, (255, 255, 255)), "rgb") == (
        collected.values,
        collected.void,
        collected.encoding,
    )


def test_colours_may_be_those_of_palettes(mine, tmp_path):
    collected = folder.collect(section(**COLOURS | {"encoding": "palette"}), mine, tmp_path / "raw")

    assert ((0, 0x010203), "palette") == (collected.values, collected.encoding)


def test_with_a_threshold_the_mask_values_are_those_of_two_sides(mine, tmp_path):
    collected = folder.collect(section(threshold=127, void=None), mine, tmp_path / "raw")

    assert ((0, 1), 127) == (collected.values, collected.threshold)


def test_there_may_be_no_void(mine, tmp_path):
    assert folder.collect(section(void=None), mine, tmp_path / "raw").void is None


def test_image_files_of_other_formats_are_told_and_left_out(mine, tmp_path, capsys):
    for name in ("images/train/a.jp2", "images/train/b.heic"):
        (mine / name).touch()
    collected = folder.collect(section(), mine, tmp_path / "raw")

    assert ["v1_1", "v1_2"] == [pair.stem for pair in collected.splits["train"]]
    assert f"warning: {mine}: image files in unsupported formats are ignored: 1 x .heic, 1 x .jp2." in (
        capsys.readouterr().err
    )


def test_problems_of_all_splits_come_together_and_nothing_is_written(mine, tmp_path):
    (mine / "images/train/v1_1.jpg").unlink()
    (mine / "masks/val/v2_1.png").unlink()
    folders.pairs(mine, "images/val/{}.png", "masks/val/{}.png", ["v3_1"])

    with pytest.raises(Problems) as caught:
        folder.collect(section(), mine, tmp_path / "raw")

    assert str(caught.value).replace(f"{mine}/", "").splitlines()[1:] == [
        "  masks/train/v1_1.png: no image images/train/v1_1.*. Add it, or take 'v1_1' out.",
        "  images/val/v2_1.png: no mask masks/val/v2_1.png. Add it, or take 'v2_1' out.",
    ]
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ({"by": "folder", "names": ["train", "val"]}, ["train", "val"]),
        ({"by": "lists", "names": ["b", "a"], "file": "{split}.txt"}, ["b", "a"]),
        ({"by": "ratio", "shares": {"train": 0.5, "val": 0.5}, "seed": 1}, ["train", "val"]),
    ],
)
def test_the_splits_are_known_before_anything_is_read(form, names):
    patterns = {} if form["by"] == "folder" else {"images": "i/*.png", "masks": "m/*.png"}

    assert names == folder.splits(section(split=form, **patterns))


RATIO = {"by": "ratio", "shares": {"train": 1.0}, "seed": 1}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": "images/*.png"}, "data.folder.images: expected {split} in it with by: folder"),
        ({"split": RATIO}, "data.folder.masks: expected no {split} in it with by: ratio"),
        ({"images": "../{split}/*.png"}, "data.folder.images: expected a path below data.input"),
        ({"masks": "{split}/*.heic"}, "data.folder.masks: expected one * (the stem)"),
        (
            {"masks": INDEX["images"]},
            "data.folder.masks: expected a different pattern from that of the images",
        ),
        (
            {"images": "images/{split}/*/*.*"},
            "data.folder.masks: expected 2 * before the extension, as in images: they stand for the same in both",
        ),
        ({"group": "("}, "data.folder.group: not a regular expression"),
        ({"encoding": "colour"}, "data.folder.encoding: input should be 'index', 'rgb' or 'palette'"),
        ({"classes": []}, "data.folder.classes: value should have at least 1 item"),
        ({"classes": 3}, "data.folder.classes: input should be a valid list"),
        ({"classes": [{"name": "a", "value": 0}]}, "data.folder.classes.0.rgb: missing"),
        ({"classes": [{"name": "a", "rgb": [0, 0, 0]}]}, "data.folder.classes.0.value: missing"),
        ({"classes": [{"name": "a", "value": 65536, "rgb": [0, 0, 0]}]}, "classes.0.value: input should be less than"),
        ({"classes": [{"name": "a", "value": 1, "rgb": [0, 0, 256]}]}, "classes.0.rgb.2: input should be less than"),
        ({"classes": [{"name": "a", "value": 1, "rgb": [0, 0]}]}, "classes.0.rgb: list should have at least 3 items"),
        ({"classes": [{"name": " a", "value": 1, "rgb": [0, 0, 0]}]}, "expected a name of printable characters"),
        ({"classes": INDEX["classes"] * 2}, "data.folder.classes: duplicate 'ground'"),
        (
            {"classes": [{"name": name, "value": 1, "rgb": [0, 0, 0]} for name in "ab"]},
            "data.folder.classes: 'a' and 'b' are the same in masks",
        ),
        (
            {"void": {"value": 255, "rgb": [9, 9, 9]}},
            "data.folder.void: the same as class 'cell' in masks",
        ),
        ({"void": {"rgb": [9, 9, 9]}}, "data.folder.void.value: missing"),
        (COLOURS | {"classes": INDEX["classes"]}, "data.folder.classes.0.value: unknown key. Remove it."),
        (COLOURS | {"void": {"rgb": [1, 2, 3]}}, "data.folder.void: the same as class 'cell' in masks"),
        ({"extra": 1}, "data.folder.extra: unknown key"),
        (
            {"objects": "images/{split}/*.*"},
            "data.folder.objects: expected a different pattern from that of the images",
        ),
        (
            {"objects": "objects/{split}/*/*.png"},
            "data.folder.objects: expected 1 * before the extension, as in images",
        ),
        ({"objects": "objects/*.png"}, "data.folder.objects: expected {split} in it with by: folder"),
        ({"objects": "one_file_each"}, "data.folder.masks: expected 2 * before the extension, the last for the object"),
        (
            {"objects": "one_file_each", "masks": "masks/{split}/*/*.png"},
            "data.folder.threshold: expected a number, as each mask is one object",
        ),
        (
            {"objects": "one_file_each", "masks": "masks/*/{split}*.png"},
            "data.folder.masks: expected {split} in the name of a folder, with one_file_each",
        ),
        ({"threshold": 0.5, "void": None}, "data.folder.threshold: input should be a valid integer"),
        ({"threshold": -1, "void": None}, "data.folder.threshold: input should be greater than or equal to 0"),
        ({"threshold": 127}, "data.folder.void: expected null, as the threshold gives each pixel a class"),
        (COLOURS | {"threshold": 127}, "data.folder.threshold: expected null, as only encoding: index has"),
        (
            {"threshold": 127, "void": None, "classes": INDEX["classes"][:1]},
            "data.folder.classes: 1 classes, expected two, as there is a threshold",
        ),
        (
            {"threshold": 255, "void": None},
            "data.folder.classes: values 0 and 255, expected one of at most the threshold 255, and then one above it",
        ),
    ],
)
def test_what_cannot_be_is_named_by_its_key(changes, expected):
    with pytest.raises(PipelineError) as caught:
        section(**copy.deepcopy(changes))

    assert expected in str(caught.value)
    assert all(len(line) < 300 for line in str(caught.value).splitlines())


@pytest.mark.parametrize("key", INDEX)
def test_every_key_is_required(key):
    with pytest.raises(PipelineError, match=rf"f.{key}: missing"):
        params.section({"f": {k: v for k, v in INDEX.items() if k != key}}, "f", folder.Section)


def test_a_folder_that_is_not_there_is_found_out_before_anything_runs(monkeypatch):
    """The presets `folder` and `voc` are templates: what is missing is the user's own data."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEGLINE_FORCE_BFLOAT16", "1")
    for name, place in (("folder", "data/source/mine"), ("voc", "data/source/VOC2012")):
        (problem,) = check.on_this_machine(ROOT / f"presets/{name}.yaml")

        assert str(problem).startswith(f"params.yaml: data.input: no such folder: {place}. ")


def test_what_is_missing_in_a_folder_is_found_out_before_anything_runs(mine, tmp_path, monkeypatch):
    """By names alone: the files are empty."""
    for path in mine.rglob("*.*"):
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    document = params.load(ROOT / "presets/folder.yaml")
    document["data"] = {"source": "folder", "input": "my cells", "folder": INDEX}
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    complete = check.on_this_machine()
    (mine / "masks/train/v1_1.png").unlink()
    (mine / "masks/val/v2_1.png").unlink()
    problems = check.on_this_machine()

    assert [] == complete
    assert [
        "my cells/images/train/v1_1.jpg: no mask masks/train/v1_1.png. Add it, or take 'v1_1' out.",
        "my cells: 1 images match images/val/*.* and 0 masks match masks/val/*.png, none with the same stem (v2_1). "
        "Fix the patterns: * is the part that an image and its mask have in common.",
    ] == [str(problem) for problem in problems]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ParameterError, match=r"data.input: no such folder"):
        folder.collect(section(), tmp_path / "file", tmp_path / "raw")
