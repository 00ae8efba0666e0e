"""`segline inspect FOLDER` reports what a folder contains, what it guesses, and the problems."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from segline.__main__ import main
from segline.commands import inspect_folder
from segline.core import params
from segline.core.errors import DataError
from segline.preprocessing import images
from segline.sources import voc
from tests import folders
from tests.sources import test_voc


def inspected(root: Path, build: folders.Builder) -> tuple[params.Document, str, list[str]]:
    build(root)
    inspection = inspect_folder.inspect(root)
    problems = [problem.replace(f"{root}/", "") for problem in inspection.problems]
    return yaml.safe_load(inspection.section)["data"], inspection.section, problems


def test_pixels_and_masks_are_counted_for_each_class(tmp_path):
    def build(root: Path) -> None:
        folders.pairs(root, "images/{}.png", "masks/{}.png", ["a", "b"], [0, 1])
        folders.pairs(root, "images/{}.png", "masks/{}.png", ["c"], [0])

    _, text, _ = inspected(tmp_path, build)
    height, width = folders.SIZE
    half = height * width // 2

    assert f"# {4 * half} pixels (66.67 %) in 3 masks" in text
    assert f"# {2 * half} pixels (33.33 %) in 2 masks" in text
    assert f"# Images: 3 x 8-bit RGB PNG; {width}x{height}." in text
    assert "# Masks: 3 x 8-bit gray PNG." in text


def test_colours_come_from_the_palette(tmp_path):
    section, *_ = inspected(tmp_path, folders.palettes)

    assert [[9, 9, 9], [200, 0, 0], [0, 0, 200]] == [row["rgb"] for row in section["folder"]["classes"]]


def test_colours_without_a_palette_all_differ(tmp_path):
    section, *_ = inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 3, tuple(range(16))))
    colours = [tuple(row["rgb"]) for row in section["folder"]["classes"]]

    assert [voc.colour(value) for value in range(16)] == colours


def test_names_come_from_the_file_beside_the_folders(tmp_path):
    section, text, _ = inspected(tmp_path, folders.named)

    assert ["_background_", "no", "two words", 'never "seen"'] == [row["name"] for row in section["folder"]["classes"]]
    assert "in no mask" in text


def test_255_is_guessed_to_be_void_and_said_to_be_a_guess(tmp_path):
    section, text, _ = inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 3, (0, 1, 255)))

    assert {"value": 255, "rgb": [224, 224, 192]} == section["folder"]["void"]
    assert "# a guess: if it is a class, move it there, and write void: null" in text
    assert "# Value 0 is taken as a class, a guess" in text


def test_binary_masks_are_two_classes(tmp_path):
    section, text, _ = inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 3, (0, 255)))

    assert ["class_0", "class_255"] == [row["name"] for row in section["folder"]["classes"]]
    assert "# Binary masks: 0 and 255 are taken as two classes." in text


def test_what_is_wrong_is_told_and_the_rest_is_still_described(tmp_path):
    def build(root: Path) -> None:
        folders.by_split("images/{split}/{}.png", "masks/{split}/{}.png")(root)
        (root / "masks/train/t2.png").unlink()
        shutil.copy(root / "images/train/t1.png", root / "images/val/v1.png")
        folders.image(root / "images/test/big.png")
        images.write_png(root / "masks/test/big.png", np.zeros((5, 7), np.uint8))
        folders.image(root / "images/test/cut.png")
        folders.mask(root / "masks/test/cut.png", [0, 1])
        (root / "masks/test/cut.png").write_bytes((root / "masks/test/cut.png").read_bytes()[:-6])
        folders.image(root / "images/test/odd.png")
        folders.coloured(root / "masks/test/odd.png", [0, 0xFF])

    section, _, problems = inspected(tmp_path, build)

    assert [0, 1, 2] == [row["value"] for row in section["folder"]["classes"]]
    assert problems == [
        "images/train/t2.png: no mask masks/train/t2.png. Add it, or take 't2' out.",
        "masks/test/big.png: 7x5 pixels, expected 16x12 as big.png. Export the mask at the size of its image.",
        "masks/test/cut.png: cut: the file ends 6 bytes too early. Copy or export the file again.",
        "masks/test/odd.png: 8-bit RGB PNG, while most masks are of the encoding index. "
        "Save all masks in the same way.",
        "images/train/t1.png: the same image is in another split: images/val/v1.png. Keep one of them only.",
    ]


def lists(root: Path, **splits: list[str]) -> None:
    """Twelve pairs, and a list for each of these splits."""
    folders.all_in_one("images/{}.jpg", "masks/{}.png")(root)
    for split, lines in splits.items():
        (root / f"{split}.txt").write_text("\n".join(lines))


def test_lists_are_taken_though_a_mask_is_missing(tmp_path):
    def build(root: Path) -> None:
        lists(root, train=[f"i_{n}" for n in range(9)], val=["i_9", "i_10", "i_11"])
        (root / "masks/i_4.png").unlink()

    section, text, problems = inspected(tmp_path, build)

    assert {"by": "lists", "file": "{split}.txt", "names": ["train", "val"]} == section["folder"]["split"]
    assert "# Pairs: train 8, val 3." in text
    assert ["train.txt: line 5: no mask masks/i_4.png. Add it, or take 'i_4' out."] == problems


def test_voc_stays_voc_though_a_mask_is_missing(tmp_path):
    def build(root: Path) -> None:
        test_voc.write(root, {"train": [f"t{n}" for n in range(9)], "val": ["v1", "v2", "v3"]})
        (root / "SegmentationClass/t4.png").unlink()

    section, text, problems = inspected(tmp_path, build)

    assert ("voc", ["train", "val"]) == (section["source"], section["voc"]["splits"])
    assert "# Pairs: train 8, val 3." in text
    (problem,) = problems
    assert problem.startswith("ImageSets/Segmentation/train.txt: line 5: no mask SegmentationClass/t4.png.")


def test_a_line_that_is_no_stem_is_told_and_the_lists_are_taken(tmp_path):
    section, _, problems = inspected(
        tmp_path, lambda root: lists(root, train=["i_0", "i_1", "images/i_2.jpg"], val=["i_3"])
    )

    assert "lists" == section["folder"]["split"]["by"]
    assert ["train.txt: line 3: no image images/images/i_2.jpg.jpg. Write the stem alone, without folder and extension."
            ] == problems[:1]  # fmt: skip


def test_lists_that_are_not_used_are_named_with_the_reason(tmp_path):
    section, _, problems = inspected(
        tmp_path, lambda root: lists(root, train=["images/i_0.jpg", "images/i_1.jpg"], val=["images/i_2.jpg"])
    )
    remedy = "Write one stem per line, without folder and extension, as UTF-8 text, and inspect again."
    reason = "lines are the stem of an image with a mask"

    assert "ratio" == section["folder"]["split"]["by"]
    assert [
        f"train.txt: unused list: 0 of its 2 {reason}. {remedy}",
        f"val.txt: unused list: 0 of its 1 {reason}. {remedy}",
    ] == problems


@pytest.mark.parametrize(
    ("build", "name", "reason"),
    [
        (lambda root: lists(root, train=["i_1"]), "train.txt", "lists of two splits are needed, such as train and val"),
        (
            lambda root: lists(root, train=["i_1"], val=["i_2"], test=["gone"]),
            "test.txt",
            "0 of its 1 lines are the stem of an image with a mask",
        ),
        (
            lambda root: (lists(root, train=["i_1"], val=["i_2"]), (root / "splits").mkdir(),
                          (root / "splits/val.txt").write_text("i_3")),
            "splits/val.txt",
            "other lists are",
        ),
        (
            lambda root: (folders.by_split("images/{split}/{}.png", "masks/{split}/{}.png")(root),
                          (root / "val.txt").write_text("v1")),
            "val.txt",
            "the splits are folders",
        ),
    ],
)  # fmt: skip
def test_a_list_beside_those_in_use_is_named_too(tmp_path, build, name, reason):
    (problem,) = inspected(tmp_path, build)[2]

    assert problem.startswith(f"{name}: unused list: {reason}. ")


def test_hundreds_of_problems_are_not_printed(tmp_path):
    def build(root: Path) -> None:
        folders.pairs(root, "images/{}.png", "masks/{}.png", ["a", "b", "c"])
        for number in range(30):
            folders.image(root / f"images/lone{number}.png")

    problems = inspected(tmp_path, build)[2]

    assert (inspect_folder.SHOWN + 1, "and 10 more") == (len(problems), problems[-1])


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_folder_without_one_usable_image_or_mask_has_problems_and_no_section(tmp_path, capsys, kind):
    folders.all_in_one("images/{}.png", "masks/{}.png", 3)(tmp_path)
    for path in (tmp_path / kind).iterdir():
        path.write_bytes(b"")

    with pytest.raises(DataError, match="no image or no mask that can be used"):
        main(["inspect", str(tmp_path)])
    captured = capsys.readouterr()

    assert "" == captured.out
    assert [f"warning: {tmp_path}/{kind}/i_{n}.png: empty file" for n in range(3)] == sorted(
        line.split(",")[0] for line in captured.err.splitlines()
    )


def test_black_of_colour_masks_is_named_as_a_colour(tmp_path):
    _, text, _ = inspected(tmp_path, folders.colour_coded)

    assert "# The colour [0, 0, 0] is taken as a class, a guess" in text
    assert "Value 0" not in text


@pytest.mark.parametrize(
    ("images_at", "masks_at", "gone"),
    [
        ("images/{split}/{}.png", "masks/{split}/{}.png", "masks/test"),
        ("images/{split}/{}.png", "masks/{split}/{}.png", "images/test"),
        ("{split}/images/{}.png", "{split}/masks/{}.png", "test/masks"),
        ("{split}/{}.png", "{split}annot/{}.png", "testannot"),
    ],
)
def test_a_split_on_one_side_alone_is_named(tmp_path, images_at, masks_at, gone):
    def build(root: Path) -> None:
        folders.by_split(images_at, masks_at)(root)
        shutil.rmtree(root / gone)

    (problem,) = inspected(tmp_path, build)[2]

    assert problem.endswith(f"left out: there is no folder {gone} for it. Add that one, or remove this one.")


def test_image_files_of_other_formats_are_counted(tmp_path):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "masks/{}.png")(root)
        for name in ("images/a.tif", "images/b.TIF", "masks/a.webp", "images/.c.bmp", "notes.txt"):
            (root / name).touch()

    (problem,) = inspected(tmp_path, build)[2]

    assert problem == (
        f"{tmp_path}: image files in unsupported formats are ignored: 2 x .tif, 1 x .webp. Convert them to PNG."
    )


@pytest.mark.parametrize(
    ("cwd", "given", "expected"),
    [
        (".", "data/mine", "data/mine"),
        ("data/mine", ".", "data/mine"),
        ("data", "../data/mine/", "data/mine"),
        (".", "link", "link"),
        (".", "../outside", "{}/outside"),
    ],
)
def test_the_folder_is_named_as_seen_from_the_project(tmp_path, monkeypatch, cwd, given, expected):
    project = tmp_path / "project"
    for root in (project / "data/mine", tmp_path / "outside"):
        folders.all_in_one("images/{}.png", "masks/{}.png", 3)(root)
    (project / "params.yaml").touch()
    (project / "link").symlink_to("../outside")
    monkeypatch.chdir(project / cwd)

    section = yaml.safe_load(inspect_folder.inspect(Path(given)).section)

    assert expected.format(tmp_path) == section["data"]["input"]


def test_a_jpeg_that_decodes_though_damaged_is_told(tmp_path):
    """libjpeg fills the missing rows with gray and says so on standard error only."""

    def build(root: Path) -> None:
        folders.all_in_one("images/{}.jpg", "masks/{}.png", 5)(root)
        content = (root / "images/i_3.jpg").read_bytes()
        (root / "images/i_3.jpg").write_bytes(content[: len(content) - 150] + content[-2:])

    (problem,) = inspected(tmp_path, build)[2]

    assert problem.startswith("images/i_3.jpg: damaged: Corrupt JPEG data: premature end of data segment")


def test_smoothed_colours_are_told(tmp_path):
    """An anti-aliased colour mask has thousands of colours, none of which is a class."""

    def build(root: Path) -> None:
        for number in range(3):
            folders.image(root / f"images/{number}.png", seed=1)
            folders.image(root / f"masks/{number}.png", seed=2)

    section, _, problems = inspected(tmp_path, build)

    assert len(section["folder"]["classes"]) <= 255
    assert (
        "more labels than the 255 classes allowed, 192 in masks/2.png alone: smoothed or compressed colours?"
        in problems[-1]
    )


def test_a_split_that_train_needs_is_asked_for(tmp_path):
    def build(root: Path) -> None:
        for split in ("training", "testing"):
            folders.pairs(root, f"images/{split}/{{}}.png", f"masks/{split}/{{}}.png", [split])

    problems = inspected(tmp_path, build)[2]

    assert ["no split train and no split val, only training, testing: rename a folder or list, or add one"] == problems


def test_one_label_is_too_few(tmp_path):
    assert (
        "1 label in all masks, expected at least two"
        in inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 3, (0,)))[2]
    )


def test_too_few_pairs_for_three_splits_are_told(tmp_path):
    problems = inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 2))[2]

    assert "would be empty: 2 pairs in 2 groups" in problems[0]


@pytest.mark.parametrize("names", [[], ["readme.txt"], ["images/a.png"], ["a.tif", "a_mask.tif"]])
def test_a_folder_of_another_kind_says_what_it_holds(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    with pytest.raises(DataError) as caught:
        inspect_folder.inspect(tmp_path)

    contents = f"files of {Path(names[0]).suffix}" if names else "no file"
    count = f"{len(names)} " if names else ""
    assert f"no images with masks found; it contains {count}{contents}" in str(caught.value)
    assert "PASCAL VOC" in str(caught.value)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none: no such folder\. Name the folder"):
        inspect_folder.inspect(tmp_path / "none")


def test_the_command_prints_the_section_and_warns_on_the_other_stream(tmp_path, capsys):
    folders.all_in_one("images/{}.png", "masks/{}.png", 3)(tmp_path)
    folders.image(tmp_path / "images/lone.png")
    main(["inspect", str(tmp_path)])
    captured = capsys.readouterr()

    assert json.dumps(str(tmp_path)) in captured.out
    assert captured.out.startswith("data:\n  source: folder\n")
    assert captured.err.startswith(f"warning: {tmp_path}/images/lone.png: no mask masks/lone.png.")
