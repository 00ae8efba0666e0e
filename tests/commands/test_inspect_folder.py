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
from segline.core.errors import DataError, Problems
from segline.preprocessing.image_files import png
from segline.sources import voc
from segline.sources.collecting import splitting
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


def test_cross_validation_is_advised_for_few_images_and_they_are_divided_as_it_would(tmp_path):
    advice = "# Fewer than 100 images: what a split scores depends on which images are in it. `segline crossvalidate`"
    reason = "# So val and test get larger shares, as there: a tenth would be under ten images"
    few, few_text, _ = inspected(tmp_path / "few", folders.all_in_one("images/{}.png", "masks/{}.png", 24))
    enough, enough_text, _ = inspected(tmp_path / "enough", folders.all_in_one("images/{}.png", "masks/{}.png", 100))

    assert {"train": 0.6, "val": 0.2, "test": 0.2} == few["folder"]["split"]["shares"]
    assert "# Pairs: train 14, val 5, test 5." in few_text
    assert advice in few_text
    assert reason in few_text
    assert {"train": 0.8, "val": 0.1, "test": 0.1} == enough["folder"]["split"]["shares"]
    assert "# Pairs: train 80, val 10, test 10." in enough_text
    assert "crossvalidate" not in enough_text
    assert reason not in enough_text


def test_splits_that_are_there_need_no_reason_for_shares(tmp_path):
    _, text, _ = inspected(tmp_path, folders.by_split("{split}/images/{}.png", "{split}/masks/{}.png"))

    assert "crossvalidate" in text
    assert "larger shares" not in text


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


def test_palettes_that_differ_are_told_and_the_colours_become_the_classes(tmp_path):
    section, text, problems = inspected(tmp_path, folders.palettes_that_differ)

    assert "palette" == section["folder"]["encoding"]
    assert [[0, 0, 0], [0, 200, 0], [200, 0, 0]] == [row["rgb"] for row in section["folder"]["classes"]]
    assert "# 336 pixels (43.75 %) in 4 masks" in text
    assert problems == [
        "masks/3.png: palette index 1 is (0, 200, 0), but (200, 0, 0) in masks/0.png; 2 indices "
        "and 2 masks differ from earlier ones. If the colours are the classes, set data.folder.encoding to palette; if "
        "the indices are, save all masks with the same palette."
    ]


def test_palettes_of_random_colours_are_told_and_the_indices_stay_the_classes(tmp_path):
    def build(root: Path) -> None:
        for number in range(4):
            folders.image(root / f"images/{number}.png")
            folders.palette(root / f"masks/{number}.png", [0, 1], [(number, 0, 0), (0, 0, 9 + number)])

    section, _, problems = inspected(tmp_path, build)

    assert ("index", [0, 1]) == (
        section["folder"]["encoding"],
        [row["value"] for row in section["folder"]["classes"]],
    )
    assert "palette index 0 is (" in problems[0]


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_smeared_binary_masks_get_a_threshold_and_255_is_the_object(tmp_path, extension):
    section, text, (problem,) = inspected(tmp_path, folders.smeared_binary(f"masks/{{}}.{extension}"))

    assert (127, None, [0, 255]) == (
        section["folder"]["threshold"],
        section["folder"]["void"],
        [row["value"] for row in section["folder"]["classes"]],
    )
    assert "# 5120 pixels (33.33 %) in 5 masks" in text
    assert problem.startswith("binary masks with smeared edges (smoothing, resizing or JPEG): ")
    assert "of which 0 and 255 hold " in problem
    assert "threshold: 127 divides them" in problem


def test_jpeg_masks_of_several_classes_stay_refused(tmp_path):
    build = folders.all_in_one("images/{}.png", "masks/{}.jpg", 3, (0, 80, 160, 240))
    build(tmp_path)
    inspection = inspect_folder.inspect(tmp_path)

    assert inspection.section is None
    assert 3 == sum("a JPEG mask, expected PNG" in problem for problem in inspection.problems)


def test_of_three_smeared_values_only_these_are_classes_and_255_is_one(tmp_path):
    def build(root: Path) -> None:
        for number in range(3):
            folders.image(root / f"images/{number}.png")
            values = np.zeros((90, 120), np.uint8)
            values[10:40, 10:110], values[50:80, 10:110] = 128, 255
            values[10, 10:110], values[9, 10:110] = np.arange(118, 128).repeat(10), np.arange(1, 11).repeat(10)
            values[50, 10:110], values[49, 10:110] = np.arange(245, 255).repeat(10), np.arange(1, 11).repeat(10)
            png.write_png(
                root / f"images/{number}.png", np.random.default_rng(number).integers(0, 256, (90, 120, 3), np.uint8)
            )
            folders.mask(root / f"masks/{number}.png", [0])
            png.write_png(root / f"masks/{number}.png", values)

    section, _, (problem,) = inspected(tmp_path, build)

    assert ([0, 128, 255], None) == (
        [row["value"] for row in section["folder"]["classes"]],
        section["folder"]["void"],
    )
    assert problem.startswith("masks with smeared edges (smoothing, resizing or JPEG): 33 values, of which 3 hold ")


def test_255_is_not_guessed_to_be_void_among_values_just_below_it(tmp_path):
    section, *_ = inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 3, (0, 254, 255)))

    assert section["folder"]["void"] is None


def test_very_many_labels_are_doubted(tmp_path):
    def build(root: Path) -> None:
        for number in range(3):
            folders.image(root / f"images/{number}.png", seed=number)
            folders.mask(root / f"masks/{number}.png", [0])
            values = np.zeros(folders.SIZE, np.uint8)
            values.flat[:100] = 2 * np.arange(100)  # with gaps: numbers of objects have none
            png.write_png(root / f"masks/{number}.png", values)

    assert (
        "100 labels, 99 of them on under 1 % of the pixels each: masks with smeared edges or numbered objects"
        in (inspected(tmp_path, build)[2][0])
    )


NAMED = {
    "background is missing": (
        ["cat", "dog"],
        (0, 1, 2),
        {1: "cat", 2: "dog"},
        "2 names for 3 mask values (0..2): taken as those of 1..2, without the background 0",
    ),
    "there is no background": (
        ["cat", "dog", "cow"],
        (1, 2, 3),
        {1: "cat", 2: "dog", 3: "cow"},
        "3 names for 3 mask values (1..3): taken as those of 1..3, in this order",
    ),
    "all are there": (["ground", "cat", "dog"], (0, 1, 2), {0: "ground", 1: "cat", 2: "dog"}, None),
    "and void": (["ground", "cat"], (0, 1, 255), {0: "ground", 1: "cat"}, None),
    "the last is missing": (
        ["background", "cat"],
        (0, 1, 2),
        {0: "background", 1: "cat"},
        "2 names for 3 mask values (0..2): line k names value k - 1, a guess; correct the names if it is wrong",
    ),
    "two are missing": (["cat"], (0, 1, 2), {0: "cat"}, "1 name for 3 mask values (0..2): line k names value k - 1"),
    "more names": (["a", "b", "c"], (0, 1), {0: "a", 1: "b", 2: "c"}, "3 names for 2 mask values (0..1): line k"),
    "binary": (["ground", "cell"], (0, 255), {0: "ground", 255: "cell"}, None),
    "binary without background": (
        ["cell"],
        (0, 255),
        {255: "cell"},
        "1 name for 2 mask values (0, 255): taken as that of 255, without the background 0",
    ),
    "twice the same": (["a", "a"], (0, 1), {}, "unused names: expected each once, printable, of at most 60 characters"),
}


@pytest.mark.parametrize("case", NAMED)
def test_names_are_matched_to_values_only_where_that_is_certain(tmp_path, case):
    names, values, expected, doubt = NAMED[case]

    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "masks/{}.png", 3, values)(root)
        (root / "classes.txt").write_text("\n".join(names))

    section, _, problems = inspected(tmp_path, build)
    given = {row["value"]: row["name"] for row in section["folder"]["classes"]}

    assert expected == {value: name for value, name in given.items() if not name.startswith("class_")}
    assert ([] if doubt is None else [f"classes.txt: {doubt}"]) == [
        problem[: len(f"classes.txt: {doubt}")] for problem in problems
    ]


def test_names_do_not_tell_which_colour_is_which(tmp_path):
    def build(root: Path) -> None:
        folders.colour_coded(root)
        (root / "classes.txt").write_text("a\nb\n")

    (problem,) = inspected(tmp_path, build)[2]

    assert problem == "classes.txt: unused names: nothing says which colour is which of the 2"


def test_of_two_mask_folders_the_first_in_a_stated_order_is_taken_and_the_other_named(tmp_path):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "labels/{}.png", wanted=(0, 80, 160))(root)
        folders.all_in_one("images/{}.png", "masks/{}.png")(root)

    section, _, problems = inspected(tmp_path, build)

    assert "masks/*.png" == section["folder"]["masks"]
    assert problems == [
        "two folders fit: masks/*.png (12 pairs) is taken because its name comes first in masks, mask, labels, label, "
        "annotations, annotation, annot, gt, ...; labels/*.png (12 pairs) is not"
    ]


def test_a_mask_folder_with_more_pairs_is_taken_and_the_other_named(tmp_path):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "labels/{}.png")(root)
        folders.all_in_one("images/{}.png", "masks/{}.png", 3)(root)

    section, _, problems = inspected(tmp_path, build)

    assert "labels/*.png" == section["folder"]["masks"]
    assert (
        "two folders fit: labels/*.png (12 pairs) is taken because it has more pairs; masks/*.png (3 pairs) is not"
        in (problems)
    )


@pytest.mark.parametrize("linked", ["folders", "files"])
def test_links_that_lead_out_are_named_as_check_names_them(tmp_path, monkeypatch, linked):
    real, root = tmp_path / "real", tmp_path / "mine"
    folders.all_in_one("images/{}.png", "masks/{}.png", 3)(real)
    root.mkdir()
    for kind in ("images", "masks"):
        if linked == "folders":
            (root / kind).symlink_to(real / kind)
        else:
            (root / kind).mkdir()
            for path in (real / kind).iterdir():
                (root / kind / path.name).symlink_to(path)
    names = (
        ["images", "masks"] if linked == "folders" else [f"{k}/i_{n}.png" for k in ("images", "masks") for n in "012"]
    )

    with pytest.raises(Problems) as caught:
        inspect_folder.inspect(root)

    assert [f"{root}/{name}" for name in names] == [problem.where for problem in caught.value.problems]
    assert {f"a link that leads out of {root}"} == {problem.problem for problem in caught.value.problems}
    with pytest.raises(Problems) as checked:
        splitting.entries(
            root, "images/*.png", "masks/*.png", splitting.ByRatio(by="ratio", shares={"a": 1.0}, seed=1), ""
        )
    assert {f"a link that leads out of {root}"} <= {problem.problem for problem in checked.value.problems}


def test_a_linked_folder_beside_a_real_one_is_named_too(tmp_path):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "labels/{}.png", 3)(root)
        folders.all_in_one("images/{}.png", "masks/{}.png", 3)(root.parent / f"{root.name}_elsewhere")
        (root / "masks").symlink_to(root.parent / f"{root.name}_elsewhere/masks")

    (problem,) = inspected(tmp_path, build)[2]

    assert problem == f"masks: a link that leads out of {tmp_path}. Put the files themselves below data.input."


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
        png.write_png(root / "masks/test/big.png", np.zeros((5, 7), np.uint8))
        folders.image(root / "images/test/cut.png")
        folders.mask(root / "masks/test/cut.png", [0, 1])
        (root / "masks/test/cut.png").write_bytes((root / "masks/test/cut.png").read_bytes()[:-6])
        folders.image(root / "images/test/odd.png")
        folders.coloured(root / "masks/test/odd.png", [0, 0xFF])

    section, _, problems = inspected(tmp_path, build)

    assert [0, 1, 2] == [row["value"] for row in section["folder"]["classes"]]
    assert problems == [
        "images/train/t2.png: no mask masks/train/t2.png. Add it, or take 't2' out.",
        "masks/test/big.png: 7x5 pixels, expected 16x12 as test/big.png. Export the mask at the size of its image.",
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
    ("images_at", "masks_at"),
    [
        ("images/{split}/{}.png", "masks/{split}/{}.png"),
        ("{split}/images/{}.png", "{split}/masks/{}.png"),
        ("{split}/{}.png", "{split}annot/{}.png"),
    ],
)
def test_a_folder_in_the_place_of_a_split_with_another_name_is_named(tmp_path, images_at, masks_at):
    """A mistyped split would be lost without a word, and val drawn from train."""

    splits = {"train": ["a", "b", "c"], "vali": ["d", "e"], "test": ["f"]}
    problems = inspected(tmp_path, folders.by_split(images_at, masks_at, splits))[2]

    assert any(
        "2 pairs left out: 'vali' is not a name of a split. Rename it, or map" in problem for problem in problems
    )


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
        for name in ("images/a.jp2", "images/b.JP2", "masks/a.heic", "images/.c.psd", "notes.txt"):
            (root / name).touch()

    (problem,) = inspected(tmp_path, build)[2]

    assert problem == (
        f"{tmp_path}: image files in unsupported formats are ignored: 1 x .heic, 2 x .jp2. Convert them to PNG."
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

    section = inspect_folder.inspect(Path(given)).section
    place = expected.format(tmp_path)

    assert place == yaml.safe_load(section)["data"]["input"]
    assert (f"tracks it: dvc add {place}" in section) is (place == expected), "an absolute path needs no tracking"


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
        for split in ("valid", "testing"):
            folders.pairs(root, f"images/{split}/{{}}.png", f"masks/{split}/{{}}.png", [split])

    problems = inspected(tmp_path, build)[2]

    assert ["no split train, only val, test: add a folder or list, or map it in split.names"] == problems


def in_splits(*names: str, of_each: int = 5) -> folders.Builder:
    def build(root: Path) -> None:
        for split in names:
            folders.pairs(root, f"{split}/{{}}.jpg", f"{split}/{{}}_mask.png", [f"{split}{n}" for n in range(of_each)])

    return build


@pytest.mark.parametrize(
    ("there", "names"),
    [
        (("train", "valid", "test"), {"train": "train", "val": "valid", "test": "test"}),
        (("training", "validation", "testing"), {"train": "training", "val": "validation", "test": "testing"}),
        (("Train", "Val", "Test"), {"train": "Train", "val": "Val", "test": "Test"}),
        (("train", "val", "validation"), {"train": "train", "val": "val", "validation": "validation"}),
        (("train", "val"), ["train", "val"]),
    ],
)
def test_split_folders_keep_their_names_and_get_the_usual_ones(tmp_path, there, names):
    section, _, problems = inspected(tmp_path, in_splits(*there))
    if isinstance(names, dict) and all(name == folder for name, folder in names.items()):
        names = list(names)

    assert {"by": "folder", "names": names} == section["folder"]["split"]
    assert [] == problems


@pytest.mark.parametrize(("there", "names"), [(("train", "test"), ["train", "test"]), (("Training",), None)])
def test_without_a_split_for_val_it_is_drawn_from_train(tmp_path, there, names):
    section, text, problems = inspected(tmp_path, in_splits(*there))
    names = names or {"train": "Training"}

    assert {"by": "folder", "names": names, "val_from_train": 0.2, "seed": 1} == section["folder"]["split"]
    assert "There is no split val: val_from_train draws it from train." in text
    assert [] == problems


def test_lists_with_other_names_keep_them(tmp_path):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "masks/{}.png", 6)(root)
        for name, numbers in (("training", range(4)), ("validation", range(4, 6))):
            (root / f"{name}.txt").write_text("".join(f"i_{number}\n" for number in numbers))

    section, _, problems = inspected(tmp_path, build)

    names = {"train": "training", "val": "validation"}
    assert {"by": "lists", "file": "{split}.txt", "names": names} == section["folder"]["split"]
    assert [] == problems


def test_voc_lists_without_one_for_val_are_a_folder_since_source_voc_draws_none(tmp_path):
    section, _, problems = inspected(
        tmp_path, lambda root: test_voc.write(root, {"train": list("abcd"), "test": ["e"]})
    )

    assert "folder" == section["source"]
    assert 0.2 == section["folder"]["split"]["val_from_train"]
    assert [] == problems


ROBOFLOW = "Pixel Value, Class\n0, background\n1, tool\n2, hand\n"


def test_names_come_from_the_csv_that_roboflow_puts_beside_the_images(tmp_path):
    def build(root: Path) -> None:
        in_splits("train", "valid")(root)
        for split in ("train", "valid"):
            (root / split / "_classes.csv").write_text(ROBOFLOW)

    section, _, problems = inspected(tmp_path, build)

    assert [(0, "background"), (1, "tool"), (2, "hand")] == [
        (row["value"], row["name"]) for row in section["folder"]["classes"]
    ]
    assert [] == problems


@pytest.mark.parametrize(
    ("text", "named", "doubt"),
    [
        (ROBOFLOW + "3, cup\n", ["background", "tool", "hand", "cup"], None),
        ("v,c\n0,a\n2,b\n", ["a", "class_1", "b"], "_classes.csv: no name for 1 of the 3 mask values"),
        ("v,c\n0,a\n1,a\n", ["class_0", "class_1", "class_2"], "_classes.csv: unused names: expected each once"),
        ("v,c\n0,a\n0,b\n", ["class_0", "class_1", "class_2"], "_classes.csv: unused names: a value has two names"),
        ("v,c\nx,a\n", ["class_0", "class_1", "class_2"], "_classes.csv: unused names: expected a number and a name"),
        ("", ["class_0", "class_1", "class_2"], "_classes.csv: unused names: 0 of them"),
        ("v,c\n0," + "a" * 200_000, ["class_0", "class_1", "class_2"], "_classes.csv: unused names: not CSV"),
    ],
)
def test_a_csv_of_names_is_used_as_far_as_it_is_clear(tmp_path, text, named, doubt):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "masks/{}.png", 3)(root)
        (root / "_classes.csv").write_text(text)

    section, _, problems = inspected(tmp_path, build)

    assert named == [row["name"] for row in section["folder"]["classes"]]
    assert ([] if doubt is None else [doubt]) == [problem[: len(doubt or "")] for problem in problems]


def test_a_csv_that_differs_from_that_of_another_split_is_named(tmp_path):
    def build(root: Path) -> None:
        in_splits("train", "val")(root)
        (root / "train/_classes.csv").write_text(ROBOFLOW)
        (root / "val/_classes.csv").write_text(ROBOFLOW.replace("tool", "pen"))

    assert ["val/_classes.csv: unused: differs from train/_classes.csv"] == inspected(tmp_path, build)[2]


CVAT = "# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,0,0::\ncar:64,224,208::\nvoid:224,224,192::\n"


def test_names_of_colours_come_from_the_label_map_of_cvat(tmp_path):
    def build(root: Path) -> None:
        folders.colour_coded(root)
        (root / "labelmap.txt").write_text(CVAT)

    section, _, problems = inspected(tmp_path, build)

    assert [("sky", [0, 0, 0]), ("car", [64, 224, 208]), ("road", [128, 0, 0])] == [
        (row["name"], row["rgb"]) for row in section["folder"]["classes"]
    ]
    assert [224, 224, 192] == section["folder"]["void"]["rgb"]
    assert [] == problems


def test_a_label_map_names_palette_indices_by_their_colours(tmp_path):
    def build(root: Path) -> None:
        folders.palettes(root)
        (root / "labelmap.txt").write_text("wall:0,0,200::\nsky:9,9,9::\nroof:200,0,0::\n")

    section, _, problems = inspected(tmp_path, build)

    assert [(0, "sky"), (1, "roof"), (2, "wall")] == [
        (row["value"], row["name"]) for row in section["folder"]["classes"]
    ]
    assert [] == problems


def test_a_label_map_gives_gray_masks_names_in_its_order_and_its_colours(tmp_path):
    def build(root: Path) -> None:
        folders.all_in_one("images/{}.png", "masks/{}.png", 3)(root)
        (root / "labelmap.txt").write_text("sky:1,2,3::\nroad:128,0,0::\ncar:64,224,208::\n")

    section, _, problems = inspected(tmp_path, build)

    assert [("sky", [1, 2, 3]), ("road", [128, 0, 0]), ("car", [64, 224, 208])] == [
        (row["name"], row["rgb"]) for row in section["folder"]["classes"]
    ]
    assert [] == problems


def test_one_label_is_too_few(tmp_path):
    assert (
        "1 label in all masks, expected at least two"
        in inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 3, (0,)))[2]
    )


def test_too_few_pairs_for_three_splits_are_told(tmp_path):
    problems = inspected(tmp_path, folders.all_in_one("images/{}.png", "masks/{}.png", 2))[2]

    assert "would be empty: 2 pairs in 2 groups" in problems[0]


@pytest.mark.parametrize("names", [[], ["readme.txt"], ["images/a.png"], ["a.jp2", "a_mask.jp2"]])
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
