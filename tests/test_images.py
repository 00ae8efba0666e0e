import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segline import images
from segline.errors import DataError
from tests.test_containers import chunk, exif, jpeg, png

RGB = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
MASK = np.random.default_rng(1).integers(0, 12, (30, 40), np.uint8)
SIDES = st.integers(1, 40)


def encoded(pixels: np.ndarray, extension: str = ".png") -> bytes:
    return cv2.imencode(extension, pixels)[1].tobytes()


def refusal(decode, content: bytes, name: str) -> str:
    with pytest.raises(DataError) as caught:
        decode(content, Path(name))
    assert str(caught.value).startswith(f"{name}: ")
    return str(caught.value)


def test_colours_come_in_the_order_red_green_blue(tmp_path):
    images.write_png(tmp_path / "a.png", RGB)

    np.testing.assert_array_equal(images.decode_image(images.read(tmp_path / "a.png"), tmp_path / "a.png"), RGB)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1], RGB)


def test_a_gray_image_keeps_its_one_channel(tmp_path):
    images.write_png(tmp_path / "a.png", RGB[:, :, :1])

    np.testing.assert_array_equal(images.decode_image(images.read(tmp_path / "a.png"), Path("a.png")), RGB[:, :, :1])


def test_a_jpeg_comes_as_opencv_decodes_it():
    content = jpeg()

    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]

    np.testing.assert_array_equal(images.decode_image(content, Path("a.jpg")), expected)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_a_mask_comes_back_value_for_value(mask):
    np.testing.assert_array_equal(images.decode_mask(encoded(mask), Path("a.png")), mask)


def test_writing_twice_gives_equal_bytes(tmp_path):
    images.write_png(tmp_path / "a.png", RGB)
    images.write_png(tmp_path / "b.png", RGB)

    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (png(depth=16), "a.png", "16 bits a channel, expected 8"),
        (png(colour=3, before=chunk(b"PLTE", bytes(9))), "a.png", "palette, expected RGB or gray"),
        (png(colour=4), "a.png", "gray with alpha"),
        (png(colour=6), "a.png", "RGB with alpha, expected RGB or gray. Remove the alpha channel."),
        (png(colour=0, depth=4), "a.png", "4 bits a channel"),
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
    assert expected in refusal(images.decode_image, content, name)


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (png(colour=2), "a.png", ": 8-bit RGB mask, expected 8-bit gray, one class index a pixel. Convert"),
        (png(colour=3, before=chunk(b"PLTE", bytes(9))), "a.png", "palette mask"),
        (png(colour=6), "a.png", "RGB with alpha mask"),
        (png(colour=0, depth=16), "a.png", "16-bit gray mask"),
        *((png(colour=0, depth=depth), "a.png", f"{depth}-bit gray mask") for depth in (1, 2, 4)),
        (png(colour=0, before=chunk(b"eXIf", exif(3))), "a.png", "Exif orientation 3"),
        (encoded(MASK, ".jpg"), "a.jpg", "JPEG smears class values"),
    ],
)
def test_a_mask_whose_values_are_not_its_classes_is_refused(content, name, expected):
    assert expected in refusal(images.decode_mask, content, name)


def test_an_upright_exif_tag_changes_nothing():
    np.testing.assert_array_equal(
        images.decode_image(jpeg(1), Path("a.jpg")), images.decode_image(jpeg(), Path("a.jpg"))
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


@given(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES)), SIDES, SIDES)
def test_resizing_a_mask_adds_no_label(mask, height, width):
    resized = images.resize_mask(mask, height, width)

    assert resized.shape == (height, width)
    assert set(np.unique(resized)) <= set(np.unique(mask))


@given(hnp.arrays(np.uint8, st.tuples(SIDES, SIDES)), st.integers(1, 4))
def test_a_mask_enlarged_by_a_whole_factor_repeats_its_pixels(mask, factor):
    height, width = mask.shape

    expected = mask.repeat(factor, axis=0).repeat(factor, axis=1)

    np.testing.assert_array_equal(images.resize_mask(mask, height * factor, width * factor), expected)


@given(st.tuples(SIDES, SIDES), SIDES, SIDES)
def test_resizing_a_mask_takes_the_pixel_under_the_new_centre(shape, height, width):
    """In whole numbers: the new centre (2 i + 1) old / (2 new) lies in the pixel or on its edge."""
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


def test_muffled_hears_the_decoder_and_lets_python_speak(tmp_path):
    """Checked in a process of its own, since it moves file descriptor 2."""
    content = jpeg()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 3 // 4] + b"\xff\xd9")
    code = (
        "import sys, cv2\nfrom pathlib import Path\nfrom segline import images\n"
        "content = images.read(Path('a.jpg'))\n"
        "with images.muffled() as heard:\n"
        "    images.decode_image(content, Path('a.jpg'))\n"
        "    print('inside', file=sys.stderr)\n"
        "    print(heard().startswith('Corrupt JPEG data'), heard() == '')\n"
        "print('after', file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "True True\n"
    assert done.stderr == "inside\nafter\n"


def test_importing_images_does_not_import_torch():
    code = "import sys, segline.images; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
