"""Files of a user's folder, paired by name; all problems are reported at once, each with its file."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.sources.collecting import listing
from segline.sources.collecting.listing import Matches


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def paired(root: Path, images: str, masks: str) -> list[tuple[str, str, str]]:
    problems = []
    entries = Matches(root, images, masks, problems).everything()
    assert [] == problems
    return [(each.stem, each.image.name, each.mask.name) for each in entries]


def wrong(root: Path, images: str = "images/*.*", masks: str = "masks/*.png") -> list[str]:
    problems = []
    Matches(root, images, masks, problems).everything()
    return [str(problem).replace(f"{root}/", "") for problem in problems]


def test_image_and_mask_share_the_stem(tmp_path):
    touch(tmp_path, "images/b.jpg", "images/a.JPG", "images/c.png", "masks/a.png", "masks/b.png", "masks/c.png")

    assert paired(tmp_path, "images/*.*", "masks/*.png") == [
        ("a", "a.JPG", "a.png"),
        ("b", "b.jpg", "b.png"),
        ("c", "c.png", "c.png"),
    ]


def test_what_stands_around_the_star_is_no_part_of_the_stem(tmp_path):
    touch(tmp_path, "rgb/cam_a.b.png", "gt/a.b_mask.png", "gt/other.png")

    assert paired(tmp_path, "rgb/cam_*.png", "gt/*_mask.png") == [("a.b", "cam_a.b.png", "a.b_mask.png")]


@pytest.mark.parametrize(("images", "masks"), [("*.png", "*_mask.png"), ("*.*", "*_mask.png"), ("*.*", "*_mask.*")])
def test_in_one_folder_the_more_specific_pattern_has_the_file(tmp_path, images, masks):
    touch(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png")

    assert paired(tmp_path, images, masks) == [("a", "a.png", "a_mask.png"), ("b", "b.png", "b_mask.png")]


def test_the_image_may_be_the_one_with_the_ending_and_photographs_may_lie_beside_masks(tmp_path):
    touch(tmp_path / "one", "a_rgb.png", "a.png")
    touch(tmp_path / "two", "a.jpg", "a.png")

    assert paired(tmp_path / "one", "*_rgb.png", "*.png") == [("a", "a_rgb.png", "a.png")]
    assert paired(tmp_path / "two", "*.*", "*.png") == [("a", "a.jpg", "a.png")]


def test_hidden_and_foreign_files_are_left_alone(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "images/.DS_Store", "images/._a.png", "images/.a.png")
    touch(tmp_path, "images/Thumbs.db", "images/notes.txt", "masks/desktop.ini")

    assert paired(tmp_path, "images/*.*", "masks/*.*") == [("a", "a.png", "a.png")]


def test_every_problem_names_its_file_in_one_pass(tmp_path):
    touch(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png", "images/only.png", "masks/lost.png")
    touch(tmp_path, "images/Cat.png", "masks/Cat.png", "images/cat.png", "masks/cat.png")

    assert wrong(tmp_path) == [
        "images/Cat.png: stems that differ only in case or Unicode form: 'Cat', 'cat'. "
        "Rename all but one, image and mask alike.",
        "images: 2 images for one stem: a.jpg, a.png. Keep one.",
        "masks/lost.png: no image images/lost.*. Add it, or take 'lost' out.",
        "images/only.png: no mask masks/only.png. Add it, or take 'only' out.",
    ]


@pytest.mark.parametrize("twins", [("\u00e4", "a\u0308"), ("A", "a")])
def test_a_mask_spelt_otherwise_is_pointed_out(tmp_path, twins):
    """Some file systems do not distinguish the two names, so they are never paired."""
    touch(tmp_path, "images/b.png", "masks/b.png", f"images/{twins[0]}.png", f"masks/{twins[1]}.png")
    problems = wrong(tmp_path)

    assert f"but one with {twins[1]!a}. Give both the same case" in "\n".join(problems)
    assert f"but one with {twins[0]!a}. Give both the same case" in "\n".join(problems)


def test_files_that_pair_nowhere_are_one_problem_not_thousands(tmp_path):
    touch(
        tmp_path,
        *(f"images/{number}_rgb.png" for number in range(50)),
        *(f"masks/{number}.png" for number in range(50)),
    )

    assert [line.partition(": ")[2] for line in wrong(tmp_path)] == [
        "50 images match images/*.* and 50 masks match masks/*.png, none with the same stem (0_rgb, 0). "
        "Fix the patterns: * is the part that an image and its mask have in common."
    ]


def test_missing_folders_are_named(tmp_path):
    assert wrong(tmp_path) == [
        "images: no such folder. Put the files of images/*.* there, or fix the pattern.",
        "masks: no such folder. Put the files of masks/*.png there, or fix the pattern.",
    ]


def test_what_is_no_plain_file_is_refused(tmp_path):
    touch(tmp_path, "images/a.png", "masks/b.png", "images/c.png", "masks/c.png")
    touch(tmp_path, *(f"{kind}/x\ny.png" for kind in ("images", "masks")))
    (tmp_path / "masks/a.png").mkdir()
    os.mkfifo(tmp_path / "images/b.png")

    remedy = "Replace it with a plain file with a plain name."
    assert wrong(tmp_path) == [
        f"masks/a.png: a folder, pipe, device or broken link, expected a file. {remedy}",
        f"images/b.png: a folder, pipe, device or broken link, expected a file. {remedy}",
        f"images/x y.png: a name with unprintable characters: 'x\\ny.png'. {remedy}",
        f"masks/x y.png: a name with unprintable characters: 'x\\ny.png'. {remedy}",
    ]


def test_links_within_the_folder_are_followed_and_links_out_of_it_refused(tmp_path):
    root = tmp_path / "mine"
    touch(root, "store/a.png", "images/b.png", "masks/a.png", "masks/b.png")
    touch(tmp_path, "secret.png")
    (root / "images/a.png").symlink_to(root / "store/a.png")

    assert ["a", "b"] == [stem for stem, *_ in paired(root, "images/*.png", "masks/*.png")]

    (root / "images/c.png").symlink_to(tmp_path / "secret.png")
    touch(root, "masks/c.png")

    assert [f"images/c.png: a link that leads out of {root}. Replace it with a plain file with a plain name."] == wrong(
        root
    )


def test_a_linked_folder_that_leads_out_is_refused(tmp_path):
    root = tmp_path / "mine"
    touch(tmp_path, "elsewhere/a.png")
    touch(root, "masks/a.png")
    (root / "images").symlink_to(tmp_path / "elsewhere")

    assert [line.partition(". ")[0] for line in wrong(root)] == [f"images: a link that leads out of {root}"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.jp2",
        "/x/*.png",
        "../*.png",
        "a/../*.png",
        "a//*.png",
        "./*.png",
        "*/images",
        "a*b*/*.png",
        "*/x.png",
        "*_*.png",
        "a\\*.png",
        "x.png",
        "*.png\n",
    ],
)
def test_a_pattern_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        listing.pattern(text)


@pytest.mark.parametrize("text", ["*.png", "a/b/x_*_y.JPG", "{split}/*.*", "*.mask.png", "*/*.png", "a_*/b/*/c_*.*"])
def test_a_pattern_is_given_back(text):
    assert text == listing.pattern(text)


def test_stars_in_folders_stand_for_the_same_in_both(tmp_path):
    touch(tmp_path, "images/a/1.png", "images/b/1.png", "masks/a/1_gt.png", "masks/b/1_gt.png", "masks/stray.png")
    touch(tmp_path, "images/.cache/1.png", "images/notes.txt")

    assert paired(tmp_path, "images/*/*.*", "masks/*/*_gt.png") == [
        ("a/1", "1.png", "1_gt.png"),
        ("b/1", "1.png", "1_gt.png"),
    ]


def test_folders_with_a_star_may_stand_above_others(tmp_path):
    touch(tmp_path, "seq_7/rgb/x.jpg", "seq_7/gt/x.png", "seq_8/rgb/x.jpg", "seq_8/gt/x.png", "seq_9/other/y.png")

    assert [stem for stem, *_ in paired(tmp_path, "seq_*/rgb/*.jpg", "seq_*/gt/*.png")] == ["7/x", "8/x"]


def test_a_file_without_a_partner_in_the_folder_of_the_same_name_is_a_problem(tmp_path):
    touch(tmp_path, "images/a/1.png", "masks/a/1.png", "images/a/2.png", "masks/b/2.png")

    assert wrong(tmp_path, "images/*/*.png", "masks/*/*.png") == [
        "images/a/2.png: no mask masks/a/2.png. Add it, or take 'a/2' out.",
        "masks/b/2.png: no image images/b/2.png. Add it, or take 'b/2' out.",
    ]


def test_a_list_names_what_all_stars_stand_for(tmp_path):
    touch(tmp_path, "images/a/1.png", "masks/a/1.png")
    problems = []
    matches = Matches(tmp_path, "images/*/*.png", "masks/*/*.png", problems)
    entries = matches.entries({"a/1": "l.txt: line 1", "1": "l.txt: line 2", "a/*": "l.txt: line 3"})

    assert ["a/1"] == [each.stem for each in entries]
    assert [str(problem) for problem in problems[::2]] == [
        "l.txt: line 2: no image with the stem '1' matches images/*/*.png. Write what each of the 2 * stands for, "
        "joined by a slash.",
        "l.txt: line 3: no image images/a/*.png. Add it, or take 'a/*' out.",
    ]


def test_a_linked_folder_in_the_place_of_a_star_may_not_lead_out(tmp_path):
    root = tmp_path / "mine"
    touch(tmp_path, "elsewhere/rgb/1.png", "elsewhere/gt/1.png")
    touch(root, "a/rgb/1.png", "a/gt/1.png")
    (root / "b").symlink_to(tmp_path / "elsewhere")

    assert wrong(root, "*/rgb/*.png", "*/gt/*.png") == [
        f"b: a link that leads out of {root}. Put the files themselves below data.input."
    ]


def stems(root: Path, content: bytes) -> tuple[list[str], list[str]]:
    (root / "list.txt").write_bytes(content)
    problems = []
    listed = listing.stems(root, "list.txt", {}, problems)
    return list(listed), [str(problem).replace(f"{root}/", "") for problem in problems]


@pytest.mark.parametrize(
    "content",
    [b"a\nb 1\n\xc3\xa4\n", b"a\r\nb 1\r\n\xc3\xa4", b"\xef\xbb\xbfa  \n\n\tb 1\n \xc3\xa4\t\n\n"],
)
def test_a_list_may_come_from_any_editor(tmp_path, content):
    assert stems(tmp_path, content) == (["a", "b 1", "\u00e4"], [])


def test_a_stem_listed_twice_names_both_lines(tmp_path):
    assert stems(tmp_path, b"a\nb\na\n") == (
        ["a", "b"],
        ["list.txt: line 3: duplicate stem 'a', already in list.txt: line 1. Remove one of the lines."],
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\n \n", "list.txt: an empty list. Write one stem"), (b"a\n\xff\n", "list.txt: not UTF-8 at byte 2. Save")],
)
def test_a_list_that_is_none_is_a_problem(tmp_path, content, expected):
    listed, (problem,) = stems(tmp_path, content)

    assert listed == []
    assert problem.startswith(expected)


def test_a_list_that_is_missing_or_elsewhere_is_a_problem(tmp_path):
    touch(tmp_path, "secret.txt", "mine/here")
    (tmp_path / "mine/out.txt").symlink_to(tmp_path / "secret.txt")
    problems = []
    listing.stems(tmp_path / "mine", "none.txt", {}, problems)
    listing.stems(tmp_path / "mine", "out.txt", {}, problems)

    assert ["no such list", f"a link that leads out of {tmp_path}/mine"] == [problem.problem for problem in problems]


def test_a_listed_stem_without_files_names_the_line(tmp_path):
    touch(tmp_path, "images/a.png", "masks/a.png", "images/b.png", "images/unlisted.png")
    problems = []
    matches = Matches(tmp_path, "images/*.png", "masks/*.png", problems)
    entries = matches.entries({"a": "l.txt: line 1", "b": "l.txt: line 2", "images/c.png": "l.txt: line 3"})

    assert ["a"] == [each.stem for each in entries]
    assert [str(problem) for problem in problems] == [
        "l.txt: line 2: no mask masks/b.png. Add it, or take 'b' out.",
        "l.txt: line 3: no image images/images/c.png.png. Write the stem alone, without folder and extension.",
        "l.txt: line 3: no mask masks/images/c.png.png. Write the stem alone, without folder and extension.",
    ]


@given(
    names=st.lists(st.text("ab\u00e4A_.- 1", min_size=1, max_size=6).filter(lambda name: name[0] != "."), unique=True)
)
def test_stems_that_no_file_system_confuses_all_pair(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("listing")
    keys = {unicodedata.normalize("NFC", name).casefold(): name for name in names}
    kept = sorted(keys.values())
    touch(root, *(f"images/{name}.jpg" for name in kept), *(f"masks/m_{name}.png" for name in kept))

    if kept:
        assert kept == [stem for stem, *_ in paired(root, "images/*.*", "masks/m_*.png")]
