from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from segline.preprocessing.image_files import image_file, masks
from segline.preprocessing.image_files.stored_samples import Georeference
from segline.preprocessing.image_files.upright import TURNS
from tests.pictures import RGB, saved

CODES = np.arange(9 * 14).reshape(9, 14)
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "TIFF": ".tif"}


def marked(orientation: int, kind: str, pixels: np.ndarray = RGB) -> bytes:
    """A file with that tag in its Exif block, or in its directory if it is a TIFF."""
    if kind == "TIFF":
        return saved(pixels, "TIFF", tiffinfo={0x0112: orientation})
    tag = Image.Exif()
    tag[0x0112] = orientation
    return saved(pixels, kind, exif=tag, **{"lossless": True} if kind == "WEBP" else {})


def as_a_viewer_shows(orientation: int, pixels: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_as_viewers_do(orientation, kind):
    expected = as_a_viewer_shows(orientation, RGB)

    with image_file.opened(marked(orientation, kind), Path("a" + SUFFIXES[kind])) as image:
        np.testing.assert_array_equal(image.read(0, 0, image.height, image.width).values, expected)
        assert (image.stored_size, image.orientation) == ((9, 14), orientation)
        assert ([f"turned upright (Exif orientation {orientation})"] if orientation > 1 else []) == [*image.notes]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_as_viewers_do(orientation):
    plain = marked(1, "JPEG")
    with image_file.opened(plain, Path("a.jpg")) as image:
        expected = as_a_viewer_shows(orientation, np.ascontiguousarray(image.read(0, 0, 9, 14).values))

    with image_file.opened(marked(orientation, "JPEG"), Path("a.jpg")) as image:
        np.testing.assert_array_equal(image.read(0, 0, image.height, image.width).values, expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_without_a_turn_the_stored_pixels_are_read(kind):
    with image_file.opened(marked(6, kind), Path("a" + SUFFIXES[kind]), turn=False) as image:
        np.testing.assert_array_equal(image.read(0, 0, 9, 14).values, RGB)
        assert (image.orientation, image.notes) == (6, ())


@given(st.sampled_from(range(1, 9)), st.data())
def test_a_window_is_cut_out_of_the_upright_image(orientation, data):
    turn = TURNS[orientation]
    whole = turn.upright(CODES)
    height, width = turn.size(*CODES.shape)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    tall, wide = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))

    first, start, stored_height, stored_width = turn.stored_window((top, left, tall, wide), (height, width))
    stored = CODES[first : first + stored_height, start : start + stored_width]

    np.testing.assert_array_equal(turn.upright(stored), whole[top : top + tall, left : left + wide])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_with_a_tag_of_its_own_is_turned_too(orientation):
    mask = CODES.astype(np.uint8)

    decoded = masks.decode(marked(orientation, "PNG", mask), Path("a.png"), "index")

    np.testing.assert_array_equal(decoded, as_a_viewer_shows(orientation, mask))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_pixel_keeps_its_place_on_the_map_when_it_is_turned(orientation):
    """The centre of each upright pixel, by its transform, is where the stored pixel of that value lies."""
    a, b, c, d, e, f = transform = (0.5, 0.1, 300.0, -0.2, -0.25, 900.0)
    turn = TURNS[orientation]
    height, width = turn.size(*CODES.shape)

    turned = turn.georeference(Georeference("a system", transform), height, width)

    rows, columns = np.divmod(turn.upright(CODES).ravel(), 14)
    expected = a * (columns + 0.5) + b * (rows + 0.5) + c, d * (columns + 0.5) + e * (rows + 0.5) + f
    y, x = (places.ravel() + 0.5 for places in np.indices((height, width)))
    p, q, r, s, t, u = turned.transform
    np.testing.assert_allclose((p * x + q * y + r, s * x + t * y + u), expected)
    assert turned.crs == "a system"


def test_an_image_without_a_place_gets_none():
    assert TURNS[6].georeference(None, 14, 9) is None
