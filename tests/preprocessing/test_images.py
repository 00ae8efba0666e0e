import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segline.core.errors import DataError
from segline.preprocessing import images
from tests.preprocessing.test_headers import chunk, exif, jpeg, png

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
    return png(*values.shape[:2], depth=depth, colour=colour, before=before, data=zlib.compress(lines))


def refusal(decode, content: bytes, name: str, kind: int | str) -> str:
    with pytest.raises(DataError) as caught:
        decode(content, Path(name), kind)
    assert str(caught.value).startswith(f"{name}: ")
    return str(caught.value)


def test_colours_are_in_the_order_red_green_blue(tmp_path):
    images.write_png(tmp_path / "a.png", RGB)

    np.testing.assert_array_equal(images.decode_image(images.read(tmp_path / "a.png"), Path("a.png"), 3), RGB)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1], RGB)


def test_a_gray_image_keeps_its_one_channel_or_repeats_it():
    gray = RGB[:, :, 0]

    for channels in (1, 3):
        decoded = images.decode_image(encoded(gray), Path("a.png"), channels)
        np.testing.assert_array_equal(decoded, gray[:, :, None].repeat(channels, axis=2))


def test_an_rgb_image_of_one_channel_is_its_luma():
    """In integers, so that the result does not depend on the CPU."""
    luma = (RGB.astype(int) @ [9798, 19235, 3735] + 16384) >> 15

    decoded = images.decode_image(encoded(RGB[:, :, ::-1]), Path("a.png"), 1)

    np.testing.assert_array_equal(decoded, luma[:, :, None])


@pytest.mark.parametrize("colour", [0, 2])
def test_a_16_bit_image_is_rounded_to_8_bits(colour):
    """All values: v becomes round(v / 257)."""
    values = np.arange(1 << 16).reshape(256, 256)
    pixels = values if colour == 0 else np.stack([values, values[::-1], values.T], axis=2)

    decoded = images.decode_image(stored(pixels, 16, colour), Path("a.png"), 1 if colour == 0 else 3)

    np.testing.assert_array_equal(decoded.squeeze(), np.round(pixels / 257).astype(np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gray_jpeg_is_accepted(channels):
    content = encoded(RGB[:, :, 0], ".jpg")
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)

    decoded = images.decode_image(content, Path("a.jpg"), channels)

    np.testing.assert_array_equal(decoded, expected[:, :, None].repeat(channels, axis=2))


def test_a_jpeg_is_decoded_as_by_opencv():
    content = jpeg()

    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    np.testing.assert_array_equal(images.decode_image(content, Path("a.jpg"), 3), expected)


@given(st.data(), st.sampled_from([(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (3, 1), (3, 2), (3, 4), (3, 8)]))
def test_an_index_mask_is_decoded_as_stored_whatever_its_depth(data, form):
    """OpenCV scales 1, 2 and 4 bits to 0..255 and turns palettes into colours."""
    colour, depth = form
    kind = np.uint16 if depth == 16 else np.uint8
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
    mask = data.draw(hnp.arrays(kind, shape, elements=st.integers(0, (1 << depth) - 1)))
    palette = chunk(b"PLTE", bytes(3 << depth)) + chunk(b"tRNS", bytes(1 << depth)) if colour == 3 else b""

    decoded = images.decode_mask(stored(mask, depth, colour, palette), Path("a.png"), "index")

    assert decoded.dtype == kind
    np.testing.assert_array_equal(decoded, mask)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_colour_mask_is_decoded_to_codes(mask):
    expected = [[int(r) << 16 | int(g) << 8 | int(b) for r, g, b in row] for row in mask]

    decoded = images.decode_mask(encoded(mask[:, :, ::-1]), Path("a.png"), "rgb")

    assert decoded.dtype == np.uint32
    assert decoded.tolist() == expected


def test_a_palette_mask_is_decoded_to_the_codes_of_its_colours():
    before = chunk(b"PLTE", bytes([200, 0, 0, 0, 0, 7]))
    mask = np.array([[0, 1, 1], [0, 0, 1]])

    decoded = images.decode_mask(stored(mask, 8, 3, before), Path("a.png"), "palette")

    assert decoded.dtype == np.uint32
    assert decoded.tolist() == [[0xC80000, 7, 7], [0xC80000, 0xC80000, 7]]


def test_an_index_without_a_colour_is_refused():
    content = stored(np.array([[0, 2]]), 8, 3, chunk(b"PLTE", bytes(6)))

    assert "palette index 2, but its palette has 2 colours" in refusal(images.decode_mask, content, "a.png", "palette")


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_with_a_threshold_what_is_above_it_is_the_second_class(extension):
    """Gray and RGB alike, JPEG included: its smeared values lie far from the threshold."""
    mask = np.zeros((16, 24), np.uint8)
    mask[4:12, 8:16] = 255
    for pixels in (mask, mask[:, :, None].repeat(3, axis=2)):
        decoded = images.decode_mask(encoded(pixels, extension), Path(f"a{extension}"), "index", threshold=127)

        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, mask > 127)


@pytest.mark.parametrize("depth", [8, 16])
def test_the_threshold_itself_belongs_to_the_first_class(depth):
    content = stored(np.array([[99, 100, 101, (1 << depth) - 1]]), depth, 0)

    assert [[0, 0, 1, 1]] == images.decode_mask(content, Path("a.png"), "index", threshold=100).tolist()


def test_a_threshold_needs_gray_levels():
    content = png(colour=3, before=chunk(b"PLTE", bytes(9)))

    with pytest.raises(DataError, match="8-bit palette mask, expected gray or RGB, as there is a threshold"):
        images.decode_mask(content, Path("a.png"), "index", threshold=0)


@pytest.mark.parametrize(("most", "levels"), [(65535, 256), (4095, 17)])
def test_the_levels_that_a_16_bit_image_keeps_are_counted(most, levels):
    content = stored(np.linspace(0, most, 1 << 12).astype(int).reshape(64, 64), 16, 0)

    assert levels == images.kept_levels(content, images.decode_image(content, Path("a.png"), 1))


def test_levels_are_counted_in_16_bit_images_only():
    assert images.kept_levels(encoded(RGB), RGB) is None


def test_writing_twice_gives_equal_bytes(tmp_path):
    images.write_png(tmp_path / "a.png", RGB)
    images.write_png(tmp_path / "b.png", RGB)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (png(colour=0, depth=2), "a.png", "2 bits per channel, expected 8 or 16"),
        (png(colour=3, before=chunk(b"PLTE", bytes(9))), "a.png", "palette, expected RGB or gray"),
        (png(colour=4), "a.png", "gray with alpha"),
        (png(colour=6), "a.png", "RGB with alpha, expected RGB or gray. Remove the alpha channel."),
        (png(colour=0, depth=4), "a.png", "4 bits per channel"),
        (png(before=chunk(b"tRNS", bytes(6))), "a.png", "RGB with a transparent colour"),
        (png(before=chunk(b"eXIf", exif(6))), "a.png", "Exif orientation 6"),
        *((jpeg(orientation), "a.jpg", f"Exif orientation {orientation}") for orientation in range(2, 9)),
        (png(40000, 40000), "a.png", "40000x40000 pixels, expected at most"),
        (png(20000, 20000, colour=0), "a.png", "Cut it into tiles"),
        (png(data=b""), "a.png", "cannot be decoded"),
        (png(data=encoded(RGB)[60:80]), "a.png", "cannot be decoded"),
    ],
)
def test_an_image_that_decoders_would_change_or_cannot_read_is_refused(content, name, expected):
    for channels in (1, 3):
        assert expected in refusal(images.decode_image, content, name, channels)


NOT_INDEX = "RGB mask, expected gray or palette, one class index per pixel. It looks like an RGB colour mask; set the"
NOT_RGB = "mask, expected 8-bit RGB, one colour per class. It looks like an index mask; set the encoding to index, or"
PALETTE = chunk(b"PLTE", bytes(9))


@pytest.mark.parametrize(
    ("encoding", "content", "name", "expected"),
    [
        ("index", png(colour=2), "a.png", f"8-bit {NOT_INDEX} encoding to rgb."),
        ("index", png(colour=2, depth=16), "a.png", f"16-bit {NOT_INDEX}"),
        ("index", png(colour=6), "a.png", "RGB with alpha mask, expected gray or palette"),
        ("index", png(colour=4), "a.png", "gray with alpha mask"),
        ("index", png(colour=0, before=chunk(b"tRNS", bytes(2))), "a.png", "gray with a transparent colour mask"),
        ("index", png(colour=0, before=chunk(b"eXIf", exif(3))), "a.png", "Exif orientation 3"),
        ("index", encoded(MASK, ".jpg"), "a.jpg", "JPEG smears class values"),
        ("index", png(colour=3, before=PALETTE, data=zlib.compress(bytes(9))), "a.png", "cannot be decoded"),
        ("rgb", png(colour=0), "a.png", f"8-bit gray {NOT_RGB}"),
        ("rgb", png(colour=3, before=PALETTE), "a.png", "Its colours are in its palette; set the encoding to palette"),
        (
            "palette",
            png(colour=0),
            "a.png",
            "8-bit gray mask, expected palette, one colour per class. It looks like an",
        ),
        ("palette", png(colour=2), "a.png", "8-bit RGB mask, expected palette, one colour per class. Its pixels are"),
        ("palette", jpeg(), "a.jpg", "JPEG smears class values"),
        ("rgb", png(colour=2, depth=16), "a.png", "16-bit RGB mask, expected 8-bit RGB"),
        ("rgb", png(colour=6), "a.png", "Convert it, without an alpha channel"),
        ("rgb", png(before=chunk(b"tRNS", bytes(6))), "a.png", "RGB with a transparent colour mask"),
        ("rgb", png(before=chunk(b"eXIf", exif(5))), "a.png", "Exif orientation 5"),
        ("rgb", jpeg(), "a.jpg", "JPEG smears class values"),
    ],
)
def test_a_mask_whose_values_are_not_what_the_encoding_says_is_refused(encoding, content, name, expected):
    assert expected in refusal(images.decode_mask, content, name, encoding)


def test_an_upright_exif_tag_changes_nothing():
    np.testing.assert_array_equal(
        images.decode_image(jpeg(1), Path("a.jpg"), 3), images.decode_image(jpeg(), Path("a.jpg"), 3)
    )


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
        images.read(path)


def test_a_link_to_a_file_is_followed(tmp_path):
    """DVC links data to its cache."""
    (tmp_path / "cached").write_bytes(b"content")
    (tmp_path / "a.png").symlink_to(tmp_path / "cached")

    assert images.read(tmp_path / "a.png") == b"content"


def test_a_file_too_large_for_an_image_is_not_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)

    with pytest.raises(DataError, match="expected at most"):
        images.read(tmp_path / "a.png")


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


def test_an_image_at_its_own_size_is_unchanged():
    np.testing.assert_array_equal(images.resize_image(RGB, 30, 40), RGB)
    np.testing.assert_array_equal(images.resize_mask(MASK, 30, 40), MASK)
