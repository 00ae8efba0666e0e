from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from segline.core.errors import DataError
from segline.preprocessing.image_files import image_file
from segline.preprocessing.image_files.stored_samples import Samples
from tests.pictures import GRAY, RGB, geotiff, saved
from tests.preprocessing.image_files.test_headers import chunk, jpeg, png
from tests.preprocessing.test_images import stored

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp", "GIF": ".gif"}
LEVELS = GRAY[:, :, None]
SMOOTH = cv2.resize(RGB[:2, :3], (48, 32))


def read(content: bytes, name: str, **options: object) -> tuple[Samples, image_file.ImageFile]:
    with image_file.opened(content, Path(name), **options) as image:
        return image.read(0, 0, image.height, image.width), image


def values(content: bytes, name: str, **options: object) -> np.ndarray:
    return read(content, name, **options)[0].values


def refusal(content: bytes, name: str, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        values(content, name, **options)
    assert str(caught.value).startswith(f"{name}: ")
    return str(caught.value)


def lossless(pixels: np.ndarray, kind: str, mode: str | None = None) -> bytes:
    return saved(pixels, kind, mode, **{"lossless": True, "exact": True} if kind == "WEBP" else {})


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_rgb_is_read_as_saved(kind):
    samples, image = read(lossless(RGB, kind), f"a{SUFFIXES[kind]}")

    np.testing.assert_array_equal(samples.values, RGB)
    assert samples.valid is None
    assert (image.colour, image.bands, image.dtype, image.pages) == ("RGB", 3, np.uint8, 1)
    assert image.notes == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_gray_is_read_as_saved(kind):
    samples, image = read(lossless(GRAY, kind), f"a{SUFFIXES[kind]}")

    np.testing.assert_array_equal(samples.values, LEVELS)
    assert (image.colour, image.bands, image.depth) == ("gray", 1, 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_a_palette_becomes_its_colours(kind):
    picture = Image.fromarray(RGB).quantize(16)

    samples, image = read(lossless(np.asarray(picture.convert("RGB")), kind, "P"), f"a{SUFFIXES[kind]}")

    expected = np.asarray(Image.fromarray(np.asarray(picture.convert("RGB"))).convert("P").convert("RGB"))
    np.testing.assert_array_equal(samples.values, expected)
    assert (image.colour, image.bands, image.notes) == ("RGB", 3, ("palette converted to RGB",))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_or_white(kind):
    content = saved((GRAY > 99).astype(np.uint8) * 255, kind, "1")

    shown = values(content, f"a{SUFFIXES[kind]}")

    np.testing.assert_array_equal(shown, np.where(LEVELS > 99, 255, 0).repeat(shown.shape[2], axis=2))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_few_bits_spans_the_whole_range(depth):
    most = (1 << depth) - 1
    levels = np.arange(most + 1)[None]

    assert (levels * 255 // most).tolist() == values(stored(levels, depth, 0), "a.png")[:, :, 0].tolist()


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95, "subsampling": 0}), ("WEBP", {"quality": 95})])
def test_what_was_compressed_with_losses_is_close_to_what_was_saved(kind, options):
    shown = values(saved(SMOOTH, kind, **options), f"a{SUFFIXES[kind]}")

    assert np.abs(shown - SMOOTH.astype(int)).mean() < 4


@pytest.mark.parametrize(("kind", "most"), [("JPEG", 8), ("TIFF", 1)])
def test_cmyk_becomes_rgb_with_a_note(kind, most):
    ink = Image.fromarray(SMOOTH).convert("CMYK")
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}

    samples, image = read(saved(ink, kind, **options), f"a{SUFFIXES[kind]}")

    assert np.abs(samples.values - np.asarray(ink.convert("RGB")).astype(int)).max() <= most
    assert (image.colour, image.notes) == ("RGB", ("CMYK converted to RGB",))


def test_cmyk_that_may_be_inverted_is_refused():
    """Adobe's programs store 0 for full ink and say so; without their mark nobody knows."""
    content = saved(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG")
    start = content.index(b"\xff\xee")

    expected = "CMYK without Adobe's mark: whether 0 is full ink cannot be told. Convert it to RGB."
    assert expected in refusal(content[:start] + content[start + 16 :], "a.jpg")


def with_alpha(colours: np.ndarray, alpha: np.ndarray, kind: str) -> bytes:
    pixels = np.dstack([colours, alpha])
    if kind == "16 bits":
        return cv2.imencode(".png", pixels[:, :, [2, 1, 0, 3]].astype(np.uint16) * 257)[1].tobytes()
    return lossless(pixels, kind)


ALPHA_FILES = {"PNG": "a.png", "WEBP": "a.webp", "TIFF": "a.tif", "16 bits": "a.png"}


@pytest.mark.parametrize(("kind", "name"), [item for item in ALPHA_FILES.items() if item[0] != "WEBP"])  # drops it
@pytest.mark.parametrize("choice", ["refuse", "drop", "white", "black"])
def test_opaque_alpha_never_changes_a_colour(kind, name, choice):
    samples, image = read(with_alpha(RGB, np.full_like(GRAY, 255), kind), name, alpha=choice)

    np.testing.assert_array_equal(samples.values, RGB.astype(int) * (257 if kind == "16 bits" else 1))
    assert image.bands == 3
    assert image.notes == (
        {"refuse": "opaque alpha dropped", "drop": "alpha dropped"}.get(choice, f"laid on {choice}"),
    )


@pytest.mark.parametrize(("kind", "name"), ALPHA_FILES.items())
def test_transparent_pixels_are_an_error_that_names_the_parameter(kind, name):
    content = with_alpha(RGB, GRAY + 50, kind)
    lowest, most = (int(GRAY.min()) + 50) * (257 if kind == "16 bits" else 1), 65535 if kind == "16 bits" else 255

    problem = refusal(content, name)

    assert f"transparent pixels (alpha from {lowest} of {most}), expected opaque ones" in problem
    other = "; or, if band 4 is near infrared, preprocess.bands to [1, 2, 3, 4]"
    may_be_infrared = name == "a.tif"
    assert problem.endswith(f"Set preprocess.alpha to drop, white or black{other * may_be_infrared}.")


@pytest.mark.parametrize(("kind", "name"), ALPHA_FILES.items())
@pytest.mark.parametrize(("choice", "background"), [("white", 1), ("black", 0)])
def test_transparent_pixels_show_the_background_to_the_nearest_integer(kind, name, choice, background):
    content, most = with_alpha(RGB, GRAY + 50, kind), 65535 if kind == "16 bits" else 255
    colours, alpha = (each.astype(int) * (most // 255) for each in (RGB, LEVELS + 50))

    exact = (2 * (colours * alpha + background * most * (most - alpha)) + most) // (2 * most)

    np.testing.assert_array_equal(values(content, name, alpha=choice), exact)


@pytest.mark.parametrize(("kind", "name"), ALPHA_FILES.items())
def test_transparent_pixels_that_are_dropped_keep_their_colours(kind, name):
    """Even those that cannot be seen at all."""
    content = with_alpha(RGB, np.where(GRAY > 99, GRAY, 0), kind)

    np.testing.assert_array_equal(
        values(content, name, alpha="drop"), RGB.astype(int) * (257 if kind == "16 bits" else 1)
    )


def test_gray_with_alpha_stays_gray():
    content = saved(np.dstack([GRAY, GRAY]), "PNG", "LA")

    np.testing.assert_array_equal(values(content, "a.png", alpha="drop"), LEVELS)


@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (16, 0), (2, 0), (8, 2), (16, 2)])
def test_a_transparent_colour_is_alpha(depth, colour):
    """PNG, 11.3.2.1: pixels of exactly that colour are transparent, all others opaque."""
    pixels = np.random.default_rng(0).integers(0, 4, (9, 14, 3 if colour else 1))
    key = pixels[2, 3]
    content = stored(pixels if colour else pixels[:, :, 0], depth, colour, chunk(b"tRNS", key.astype(">u2").tobytes()))
    unused = stored(pixels if colour else pixels[:, :, 0], depth, colour, chunk(b"tRNS", b"\0\7" * key.size))
    plain = values(unused, "a.png") if depth > 2 else None
    most = 65535 if depth == 16 else 255

    shown = values(content, "a.png", alpha="white")

    is_clear = (pixels == key).all(axis=2)
    assert (shown[is_clear] == most).all()
    if plain is not None:
        np.testing.assert_array_equal(shown[~is_clear], plain[~is_clear])
    assert "transparent pixels" in refusal(content, "a.png")


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_index_of_a_palette_is_alpha(kind):
    picture = Image.fromarray(GRAY % 4).convert("P")
    picture.putpalette([9, 9, 9, 50, 0, 0, 0, 60, 0, 0, 0, 70])
    content = saved(picture, kind, transparency=2)

    shown = values(content, f"a{SUFFIXES[kind]}", alpha="white")

    expected = np.array([(9, 9, 9), (50, 0, 0), (255, 255, 255), (0, 0, 70)])[GRAY % 4]
    np.testing.assert_array_equal(shown, expected)
    assert "Set preprocess.alpha" in refusal(content, f"a{SUFFIXES[kind]}")


def test_the_alpha_channel_is_a_band_if_its_number_is_chosen():
    """GDAL marks the fourth band of any 8-bit image as alpha, near infrared too."""
    bands = np.dstack([RGB, GRAY])
    content = geotiff(bands)

    samples, image = read(content, "a.tif", bands=(4, 1))

    np.testing.assert_array_equal(samples.values, bands)
    assert (image.bands, image.colour, image.notes) == (4, "bands", ())
    assert "transparent pixels" in refusal(content, "a.tif", bands=(3, 2, 1))


@given(st.sampled_from(["a.png", "a.tif"]), st.data())
def test_windows_are_cut_out_of_the_whole_image(name, data):
    content = lossless(RGB, "PNG" if name == "a.png" else "TIFF")
    top, left = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 13))
    height, width = data.draw(st.integers(1, 9 - top)), data.draw(st.integers(1, 14 - left))

    with image_file.opened(content, Path(name), windows=True) as image:
        window = image.read(top, left, height, width).values

    np.testing.assert_array_equal(window, RGB[top : top + height, left : left + width])


@pytest.mark.parametrize("kind", SUFFIXES)
def test_a_path_is_read_as_its_content(kind, tmp_path):
    path = tmp_path / f"a{SUFFIXES[kind]}"
    path.write_bytes(content := saved(RGB, kind))

    with image_file.opened(path, path) as image:
        np.testing.assert_array_equal(image.read(0, 0, 9, 14).values, values(content, path.name))
    assert 1 == image_file.pages(path, path)


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (saved(RGB, "WEBP"), "a.png", "contains WebP data, so its name must end in .webp. Rename it."),
        (saved(RGB, "TIFF"), "a.jpg", "contains TIFF data, so its name must end in .tif or .tiff"),
        (saved(RGB, "GIF"), "a.gif.png", "contains GIF data"),
        (b"%PDF-1.7", "a.tif", "not an image, starts with b'%PDF-1.7', expected PNG, JPEG, TIFF, BMP, WebP or GIF"),
        (b"", "a.bmp", "empty file"),
        (saved(RGB, "GIF", save_all=True, append_images=[Image.fromarray(GRAY)]), "a.gif", "several frames"),
        (saved(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(GRAY)]), "a.webp", "several frames"),
        (saved(RGB, "GIF")[:-40], "a.gif", "damaged: the pixels cannot be decoded"),
        (saved(RGB, "BMP")[:-3], "a.bmp", "damaged: the pixels cannot be decoded"),
        (saved(RGB, "WEBP")[:-1], "a.webp", "cut: the file ends 1 bytes too early"),
        (saved(RGB, "WEBP") + b"rest", "a.webp", "4 bytes follow the end of the image"),
        (saved(RGB, "GIF")[:13], "a.gif", "damaged: the pixels cannot be decoded"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\1\0\0;", "a.gif", "65535x65535 pixels"),
        (b"GIF89a\2\0\2\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", "a.gif", "a frame that covers only a part"),
        (
            png(20000, 20000),
            "a.png",
            "20000x20000 pixels, expected at most 67108864 in all. Set preprocess.fit to tile.",
        ),
        (saved(RGB, "BMP")[:18] + b"\0\0\1\0\0\0\1\0" + saved(RGB, "BMP")[26:], "a.bmp", "65536x65536 pixels"),
    ],
)
def test_anything_but_one_complete_image_is_refused(content, name, expected):
    assert expected in refusal(content, name)


def test_an_image_that_is_cut_into_tiles_may_be_larger():
    content = png(20000, 20000)

    problem = refusal(content, "a.png", windows=True)
    assert "20000x20000 pixels, expected at most 268435456 in all. Save it as a tiled TIFF, or cut it." in problem
    with image_file.opened(png(16384, 16384), Path("a.png"), windows=True) as image:
        assert (image.height, image.width) == (16384, 16384)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_only_tiff_has_further_pages(kind):
    assert "no page 2, as it has 1" in refusal(saved(RGB, kind), f"a{SUFFIXES[kind]}", page=2)
    assert (values(saved(RGB, kind), f"a{SUFFIXES[kind]}", page=1).shape) == (9, 14, 3)


def test_a_jpeg_is_decoded_as_by_opencv():
    expected = cv2.imdecode(np.frombuffer(jpeg(), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    np.testing.assert_array_equal(values(jpeg(), "a.jpg"), expected)


@pytest.mark.parametrize("colour", [0, 2])
def test_16_bits_are_read_as_stored(colour):
    levels = np.arange(1 << 16).reshape(256, 256)
    pixels = levels if colour == 0 else np.stack([levels, levels[::-1], levels.T], axis=2)

    samples, image = read(stored(pixels, 16, colour), "a.png")

    np.testing.assert_array_equal(samples.values.squeeze(), pixels)
    assert (image.dtype, image.depth) == (np.uint16, 16)
