"""Every known layout: what `segline inspect` writes for it is valid unchanged and runs through the stages."""

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from segline.commands import check, inspect_folder, inspect_layouts
from segline.core import params
from segline.dataset import processed, raw
from segline.sources.collecting import splitting
from segline.sources.collecting.listing import Entry
from stages import download, preprocess
from tests import folders
from tests.sources import test_voc

ROOT = Path(__file__).parents[2]


def listed(root: Path) -> None:
    """VOC's layout with other classes."""
    test_voc.write(root, {"train": ["a", "b"], "val": ["c"], "test": ["d"]}, wanted=(0, 1, 40))


def retina(root: Path) -> None:
    """Images as TIFF, masks as GIF, as DRIVE has them."""
    folders.by_split("{split}/images/{}.tif", "{split}/masks/{}_mask.png")(root)
    for path in root.rglob("*_mask.png"):
        Image.open(path).save(path.with_suffix(".gif"))
        path.unlink()


# Layout: what builds it, and what the section must say of patterns, splits, encoding, mask values and void.
LAYOUTS: dict[str, tuple[folders.Builder, dict[str, object]]] = {
    "split folders below": (
        folders.by_split("images/{split}/{}.png", "masks/{split}/{}.png"),
        {"images": "images/{split}/*.png", "masks": "masks/{split}/*.png", "values": [0, 1, 2]},
    ),
    "split folders above": (
        folders.by_split("{split}/Images/{}.jpg", "{split}/labels/{}.png"),
        {"images": "{split}/Images/*.jpg", "masks": "{split}/labels/*.png", "values": [0, 1, 2]},
    ),
    "camvid": (
        folders.by_split("{split}/{}.png", "{split}annot/{}.png"),
        {"images": "{split}/*.png", "masks": "{split}annot/*.png", "values": [0, 1, 2]},
    ),
    "camvid with endings": (
        folders.by_split("{split}/{}.png", "{split}_labels/{}_L.png"),
        {"images": "{split}/*.png", "masks": "{split}_labels/*_L.png", "values": [0, 1, 2]},
    ),
    "split files side by side": (
        folders.by_split("{split}/{}.jpg", "{split}/{}.png"),
        {"images": "{split}/*.jpg", "masks": "{split}/*.png", "values": [0, 1, 2]},
    ),
    "split folders with other names": (
        folders.by_split("{split}/{}.jpg", "{split}/{}.png", {"training": "ab", "Valid": "c", "TEST": "d"}),
        {
            "images": "{split}/*.jpg",
            "split": {"by": "folder", "names": {"train": "training", "val": "Valid", "test": "TEST"}},
            "values": [0, 1, 2],
        },
    ),
    "no split for val": (
        folders.by_split("{split}/{}.jpg", "{split}/{}.png", {"train": "abcde", "test": "f"}),
        {
            "split": {"by": "folder", "names": ["train", "test"], "val_from_train": 0.2, "seed": 1},
            "values": [0, 1, 2],
        },
    ),
    "two folders": (
        folders.all_in_one("imgs/{}.jpg", "Annotations/{}.png", 10),
        {"images": "imgs/*.jpg", "masks": "Annotations/*.png", "values": [0, 1, 2]},
    ),
    "one folder": (
        folders.all_in_one("{}.png", "{}_mask.png", 4, (0, 255)),
        {"images": "*.png", "masks": "*_mask.png", "values": [0, 255], "void": None},
    ),
    "one folder, photographs": (
        folders.all_in_one("{}.JPG", "{}.png", 3, (0, 1, 255)),
        {"images": "*.jpg", "masks": "*.png", "values": [0, 1], "void": 255},
    ),
    "colours": (
        folders.colour_coded,
        {"masks": "gt/*_color.png", "encoding": "rgb", "values": [0, 0x40E0D0, 0x800000], "void": 0xE0E0C0},
    ),
    "palette": (folders.palettes, {"masks": "SegmentationClassPNG/*.png", "values": [0, 1, 2], "void": None}),
    "TIFF and GIF": (
        retina,
        {"images": "{split}/images/*.tif", "masks": "{split}/masks/*_mask.gif", "values": [0, 1, 2]},
    ),
    "16 bits": (folders.deep, {"values": [0, 300, 65535], "void": None}),
    "names": (folders.named, {"values": [0, 1, 2, 3], "doubt": "labels.txt: 4 names for 3 mask values (0..2)"}),
    "palettes that differ": (
        folders.palettes_that_differ,
        {"encoding": "palette", "values": [0, 0x00C800, 0xC80000], "doubt": "palette index 1 is (0, 200, 0), but"},
    ),
    "binary, smeared": (
        folders.smeared_binary("masks/{}.png"),
        {"encoding": "index", "threshold": 127, "values": [0, 1], "doubt": "binary masks with smeared edges"},
    ),
    "binary, JPEG": (
        folders.smeared_binary("masks/{}.jpg"),
        {"masks": "masks/*.jpg", "threshold": 127, "values": [0, 1], "doubt": "binary masks with smeared edges"},
    ),
    "lists": (listed, {"images": "JPEGImages/*.jpg", "masks": "SegmentationClass/*.png", "values": [0, 1, 40]}),
    "voc": (lambda root: test_voc.write(root, {"train": ["a"], "val": ["b"]}), {"values": [*range(21)], "void": 255}),
}


def pasted(section: str) -> params.Document:
    """params.yaml with its data and preprocess sections replaced, and evaluate.split as the comments say."""
    committed = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = f"{section}\n{committed[committed.index('model:') :]}"
    if "set evaluate.split to val" in section:
        text = text.replace("split: test", "split: val")
    Path("params.yaml").write_text(text, encoding="utf-8")
    return params.load()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_section_is_valid_and_runs_through_download_and_preprocess(name, tmp_path, monkeypatch):
    build, expected = LAYOUTS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    root = Path("my 'data'")
    build(root)
    inspection = inspect_folder.inspect(root)
    document = pasted(inspection.section)
    source = params.text(document, "data.source")
    section = document["data"][source]

    assert [True] * ("doubt" in expected) == [str(expected.get("doubt")) in line for line in inspection.problems]
    assert [] == check.problems()
    assert [] == check.on_this_machine()
    assert {key: expected[key] for key in section.keys() & expected.keys() - {"void"}} == {
        key: section[key] for key in section.keys() & expected.keys() - {"void"}
    }

    download.main(["--input", params.text(document, "data.input"), "--raw", "data/raw"])
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    data = raw.read(Path("data/raw"))

    assert expected["values"] == [*data.values]
    assert expected.get("void") == (data.void.value if data.void else None)
    assert len({label.rgb for label in data.classes}) == len(data.classes)
    for split, pairs in data.splits.items():
        rows = processed.read(Path("data/processed", split)).index.origins
        assert f"{split} {len(rows)}" in inspection.section
        assert len(rows) == len(pairs) > 0


def test_numbers_in_names_are_no_endings(tmp_path):
    """`i_10` and `i_11` start with `i_1`, but are images too."""
    folders.all_in_one("images/{}.png", "masks/{}.png", 12)(tmp_path)
    ((layout, _),) = inspect_layouts.recognise(tmp_path)

    assert ("images/*.png", "masks/*.png") == (layout.images, layout.masks)


@pytest.mark.parametrize("count", [6, 24, 99])
def test_of_few_images_three_equal_groups_are_enough_for_the_proposed_shares(count):
    """With tenths it takes six."""
    exact = {split: Fraction(str(share)) for split, share in inspect_layouts.shares(count).items()}
    entries = [Entry(str(n), str(n % 3), Path(), Path()) for n in range(count)]
    problems = []
    splitting._shared_out(Path(), entries, exact, 1, problems)

    assert [] == problems


@pytest.mark.parametrize("count", range(3, 40))
def test_the_proposed_shares_leave_no_split_empty(count):
    shares = inspect_layouts.shares(count)
    exact = {split: Fraction(str(share)) for split, share in shares.items()}
    problems = []
    splitting._shared_out(Path(), [Entry(str(n), None, Path(), Path()) for n in range(count)], exact, 1, problems)

    assert [] == problems
