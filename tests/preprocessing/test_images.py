import os
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segline.core.errors import DataError
from segline.preprocessing import images
from segline.preprocessing.image_files import png, reading
from tests.preprocessing.image_files.test_headers import png as png_bytes

RGB = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
MASK = np.random.default_rng(1).integers(0, 12, (30, 40), np.uint8)
SIDES = st.integers(1, 40)


def encoded(pixels: np.ndarray, extension: str = ".png") -> bytes:
    return cv2.imencode(extension, pixels)[1].tobytes()


def stored(values: np.ndarray, depth: int, colour: int, before: bytes = b"") -> bytes:
    """A PNG of samples (H, W) or (H, W, C) of so many bits, most significant first (PNG 3rd edition, section 7.2)."""
    bits = (values[..., None] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(len(values), -1), axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return png_bytes(*values.shape[:2], depth=depth, colour=colour, before=before, data=zlib.compress(lines))


def test_colours_are_written_in_the_order_red_green_blue(tmp_path):
    png.write_png(tmp_path / "a.png", RGB)

    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1], RGB)


def test_writing_twice_gives_equal_bytes(tmp_path):
    png.write_png(tmp_path / "a.png", RGB)
    png.write_png(tmp_path / "b.png", RGB)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "loop", "device", "dangling"])
def test_only_regular_files_are_read_and_nothing_hangs(tmp_path, kind):
    path = tmp_path / "a.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dangling":
        path.symlink_to(tmp_path / "gone")

    with pytest.raises(DataError, match=r"a\.png: "):
        reading.read(path)


def test_a_link_to_a_file_is_followed(tmp_path):
    """DVC links data to its cache."""
    (tmp_path / "cached").write_bytes(b"content")
    (tmp_path / "a.png").symlink_to(tmp_path / "cached")

    assert reading.read(tmp_path / "a.png") == b"content"


def test_a_file_too_large_for_an_image_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(reading.MAX_BYTES + 1)

    with pytest.raises(DataError, match="expected at most"):
        reading.read(tmp_path / "a.png")


@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.uint32]), st.tuples(SIDES, SIDES)), SIDES, SIDES)
def test_resizing_a_mask_adds_no_label(mask, height, width):
    resized = images.resize_mask(mask, height, width)

    assert (resized.shape, resized.dtype) == ((height, width), mask.dtype)
    assert set(np.unique(resized)) <= set(np.unique(mask))


@given(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES)), st.integers(1, 4))
def test_a_mask_enlarged_by_a_whole_factor_repeats_its_pixels(mask, factor):
    height, width = mask.shape

    expected = mask.repeat(factor, axis=0).repeat(factor, axis=1)

    np.testing.assert_array_equal(images.resize_mask(mask, height * factor, width * factor), expected)


@given(st.tuples(SIDES, SIDES), SIDES, SIDES)
def test_resizing_a_mask_takes_the_pixel_under_the_new_centre(shape, height, width):
    """In integers: the new centre (2 i + 1) old / (2 new) is in the pixel or on its edge."""
    rows, columns = np.indices(shape, np.uint8)
    taken_rows = images.resize_mask(rows, height, width)[:, 0].tolist()
    taken_columns = images.resize_mask(columns, height, width)[0].tolist()

    for taken, old, new in ((taken_rows, shape[0], height), (taken_columns, shape[1], width)):
        centres = [(2 * place + 1) * old for place in range(new)]
        for pixel, centre in zip(taken, centres, strict=True):
            assert 2 * new * pixel <= centre <= 2 * new * (pixel + 1)


@given(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.sampled_from([1, 3]))), SIDES, SIDES)
def test_resizing_an_image_keeps_channels_and_stays_within_its_values(image, height, width):
    resized = images.resize_image(image, height, width)

    assert resized.shape == (height, width, image.shape[2])
    assert resized.dtype == np.uint8
    assert image.min() <= resized.min()
    assert resized.max() <= image.max()


@pytest.mark.parametrize(("down", "across"), [(2, 2), (3, 4), (5, 8), (1, 5), (30, 40)])
def test_shrinking_by_whole_factors_gives_the_mean_of_each_block(down, across):
    means = RGB.reshape(30 // down, down, 40 // across, across, 3).mean(axis=(1, 3))

    resized = images.resize_image(RGB, 30 // down, 40 // across)

    assert np.abs(resized - means).max() <= 0.5 + 1e-6


@given(st.tuples(SIDES, SIDES), SIDES, SIDES, st.integers(0, 99))
def test_pixels_that_are_not_valid_have_no_part_in_an_average(shape, height, width, seed):
    """By a loop over the pixels under each new one; where all are valid, the bytes stay."""
    random = np.random.default_rng(seed)
    image, valid = random.integers(0, 256, (*shape, 5), np.uint8), random.random(shape) < 0.8
    given = np.where(valid[:, :, None], image, np.uint8(0))
    resized = images.resize_image(given, height, width, valid)
    plain = images.resize_image(given, height, width)
    lack = images.resize_image(np.where(valid, np.uint8(0), np.uint8(255))[:, :, None], height, width)[:, :, 0]
    expected = plain.copy()
    for row, column in np.argwhere(lack > 0) if (height, width) != shape else []:
        down, across = (
            np.array([max(0, min((p + 1) * new, (at + 1) * old) - max(p * new, at * old)) for p in range(old)])
            for at, new, old in zip((row, column), (height, width), shape, strict=True)
        )
        shares = np.outer(down, across) * valid
        totals = (shares[:, :, None] * image).sum(axis=(0, 1))
        expected[row, column] = (2 * totals + shares.sum()) // max(1, 2 * shares.sum())

    np.testing.assert_array_equal(resized, expected)
    np.testing.assert_array_equal(plain, images.resize_image(given, height, width, np.ones(shape, bool)))


def test_an_image_at_its_own_size_is_unchanged():
    np.testing.assert_array_equal(images.resize_image(RGB, 30, 40), RGB)
    np.testing.assert_array_equal(images.resize_mask(MASK, 30, 40), MASK)
