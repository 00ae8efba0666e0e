import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segline.core.errors import DataError
from segline.preprocessing.image_files import masks
from tests.pictures import GRAY, RGB, geotiff, saved
from tests.preprocessing.image_files.test_headers import chunk, jpeg, png
from tests.preprocessing.test_images import encoded, stored

MASK = GRAY % 5
CODES = RGB.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
COLOURS = [(9, 9, 9), (200, 0, 0), (0, 200, 0), (0, 0, 200), (7, 8, 9)]
SUFFIXES = {"PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp", "GIF": ".gif"}


def refusal(content: bytes, name: str, encoding: str | None, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        masks.decode(content, Path(name), encoding, **options)
    assert str(caught.value).startswith(f"{name}: ")
    return str(caught.value)


def with_palette() -> Image.Image:
    picture = Image.fromarray(MASK).convert("P")
    picture.putpalette(sum(COLOURS, ()))
    return picture


@given(st.data(), st.sampled_from([(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (3, 1), (3, 2), (3, 4), (3, 8)]))
def test_an_index_mask_is_decoded_as_stored_whatever_its_depth(data, form):
    """OpenCV scales 1, 2 and 4 bits to 0..255 and turns palettes into colours."""
    colour, depth = form
    kind = np.uint16 if depth == 16 else np.uint8
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
    mask = data.draw(hnp.arrays(kind, shape, elements=st.integers(0, (1 << depth) - 1)))
    palette = chunk(b"PLTE", bytes(3 << depth)) + chunk(b"tRNS", bytes(1 << depth)) if colour == 3 else b""

    decoded = masks.decode(stored(mask, depth, colour, palette), Path("a.png"), "index")

    assert decoded.dtype == kind
    np.testing.assert_array_equal(decoded, mask)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_gray_mask_is_read_as_saved(kind):
    np.testing.assert_array_equal(masks.decode(saved(MASK, kind), Path(f"a{SUFFIXES[kind]}"), "index"), MASK)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_a_palette_mask_is_its_indices_or_their_colours(kind):
    content, path = saved(with_palette(), kind), Path(f"a{SUFFIXES[kind]}")

    with masks.opened(content, path, "index") as mask:
        indices, palette = mask.read(0, 0, 9, 14), mask.palette

    assert [[palette[index] for index in row] for row in indices.tolist()] == [
        [COLOURS[index] for index in row] for row in MASK.tolist()
    ]
    if kind != "GIF":  # Pillow sorts its colours
        np.testing.assert_array_equal(indices, MASK)
    codes = np.array([red << 16 | green << 8 | blue for red, green, blue in COLOURS], np.uint32)
    np.testing.assert_array_equal(masks.decode(content, path, "palette"), codes[MASK])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_a_colour_mask_is_decoded_to_codes(kind):
    options = {"lossless": True} if kind == "WEBP" else {}

    decoded = masks.decode(saved(RGB, kind, **options), Path(f"a{SUFFIXES[kind]}"), "rgb")

    assert decoded.dtype == np.uint32
    np.testing.assert_array_equal(decoded, CODES)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_opaque_alpha_is_left_out_of_a_colour_mask(kind):
    pixels = np.dstack([RGB, np.full_like(GRAY, 255)])

    np.testing.assert_array_equal(masks.decode(saved(pixels, kind), Path(f"a{SUFFIXES[kind]}"), "rgb"), CODES)


def test_alpha_of_12_bits_is_opaque_at_4095():
    mask = np.dstack([GRAY.astype(np.uint16), np.full(GRAY.shape, 4095, np.uint16)])
    content = geotiff(mask, nbits=12, photometric="MINISBLACK", ALPHA="YES")

    np.testing.assert_array_equal(masks.decode(content, Path("a.tif"), "index"), GRAY)


def test_opaque_alpha_is_left_out_of_an_index_mask():
    pixels = np.dstack([MASK, np.full_like(MASK, 255)])

    np.testing.assert_array_equal(masks.decode(saved(pixels, "PNG", "LA"), Path("a.png"), "index"), MASK)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "int16", "int32", "float32"])
def test_whole_numbers_of_any_type_are_indices(kind):
    """As programs for maps write them."""
    labels = MASK.astype(kind)[:, :, None]
    labels[0, 0] = 255

    decoded = masks.decode(geotiff(labels, nodata=255, compress="lzw"), Path("a.tif"), "index")

    np.testing.assert_array_equal(decoded, labels[:, :, 0])
    assert decoded.dtype == (np.uint8 if kind == "uint8" else np.uint16)


@pytest.mark.parametrize("value", [-1, 65536, 0.5, np.nan, np.inf])
def test_any_other_number_is_refused_with_its_place(value):
    labels = MASK.astype(np.float32)[:, :, None]
    labels[3, 4] = value

    problem = refusal(geotiff(labels), "a.tif", "index")

    assert f"value {np.float32(value)} at (x, y) = (4, 3), expected whole numbers from 0 to 65535" in problem


def test_0_as_white_does_not_invert_classes():
    content = geotiff(MASK[:, :, None], photometric="MINISWHITE")

    np.testing.assert_array_equal(masks.decode(content, Path("a.tif"), "index"), MASK)


def test_three_bands_without_a_meaning_are_colours_if_the_encoding_says_so():
    content = geotiff(RGB, photometric="MINISBLACK")

    np.testing.assert_array_equal(masks.decode(content, Path("a.tif"), "rgb"), CODES)


def test_each_page_is_a_mask_of_its_own():
    content = saved(MASK, "TIFF", save_all=True, append_images=[Image.fromarray(4 - MASK)])

    np.testing.assert_array_equal(masks.decode(content, Path("a.tif"), "index", page=2), 4 - MASK)
    assert "2 pages, expected one image" in refusal(content, "a.tif", "index")
    assert "no page 3, as it has 2" in refusal(content, "a.tif", "index", page=3)


@pytest.mark.parametrize("encoding", ["index", "rgb", "palette"])
def test_windows_are_cut_out_of_the_whole_mask(encoding):
    content = saved(RGB, "PNG") if encoding == "rgb" else saved(with_palette(), "TIFF")
    path = Path("a.png" if encoding == "rgb" else "a.tif")

    with masks.opened(content, path, encoding, windows=True) as mask:
        np.testing.assert_array_equal(mask.read(2, 3, 5, 7), masks.decode(content, path, encoding)[2:7, 3:10])


def test_an_index_without_a_colour_is_refused():
    content = stored(np.array([[0, 2]]), 8, 3, chunk(b"PLTE", bytes(6)))

    assert "palette index 2, but its palette has 2 colours" in refusal(content, "a.png", "palette")


@pytest.mark.parametrize("extension", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_with_a_threshold_what_is_above_it_is_the_second_class(extension):
    """Gray and RGB alike, JPEG included: its smeared values lie far from the threshold."""
    mask = np.zeros((16, 24), np.uint8)
    mask[4:12, 8:16] = 255
    for pixels in (mask, mask[:, :, None].repeat(3, axis=2)):
        decoded = masks.decode(encoded(pixels, extension), Path(f"a{extension}"), "index", threshold=127)

        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, mask > 127)


@pytest.mark.parametrize("depth", [8, 16])
def test_the_threshold_itself_belongs_to_the_first_class(depth):
    content = stored(np.array([[99, 100, 101, (1 << depth) - 1]]), depth, 0)

    assert [[0, 0, 1, 1]] == masks.decode(content, Path("a.png"), "index", threshold=100).tolist()


def test_a_threshold_needs_gray_levels():
    content = png(colour=3, before=chunk(b"PLTE", bytes(9)))

    problem = refusal(content, "a.png", "index", threshold=0)

    assert "8-bit palette mask, expected gray or RGB, as there is a threshold. Save it as plain gray." in problem


def test_without_an_encoding_the_colours_decide_and_losses_are_told():
    cases = [(saved(RGB, "PNG"), "a.png", "rgb", False), (saved(MASK, "TIFF"), "a.tif", "index", False)]
    for content, name, encoding, lossy in [*cases, (jpeg(), "a.jpg", "rgb", True)]:
        with masks.opened(content, Path(name), None) as mask:
            assert (mask.encoding, mask.lossy) == (encoding, lossy)


NOT_INDEX = "RGB mask, expected gray or palette, one class index per pixel. It looks like an RGB colour mask; set the"
NOT_RGB = "mask, expected 8-bit RGB, one colour per class. It looks like an index mask; set the encoding to index, or"
PALETTE = chunk(b"PLTE", bytes(9))
SMEARED = "a JPEG mask, expected PNG. JPEG smears class values: export it again, as PNG; or divide two classes by data."


@pytest.mark.parametrize(
    ("encoding", "content", "name", "expected"),
    [
        ("index", png(colour=2), "a.png", f"8-bit {NOT_INDEX} encoding to rgb."),
        ("index", png(colour=2, depth=16), "a.png", f"16-bit {NOT_INDEX}"),
        ("index", png(colour=6), "a.png", f"8-bit {NOT_INDEX}"),
        ("index", png(colour=4), "a.png", "8-bit gray mask with transparent pixels, expected none. Export it again,"),
        ("index", png(colour=0, before=chunk(b"tRNS", bytes(2))), "a.png", "8-bit gray mask with transparent pixels"),
        ("index", encoded(MASK, ".jpg"), "a.jpg", SMEARED),
        ("index", png(colour=3, before=PALETTE, data=zlib.compress(bytes(9))), "a.png", "cannot be decoded"),
        ("index", geotiff(np.dstack([RGB, MASK, MASK])), "a.tif", "5-band mask, expected gray or palette"),
        ("index", geotiff(MASK[:, :, None], compress="jpeg"), "a.tif", SMEARED),
        ("index", saved(RGB, "WEBP", lossless=True), "a.webp", f"8-bit {NOT_INDEX}"),
        ("rgb", saved(RGB, "WEBP"), "a.webp", "a WebP mask, expected PNG. WebP smears class values"),
        ("rgb", saved(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "a.tif", "8-bit CMYK mask, expected 8-bit RGB"),
        ("rgb", geotiff(RGB.astype(np.uint16), photometric="RGB"), "a.tif", "16-bit RGB mask, expected 8-bit RGB"),
        ("rgb", png(colour=0), "a.png", f"8-bit gray {NOT_RGB}"),
        ("rgb", png(colour=3, before=PALETTE), "a.png", "Its colours are in its palette; set the encoding to palette"),
        ("palette", png(colour=0), "a.png", "8-bit gray mask, expected palette, one colour per class. It looks like"),
        ("palette", png(colour=2), "a.png", "8-bit RGB mask, expected palette, one colour per class. Its pixels are"),
        ("palette", jpeg(), "a.jpg", SMEARED),
        ("rgb", png(colour=2, depth=16), "a.png", "16-bit RGB mask, expected 8-bit RGB"),
        (
            "rgb",
            png(colour=6),
            "a.png",
            "8-bit RGB mask with transparent pixels, expected none. Export it again, without",
        ),
        ("rgb", png(before=chunk(b"tRNS", bytes(6))), "a.png", "8-bit RGB mask with transparent pixels"),
        ("rgb", jpeg(), "a.jpg", SMEARED),
        (
            "index",
            png(20000, 20000, colour=0),
            "a.png",
            "20000x20000 pixels, expected at most 67108864 in all. Set pre",
        ),
    ],
)
def test_a_mask_whose_values_are_not_what_the_encoding_says_is_refused(encoding, content, name, expected):
    assert expected in refusal(content, name, encoding)


def test_gray_samples_are_the_luma_of_colours():
    expected = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)

    np.testing.assert_array_equal(masks.gray_samples(saved(RGB, "PNG"), Path("a.png")), expected)
