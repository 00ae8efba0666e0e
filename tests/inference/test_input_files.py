"""Which images are predicted, and under which names."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segline.core.errors import DataError, PipelineError, Problems
from segline.dataset import raw
from segline.inference import input_files

OUT = Path("out")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Tests name paths relative to an empty folder."""
    monkeypatch.chdir(tmp_path)


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def names(*inputs: str, reported: tuple[str, ...] = (), masks: tuple[str, ...] = ()) -> list[str]:
    """The names of the images; the problems of other files start with `reported`, and `masks` are folders left out."""
    problems: list[PipelineError] = []
    left_out: list[Path] = []
    images = input_files.find([Path(given) for given in inputs], OUT, problems, left_out)
    assert [Path(folder) for folder in masks] == left_out
    assert len(reported) == len(problems), problems
    for expected, problem in zip(reported, problems, strict=True):
        assert str(problem).startswith(expected)
    return [image.name for image in images]


def test_a_folder_gives_its_images_sorted_with_their_place_in_it():
    make("f/b.png", "f/sub/a.JPG", "f/a.jpeg", "f/notes.txt", "f/scan.dcm")

    assert ["a", "b", "sub/a"] == names("f")


def test_files_of_every_format_are_found():
    make(*(f"f/{suffix[1:]}{suffix.upper()}" for suffix in raw.SUFFIXES))

    assert sorted(suffix[1:] for suffix in raw.SUFFIXES) == names("f")
    assert {".tif", ".tiff", ".bmp", ".webp", ".gif"} < set(raw.SUFFIXES)


def test_each_page_of_a_file_with_several_is_an_image_with_its_number_in_the_name():
    Path("f").mkdir()
    for name, count in (("single", 1), ("stack", 12)):
        pages = [Image.fromarray(np.full((4, 5), number, np.uint8)) for number in range(count)]
        pages[0].save(f"f/{name}.tif", save_all=True, append_images=pages[1:])
    found = input_files.find([Path("f")], OUT, [], [])

    assert ["single", *(f"stack-page-{number:02}" for number in range(1, 13))] == [image.name for image in found]
    assert [None, *range(1, 13)] == [image.page for image in found]


def test_a_damaged_tiff_is_one_image_that_cannot_be_read():
    Path("f").mkdir()
    Path("f/a.tif").write_bytes(b"II*\0")

    assert ["a"] == names("f")


def test_folders_of_masks_beside_one_of_images_are_left_out_unless_they_are_given():
    make("f/test/images/a.png", "f/test/masks/a.png", "f/test/Labels/a.png", "f/masks/b.png", "f/pictures/b.png")
    left_out = ("f/test/Labels", "f/test/masks")

    assert ["masks/b", "pictures/b", "test/images/a"] == names("f", masks=left_out)
    assert ["a"] == names("f/test/masks")


def test_a_file_keeps_its_own_name_and_inputs_keep_their_order():
    make("x/z.png", "f/b.png", "-dash.png")

    assert ["z", "b", "-dash"] == names("x/z.png", "f", "-dash.png")


def test_hidden_files_and_folders_are_ignored_unless_given_by_name():
    make("f/.thumbnail.png", "f/.cache/a.png", "f/a.png")

    assert ["a"] == names("f")
    assert [".thumbnail"] == names("f/.thumbnail.png")


@pytest.mark.parametrize("name", ["with space", "Stra\u00dfe-\u6771\u4eac", "two.dots", "new\nline", "quote\"'"])
def test_names_are_kept_as_they_are(name):
    make(f"f/{name}.png")

    assert [name] == names("f")


@pytest.mark.parametrize(
    ("inputs", "first", "second"),
    [
        (["f"], "f/a.jpg", "f/a.png"),
        (["f/a.png", "g"], "f/a.png", "g/a.jpg"),
        (["f/a.png", "f/a.png"], "f/a.png", "f/a.png"),
    ],
)
def test_of_two_images_of_one_name_the_second_is_reported_and_the_others_remain(inputs, first, second):
    make("f/a.png", "f/a.jpg", "g/a.jpg", "h/b.png")

    assert ["a", "b"] == names(
        *inputs, "h", reported=(f"{second}: its results would have the name a, like those of {first}. Rename one",)
    )


def test_a_link_to_a_folder_is_followed_and_a_circle_of_links_ends():
    make("f/a/one.png", "g/two.png")
    Path("f/a/up").symlink_to("..")
    Path("f/a/again").symlink_to("../../f")
    Path("f/other").symlink_to("../g")
    Path("g/back").symlink_to("../f")

    assert ["a/one", "other/two"] == names("f")


def test_a_link_to_itself_is_an_image_that_cannot_be_read():
    """It is listed, so that the command reports it and predicts the others."""
    make("f/a.png")
    Path("f/loop.png").symlink_to("loop.png")

    assert ["a", "loop"] == names("f")


def test_the_results_of_an_earlier_run_are_not_inputs():
    make("a.png", "out/masks/a.png", "out/overlays/a.png")

    assert ["a"] == names(".")
    with pytest.raises(DataError, match=r"out/masks/a\.png: inside .*out, the folder for the results"):
        names("out/masks/a.png")


@pytest.mark.parametrize("given", ["out/overlays", "out/deep/down", "shortcut", "linked", "f"])
def test_a_folder_or_link_that_leads_into_the_results_is_refused(given):
    """Predicting would remove its images before they are read."""
    make("out/overlays/a.png", "out/deep/down/b.png", "f/c.png")
    Path("shortcut").symlink_to("out/overlays")
    make("linked/d.png")
    Path("linked/results").symlink_to("../out/deep")
    Path("f/e.png").symlink_to("../out/overlays/a.png")

    with pytest.raises(DataError, match=r"\.png: inside .*out, the folder for the results"):
        names(given)


def test_the_folder_of_the_results_cannot_be_that_of_the_images():
    make("out/a.png")

    with pytest.raises(DataError, match=r"^out: the folder for the results\. Name another folder with --out"):
        names("out")


def test_no_image_and_no_such_file_are_errors():
    make("f/notes.txt")

    with pytest.raises(DataError, match=r"f: no images, expected files ending in \.bmp, .*\.png"):
        names("f")
    with pytest.raises(DataError, match=r"^gone\.png: missing, expected an image or a folder of images"):
        names("f", "gone.png")
    with pytest.raises(Problems, match="other: missing"):
        names("gone.png", "other")


def test_a_missing_input_is_reported_and_the_others_remain():
    make("f/a.png")

    assert ["a"] == names("gone.png", "f", reported=("gone.png: missing, expected an image or a folder of images.",))


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read():
    make("f/a.png")
    Path("f/b.png").symlink_to("gone")

    assert ["a", "b"] == names("f")
    assert ["b"] == names("f/b.png")


def test_a_name_that_cannot_be_written_into_a_table_is_reported_and_the_others_remain():
    make("f/a.png")
    Path(os.fsdecode(b"f/\xff.png")).touch()

    assert ["a"] == names("f", reported=("'f/\\udcff.png': a name that is not UTF-8 text. Rename the file.",))
