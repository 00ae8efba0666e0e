import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core.errors import DataError
from segline.preprocessing.image_files import headers
from segline.preprocessing.image_files.headers import Header
from tests.contract.closure import ROOT

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height=6, width=9, *, depth=8, colour=2, before=b"", data=None) -> bytes:
    """A PNG of zero bytes with correct chunks and checksums, whatever the header says."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    rows = bytes(height * (1 + (width * channels * depth + 7) // 8)) if height * width < 1 << 20 else b""
    pixels = chunk(b"IDAT", zlib.compress(rows) if data is None else data)
    return headers.PNG + header + before + pixels + chunk(b"IEND")


def exif(orientation: int, order: str = "<") -> bytes:
    """A TIFF block with one tag, which says how the camera was held."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def long_exif(orientation: int, order: str) -> bytes:
    """The same with a number of 32 bits in place of 16, as some programs write it."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(f"{order}IHHHIII", 8, 1, 0x0112, 4, 1, orientation, 0)


def jpeg(orientation: int | None = None, progressive: bool = False, order: str = "<") -> bytes:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    content = cv2.imencode(".jpg", cv2.resize(PIXELS, (90, 60)), options)[1].tobytes()
    if orientation is None:
        return content
    block = b"Exif\0\0" + exif(orientation, order)
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]


def refusal(content: bytes, name: str = "a.png") -> str:
    with pytest.raises(DataError) as caught:
        headers.inspect(content, Path(name))
    assert str(caught.value).startswith(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("colour", "depth", "name"),
    [
        (0, 8, "gray"),
        (0, 1, "gray"),
        (2, 16, "RGB"),
        (3, 4, "palette"),
        (4, 8, "gray with alpha"),
        (6, 8, "RGB with alpha"),
    ],
)
def test_the_header_of_a_png_gives_size_depth_and_colours(colour, depth, name):
    assert headers.inspect(png(6, 9, depth=depth, colour=colour), Path("a.PNG")) == Header("PNG", 6, 9, depth, name)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG"])
def test_the_header_of_a_jpeg_gives_size_depth_and_colours(progressive, name):
    assert headers.inspect(jpeg(progressive=progressive), Path(name)) == Header("JPEG", 60, 90, 8, "RGB")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_orientation_is_read_in_both_byte_orders(orientation, order):
    from_jpeg = headers.inspect(jpeg(orientation, order=order), Path("a.jpg"))
    from_png = headers.inspect(png(before=chunk(b"eXIf", exif(orientation, order))), Path("a.png"))

    assert (from_jpeg.orientation, from_png.orientation) == (orientation, orientation)


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_orientation_may_have_32_bits(order):
    content = png(before=chunk(b"eXIf", long_exif(6, order)))

    assert 6 == headers.inspect(content, Path("a.png")).orientation


@pytest.mark.parametrize("block", [b"", b"II*\0", b"XX*\0\0\0\0\0", exif(9), exif(0), exif(6)[:-8]])
def test_an_image_with_a_broken_exif_block_is_upright(block):
    assert headers.inspect(png(before=chunk(b"eXIf", block)), Path("a.png")).orientation == 1


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0", exif(6)[:10], exif(6, ">")[:14], exif(6)[:16]]))
def test_any_exif_block_gives_an_orientation_without_a_warning(content, start):
    header = headers.inspect(png(before=chunk(b"eXIf", start + content)), Path("a.png"))

    assert header.orientation in range(1, 9)


def test_pillow_is_imported_only_for_an_exif_block():
    code = (
        "import sys\nfrom pathlib import Path\nfrom segline.preprocessing.image_files import headers\n"
        "from tests.preprocessing.image_files.test_headers import jpeg\n"
        "headers.inspect(jpeg(), Path('a.jpg'))\nprint('PIL' in sys.modules)\n"
        "headers.inspect(jpeg(6), Path('a.jpg'))\nprint('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "False\nTrue\n" == done.stdout


def test_a_transparent_colour_is_part_of_the_colours():
    header = headers.inspect(png(before=chunk(b"tRNS", bytes(6))), Path("a.png"))

    assert header.colour == "RGB with a transparent colour"


@given(st.integers(0, len(png()) - 1))
def test_a_png_cut_anywhere_is_refused(kept):
    refusal(png()[:kept])


@given(st.integers(0, len(jpeg()) - 1))
def test_a_jpeg_cut_anywhere_is_refused(kept):
    """OpenCV may accept a cut JPEG and fill the rest with gray."""
    refusal(jpeg()[:kept], "a.jpg")


@given(st.integers(0, 8 * len(png()) - 1))
def test_a_png_with_any_bit_flipped_is_refused(bit):
    content = bytearray(png())
    content[bit // 8] ^= 1 << bit % 8

    refusal(bytes(content))


@given(st.binary(max_size=200), st.sampled_from([b"", headers.PNG, headers.JPEG, png()[:40], jpeg(6)[:60]]))
def test_any_bytes_give_a_header_or_a_clear_refusal(content, start):
    """No other exception, and no endless walk."""
    for name in ("a.png", "a.jpg"):
        try:
            header = headers.inspect(start + content, Path(name))
        except DataError:
            continue
        assert header.height * header.width > 0


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"", "a.png", "empty file"),
        (b"<html><body>404", "a.png", "starts with b'<html><body>404'"),
        (b"GIF89a" + bytes(40), "a.gif", "not an image"),
        (b"version https://git-lfs.github.com/spec/v1", "a.png", "version https"),
        (jpeg(), "a.png", "contains JPEG data, so its name must end in .jpg or .jpeg"),
        (png(), "a.jpg", "contains PNG data, so its name must end in .png"),
        (png(), "a", "contains PNG data, so its name must end in .png"),
        (png() + b"PK\3\4rest", "a.png", "8 bytes follow the end"),
        (jpeg() + b"\0", "a.jpg", "1 bytes follow the end"),
        (png(before=chunk(b"acTL", bytes(8))), "a.png", "animated"),
        (png(before=chunk(b"IHDR", bytes(13))), "a.png", "IHDR first and once"),
        (headers.PNG + chunk(b"IDAT", bytes(20)) + png()[8:], "a.png", "IHDR first and once"),
        (png(0, 9), "a.png", "9x0 pixels"),
        (headers.JPEG[:2] + b"\xff\xd9", "a.jpg", "not an image|without an image|damaged"),
        (jpeg().replace(b"\xff\xc0", b"\xff\xc9", 1), "a.jpg", "SOF9"),
        (jpeg()[:-2] + b"\xff\xd8\xff\xd9", "a.jpg", "damaged|cut"),
    ],
)
def test_anything_but_one_complete_image_is_refused(content, name, expected):
    message = refusal(content, name)

    assert any(part in message for part in expected.split("|")), message
