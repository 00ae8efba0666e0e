"""Faulty images and masks, one by one: each is reported with its remedy, along with other problems; nothing is written.

A1 to A36 number the faults; those of sets are in test_faulty_sets, those of bands in test_faulty_tiffs. These have
tests elsewhere, in stages/test_preprocess if no file is named:

    A6   a JPEG with damaged scan data   a_jpeg_that_is_decoded_though_damaged_is_reported
    A16  gray among RGB images           gray_and_rgb_images_may_be_mixed
    A18  an Exif turn                    test_your_data, test_pair_files
    A19  image and mask differ in size   a_mask_of_another_size_is_reported
    A21  one file in two splits          the_same_image_in_two_splits_is_reported
    A22  one video in two splits         groups_shared_with_train_are_reported
    A23  no split, an empty split        a_data_set_without_splits_is_reported, an_empty_split_is_reported
    A25  only void                       masks_of_void_alone_are_...; training/test_losses; stages/test_train
    A28  any size of images              any_size_of_images_is_resized; networks/test_unet, test_networks
    A29  unusual names                   names_with_spaces_and_..., stems_that_some_file_systems_...
    A32  resizing invents a class        test_images
    A33  one-hot and back                dataset/test_onehot
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from segline.dataset import onehot, processed
from tests.pictures import geotiff, saved
from tests.preprocessing import faulty
from tests.preprocessing.faulty import COLOURS, IMAGE, MASK, PHOTO, colour_masks, put, reported
from tests.preprocessing.image_files.test_headers import chunk, png
from tests.preprocessing.image_files.test_image_file import values
from tests.preprocessing.image_files.test_tiff import damaged
from tests.preprocessing.test_images import encoded, stored
from tests.stages.test_preprocess import run

PALETTE = chunk(b"PLTE", bytes(range(48)))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    return faulty.begin(tmp_path, monkeypatch)


def cuts(content: bytes) -> Iterator[bytes]:
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        yield content[: min(max(1, int(len(content) * share)), len(content) - 1)]


def flipped(content: bytes) -> bytes:
    """With one bit of the pixels flipped."""
    at = content.index(b"IDAT") + 10
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def short(pixels: np.ndarray, colour: int, before: bytes = b"") -> bytes:
    """With correct chunks and checksums, but without some of its pixels."""
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(*pixels.shape[:2], colour=colour, before=before, data=zlib.compress(lines[:-9]))


def cmyk() -> bytes:
    """A JPEG whose frame declares four components."""
    at = PHOTO.index(b"\xff\xc0") + 9
    return PHOTO[:at] + b"\4" + PHOTO[at + 1 :]


WHOLE, COPY = encoded(IMAGE), "Copy or export the file again."
ALPHA, TILE = "Set preprocess.alpha to drop, white or black.", "Set preprocess.fit to tile."
OTHER = Image.fromarray(2 - MASK)

# row, image or mask, content, extension, problem, remedy
REFUSED = [
    *(("A1", kind, b"", ".png", "empty file", COPY) for kind in ("image", "mask")),
    *(("A2", "image", part, ".png", "cut|header|not an image", "again") for part in cuts(WHOLE)),
    *(("A2", "mask", part, ".png", "cut|header|not an image", "again") for part in cuts(encoded(MASK))),
    ("A3", "image", flipped(WHOLE), ".png", "wrong checksum in chunk b'IDAT'", COPY),
    ("A3", "mask", flipped(encoded(MASK)), ".png", "wrong checksum in chunk b'IDAT'", COPY),
    ("A4", "image", short(IMAGE, 2), ".png", "the pixels cannot be decoded", COPY),
    ("A4", "mask", short(MASK, 0), ".png", "the pixels cannot be decoded", COPY),
    ("A4", "mask", short(MASK, 3, PALETTE), ".png", "the pixels cannot be decoded", COPY),
    ("A4", "image", WHOLE[:-12], ".png", "header", COPY),
    *(("A5", "image", part, ".jpg", "cut|header|not an image", "again") for part in cuts(PHOTO)),
    ("A7", "image", b"<html><body>404 Not Found", ".png", "starts with b'<html><body>404", "error page"),
    ("A7", "mask", b"version https://git-lfs", ".png", "starts with b'version https://", "fetch it again"),
    ("A8", "image", PHOTO, ".png", "contains JPEG data", "Rename it."),
    ("A8", "mask", encoded(MASK) + b"PK\3\4", ".png", "4 bytes follow the end", "Save it again"),
    ("A9", "mask", encoded(MASK + 200), ".png", "value 20", "Correct the mask, or add the class"),
    ("A10", "mask", WHOLE, ".png", "8-bit RGB mask", "looks like an RGB colour mask; set the encoding to rgb"),
    (
        "A11",
        "mask",
        encoded(MASK, ".jpg"),
        ".jpg",
        "a JPEG mask, expected PNG",
        "export it again, as PNG; or divide",
    ),
    ("A14", "mask", stored(MASK.astype(int) + 300, 16, 0), ".png", "value 30", "Correct the mask"),
    *(("A15", "image", png(12, 16, colour=each), ".png", "transparent pixels", ALPHA) for each in (4, 6)),
    ("A15", "image", png(12, 16, before=chunk(b"tRNS", bytes(6))), ".png", "transparent pixels", ALPHA),
    ("A15", "mask", png(12, 16, colour=4), ".png", "transparent pixels", "without an alpha channel"),
    ("A17", "image", cmyk(), ".jpg", "CMYK without Adobe's mark", "Convert it to RGB."),
    ("A27", "image", png(40000, 40000), ".png", "40000x40000 pixels, expected at most", TILE),
    ("A27", "mask", png(20000, 20000, colour=0), ".png", "20000x20000 pixels", TILE),
    ("A34", "image", b"GIF89a" + bytes(50), ".gif", "damaged: the pixels cannot be decoded", COPY),
    ("A34", "image", b"II*\0" + bytes(50), ".tiff", "damaged: a TIFF without an image", COPY),
    ("A34", "image", b"\0\0\0\x0cjP  \r\n\x87\n", ".jp2", "not an image, starts with", "Convert it to PNG"),
    ("A34", "image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".svg", "not an image", "Convert it to PNG"),
    ("A34", "image", png(12, 16, before=chunk(b"acTL", bytes(8))), ".png", "an animated PNG", "a single frame"),
    *(("A35", "image", part, ".tif", "cut|damaged|not an image", "again") for part in cuts(saved(IMAGE, "TIFF"))),
    *(("A35", "mask", part, ".tif", "cut|damaged|not an image", "again") for part in cuts(saved(MASK, "TIFF"))),
    ("A36", "image", damaged("deflate", 0, IMAGE), ".tif", "a strip or tile in rows 0 to 11 cannot be decoded", COPY),
    ("A36", "mask", damaged("lzw", 0, MASK), ".tif", "a strip or tile in rows 0 to 11 cannot be decoded", COPY),
    ("A36", "image", saved(IMAGE, "GIF")[:-50], ".gif", "the pixels cannot be decoded", COPY),
    ("A36", "image", saved(IMAGE, "BMP")[:-50], ".bmp", "the pixels cannot be decoded", COPY),
    ("A36", "image", saved(IMAGE, "WEBP")[:-50], ".webp", "cut: the file ends 50 bytes too early", COPY),
    (
        "A36",
        "mask",
        saved(MASK, "GIF", save_all=True, append_images=[OTHER]),
        ".gif",
        "several frames",
        "a single frame",
    ),
    ("A36", "mask", saved(IMAGE, "WEBP"), ".webp", "a WebP mask, expected PNG", "WebP smears class values"),
    ("A36", "mask", geotiff(MASK[:, :, None] + 0.5), ".tif", "float64 samples", "gdal_translate"),
    (
        "A36",
        "mask",
        geotiff(np.float32(MASK[:, :, None] + 0.5)),
        ".tif",
        "value 0.5|value 1.5|value 2.5",
        "8-bit or 16",
    ),
]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{row}-{case[0]}-{number}") for number, (row, *case) in enumerate(REFUSED)]
)
def test_a_faulty_file_is_reported_by_name_with_its_remedy(raw, case):
    kind, content, extension, problem, remedy = case
    path = put(raw, kind, content, extension)

    (line,) = reported(raw)

    assert line.startswith(f"{path}: ")
    assert any(part in line for part in problem.split("|")), line
    assert remedy in line


TAKEN = {
    "A12 palette, 4 bits": ("mask", stored(MASK, 4, 3, PALETTE)),
    "A12 palette, 8 bits": ("mask", stored(MASK, 8, 3, PALETTE)),
    "A13 gray, 2 bits": ("mask", stored(MASK, 2, 0)),
    "A13 gray, 4 bits": ("mask", stored(MASK, 4, 0)),
    "A14 gray mask, 16 bits": ("mask", stored(MASK, 16, 0)),
    "A14 RGB image, 16 bits": ("image", stored(IMAGE.astype(int) * 257, 16, 2)),
    "A17 gamma, which is not applied": ("image", stored(IMAGE, 8, 2, chunk(b"gAMA", struct.pack(">I", 10**5)))),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "content"), TAKEN.values(), ids=TAKEN)
def test_an_unusual_but_unambiguous_file_is_accepted(raw, kind, content):
    put(raw, kind, content)

    split = processed.read(run() / "train")

    if kind == "image":
        np.testing.assert_array_equal(split.images[1], IMAGE)
    else:
        np.testing.assert_array_equal(onehot.unpack(split.onehot[1], 3), MASK)


def other_colours() -> bytes:
    """An ICC profile that swaps red and blue."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


PROFILE = other_colours()
MARKED = {
    "PNG": (stored(IMAGE, 8, 2), stored(IMAGE, 8, 2, chunk(b"iCCP", b"other\0\0" + zlib.compress(PROFILE)))),
    "JPEG": (
        PHOTO,
        PHOTO[:2] + b"\xff\xe2" + struct.pack(">H", 16 + len(PROFILE)) + b"ICC_PROFILE\0\1\1" + PROFILE + PHOTO[2:],
    ),
}


@pytest.mark.parametrize(("plain", "marked"), MARKED.values(), ids=MARKED)
def test_a17_a_colour_profile_is_not_applied(plain, marked):
    """The samples are used as stored, whatever colours a viewer shows."""
    path = Path("a.jpg" if plain is PHOTO else "a.png")
    expected = values(plain, path.name)
    with Image.open(io.BytesIO(marked)) as picture:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        seen = np.asarray(ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB")))

    assert (expected == values(marked, path.name)).all()
    assert np.abs(expected.astype(int) - seen).max() > 50, "applied, it would show"


@pytest.mark.parametrize(
    ("content", "problem", "remedy"),
    [
        pytest.param(stored(MASK, 8, 3, PALETTE), "8-bit palette", "Its colours are in its palette", id="A12"),
        pytest.param(encoded(MASK), "8-bit gray", "It looks like an index mask; set the encoding to index", id="A10"),
    ],
)
def test_an_index_mask_among_colour_masks_is_reported(raw, content, problem, remedy):
    colour_masks(raw)
    path = put(raw, "mask", content)

    (line,) = reported(raw)

    assert line.startswith(f"{path}: {problem} mask, expected 8-bit RGB")
    assert remedy in line


def test_a11_a_smoothed_colour_mask_is_reported_with_the_number_of_its_colours(raw):
    colour_masks(raw)
    mask = cv2.GaussianBlur(COLOURS[MASK], (3, 3), 0)
    path = put(raw, "mask", encoded(mask[:, :, ::-1]))
    mixed = {tuple(pixel) for pixel in mask.reshape(-1, 3).tolist()} - {tuple(colour) for colour in COLOURS.tolist()}

    (line,) = reported(raw)

    assert line.startswith(f"{path}: colour (")
    assert f"(and {len(mixed) - 1} other unknown colours), expected only the 4 colours of the class table" in line


def test_a27_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(raw):
    side = 8200
    content = png(side, side, colour=0, data=zlib.compress(bytes(side * (side + 1)), 1))
    assert len(content) < 1 << 20
    path = put(raw, "image", content)

    (line,) = reported(raw)

    assert line.startswith(f"{path}: 8200x8200 pixels, expected at most 67108864 in all. Set preprocess.fit to tile.")
