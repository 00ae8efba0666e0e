"""Whether image and mask belong together: their pages, sizes and Exif tags."""

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segline.core.errors import DataError, IntegrityError
from segline.dataset.raw import Pair
from segline.preprocessing import pair_files
from tests import pictures, tiny

PREPARATION = tiny.stretched(8, 8)


def pages(count: int, seed: int = 0) -> bytes:
    """A TIFF of gray images."""
    random = np.random.default_rng(seed)
    first, *others = [Image.fromarray(random.integers(0, 3, (9, 14), np.uint8)) for _ in range(count)]
    return pictures.saved(first, "TIFF", save_all=True, append_images=others)


def turned(pixels: np.ndarray, orientation: int, kind: str = "JPEG") -> bytes:
    """A file whose Exif tag says how to turn it."""
    tag = Image.Exif()
    tag[0x0112] = orientation
    return pictures.saved(pixels, kind, exif=tag)


def listed(folder: Path, image: bytes, mask: bytes, image_name: str = "a.jpg", mask_name: str = "b.png") -> Pair:
    """The pair of these files, written to the folder."""
    for name, content in ((image_name, image), (mask_name, mask)):
        (folder / name).write_bytes(content)
    digests = [hashlib.sha256(content).hexdigest() for content in (image, mask)]
    return Pair("stack", None, image_name, mask_name, *digests)


def test_each_page_of_a_stack_is_an_image_of_one_group(tmp_path):
    pair = listed(tmp_path, pages(12), pages(12), "a.tif", "b.tif")
    found = pair_files.pages(tmp_path, pair)

    assert [f"stack-page-{number:02}" for number in range(1, 13)] == [page.stem for page in found]
    assert {"stack"} == {page.group for page in found}
    assert {"drive"} == {page.group for page in pair_files.pages(tmp_path, replace(pair, group="drive"))}


def test_a_file_of_one_image_keeps_its_stem_and_group(tmp_path):
    (page,) = pair_files.pages(tmp_path, listed(tmp_path, pages(1), pages(1), "a.tif", "b.tif"))

    assert ("stack", None, None) == (page.stem, page.group, page.number)


@pytest.mark.parametrize(
    ("of_image", "of_mask", "problem"),
    [
        (3, 2, r"b\.tif: 2 pages, expected 3 as .*a\.tif\. Export a mask page for each page of the image"),
        (1, 3, r"b\.tif: 3 pages, expected 1 as"),
        (2, 1, r"b\.tif: 1 page, expected 2 as"),
    ],
)
def test_a_mask_of_fewer_or_more_pages_is_an_error_that_names_both_counts(tmp_path, of_image, of_mask, problem):
    pair = listed(tmp_path, pages(of_image), pages(of_mask), "a.tif", "b.tif")

    with pytest.raises(DataError, match=problem):
        pair_files.pages(tmp_path, pair)


def test_a_stack_with_a_mask_in_png_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"b\.png: 1 page, expected 2"):
        pair_files.pages(tmp_path, listed(tmp_path, pages(2), pictures.png()[1], "a.tif"))


@pytest.mark.parametrize("broken", ["image", "mask"])
def test_of_a_stack_whose_partner_cannot_be_opened_the_first_page_tells_why(tmp_path, broken):
    contents = [pages(3)[: 60 if kind == broken else None] for kind in ("image", "mask")]
    (page,) = pair_files.pages(tmp_path, listed(tmp_path, *contents, "a.tif", "b.tif"))

    assert 1 == page.number


def test_a_page_of_the_web_in_place_of_a_stack_is_told_as_such(tmp_path):
    with pytest.raises(DataError, match=r"b\.tif: not an image, starts with b'<html>'"):
        pair_files.pages(tmp_path, listed(tmp_path, pages(3), b"<html>", "a.tif", "b.tif"))


def test_a_changed_tiff_is_noticed(tmp_path):
    pair = listed(tmp_path, pages(1), pages(1), "a.tif", "b.tif")
    (tmp_path / "a.tif").write_bytes(pages(1, seed=1))

    with (
        pytest.raises(IntegrityError, match=r"a\.tif: sha256 [0-9a-f]{12}\.\.\., expected"),
        pair_files.opened_image(tmp_path, pair_files.Page(pair), PREPARATION),
    ):
        pass


WIDE, SQUARE = np.zeros((8, 12, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)


def fault(folder: Path, image: bytes, mask: bytes, orientation: str, mask_name: str = "b.png") -> str:
    """The error for a pair, or ""."""
    form = replace(PREPARATION, orientation=orientation)
    page = pair_files.Page(listed(folder, image, mask, mask_name=mask_name))
    with ExitStack() as files:
        picture = files.enter_context(pair_files.opened_image(folder, page, form))
        values = files.enter_context(pair_files.opened_mask(folder, page, form, "index", 1))
        return str(pair_files.misfit(folder / "a.jpg", folder / mask_name, picture, values, form.orientation) or "")


@pytest.mark.parametrize(
    ("size", "setting", "problem"),
    [
        ((12, 8), "check", ""),
        ((12, 8), "upright", ""),
        (
            (12, 8),
            "stored",
            "b.png: 8x12 pixels, expected 12x8 as {} is stored. Set preprocess.orientation to upright.",
        ),
        ((8, 12), "stored", ""),
        (
            (8, 12),
            "check",
            "b.png: 12x8 pixels as {} is stored, expected 8x12 as it is seen upright (Exif orientation 6). "
            "Turn the mask, or set preprocess.orientation to stored.",
        ),
        ((8, 12), "upright", "b.png: 12x8 pixels as {} is stored, expected 8x12 as it is seen upright"),
        ((9, 9), "check", "b.png: 9x9 pixels, expected 8x12 as {}. Export the mask at the size of its image."),
    ],
)
def test_a_mask_fits_a_turned_image_by_the_size_that_the_setting_says(tmp_path, size, setting, problem):
    mask = pictures.saved(np.zeros(size, np.uint8), "PNG")
    named = Path(tmp_path.name, "a.jpg")

    found = fault(tmp_path, turned(WIDE, 6), mask, setting)

    assert bool(problem) == bool(found)
    assert problem.format(named) in found


@pytest.mark.parametrize(("pixels", "orientation"), [(SQUARE, 6), (WIDE, 3), (WIDE, 2)])
@pytest.mark.parametrize("setting", ["check", "upright", "stored"])
def test_where_the_size_cannot_tell_the_setting_decides(tmp_path, pixels, orientation, setting):
    mask = pictures.saved(pixels[:, :, 0], "PNG")
    height, width, _ = pixels.shape

    found = fault(tmp_path, turned(pixels, orientation), mask, setting)

    assert (setting == "check") == bool(found)
    assert not found or found.endswith(
        f"a.jpg: Exif orientation {orientation}, while that of its mask is 1: with {width}x{height} pixels they fit "
        "whether turned or not. Set preprocess.orientation to upright if masks fit the images as viewers show them, "
        "otherwise to stored."
    )


@pytest.mark.parametrize("setting", ["check", "upright", "stored"])
def test_a_mask_with_the_tag_of_its_image_fits_in_every_way(tmp_path, setting):
    mask = turned(SQUARE, 6)

    assert "" == fault(tmp_path, turned(SQUARE, 6), mask, setting, "b.jpg")
