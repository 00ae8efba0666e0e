import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from segline.core.errors import DataError
from segline.preprocessing.image_files import image_file, tiff, tiff_directories
from tests.contract.closure import ROOT
from tests.pictures import GRAY, RGB, geotiff, saved
from tests.preprocessing.image_files.test_image_file import read, refusal, values

LARGE = cv2.resize(RGB, (70, 50), interpolation=cv2.INTER_NEAREST)
TYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32")
SQUARE = cv2.resize(RGB, (32, 32))
TILES = {"tiled": True, "blockxsize": 16, "blockysize": 16}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("compress", ["none", "lzw", "deflate", "zstd", "packbits"])
@pytest.mark.parametrize(
    "layout", [{}, TILES, {"interleave": "band"}, {"BIGTIFF": "YES"}, {"endianness": "big"}], ids=str
)
def test_samples_are_read_as_stored(kind, compress, layout):
    bands = np.random.default_rng(0).integers(0, 120, (20, 30, 5)).astype(kind)
    if kind != "uint8":
        bands[0, :2] = [[np.iinfo("uint16").max // 2], [7]]

    samples, image = read(geotiff(bands, compress=compress, **layout), "a.tif")

    np.testing.assert_array_equal(samples.values, bands)
    assert samples.values.dtype == image.dtype == kind
    assert (image.bands, image.colour, samples.valid) == (5, "bands", None)


@settings(max_examples=30)
@given(hnp.arrays(st.sampled_from(TYPES), hnp.array_shapes(min_dims=3, max_dims=3, max_side=40)), st.data())
def test_windows_of_any_tiff_are_cut_out_of_the_whole(bands, data):
    height, width, _ = bands.shape
    layout = data.draw(st.sampled_from([{}, TILES, {**TILES, "interleave": "band"}, {"blockysize": 3}]))
    content = geotiff(bands, photometric="MINISBLACK", ALPHA="NO", **layout)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    tall, wide = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))

    with image_file.opened(content, Path("a.tif"), windows=True) as image:
        window = image.read(top, left, tall, wide).values

    expected = np.where(np.isfinite(bands), bands, 0)
    np.testing.assert_array_equal(window, expected[top : top + tall, left : left + wide])


def test_jpeg_tiles_are_close_to_what_was_saved():
    smooth = cv2.resize(RGB[:2, :3], (70, 50))
    for photometric in ("RGB", "YCBCR"):
        shown = values(geotiff(smooth, compress="jpeg", jpeg_quality=95, photometric=photometric, **TILES), "a.tif")

        assert np.abs(shown - smooth.astype(int)).mean() < 2


@pytest.mark.parametrize("depth", [1, 2, 4, 7])
def test_gray_of_few_bits_spans_the_whole_range(depth):
    most = (1 << depth) - 1
    levels = np.arange(most + 1, dtype=np.uint8)[None, :, None]

    samples, image = read(geotiff(levels, nbits=depth), "a.tif")

    np.testing.assert_array_equal(samples.values, np.round(levels * (255 / most)))
    assert (image.dtype, image.depth) == (np.uint8, 8)


def test_12_bits_are_read_as_stored():
    levels = np.arange(1 << 12, dtype=np.uint16).reshape(64, 64, 1)

    samples, image = read(geotiff(levels, nbits=12), "a.tif")

    np.testing.assert_array_equal(samples.values, levels)
    assert (image.dtype, image.depth) == (np.uint16, 12)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_an_image_with_0_as_white_is_inverted_with_a_note(kind):
    levels = GRAY.astype(kind)[:, :, None]

    samples, image = read(geotiff(levels, photometric="MINISWHITE"), "a.tif")

    np.testing.assert_array_equal(samples.values, np.iinfo(kind).max - levels)
    assert image.notes == ("inverted, as 0 is white",)


def test_a_fax_is_black_on_white():
    content = geotiff((GRAY > 99).astype(np.uint8)[:, :, None], nbits=1, compress="ccittfax4", photometric="MINISWHITE")

    np.testing.assert_array_equal(values(content, "a.tif")[:, :, 0], np.where(GRAY > 99, 0, 255))


def test_samples_that_are_not_finite_are_0_and_their_pixels_not_valid():
    bands = np.dstack([GRAY, GRAY]).astype(np.float32)
    bands[0, 0], bands[1, 1, 0], bands[2, 2, 1] = np.nan, np.inf, -np.inf

    samples, _ = read(geotiff(bands), "a.tif")

    expected = np.ones(GRAY.shape, bool)
    expected[[0, 1, 2], [0, 1, 2]] = False
    np.testing.assert_array_equal(samples.valid, expected)
    np.testing.assert_array_equal(samples.values, np.where(np.isfinite(bands), bands, 0))


def test_bands_that_are_not_chosen_may_have_any_value():
    bands = np.dstack([GRAY, GRAY, GRAY, GRAY]).astype(np.float32)
    bands[:, :, 0], bands[1, 1, 1:3], bands[2, 2, 3] = np.nan, -999, -999
    content = geotiff(bands, nodata=-999)

    samples, _ = read(content, "a.tif", bands=(3, 2))

    expected = np.ones(GRAY.shape, bool)
    expected[1, 1] = False
    np.testing.assert_array_equal(samples.valid, expected)
    assert not read(content, "a.tif")[0].valid.any()


@pytest.mark.parametrize(("kind", "value"), [("uint8", 7), ("int16", -999), ("uint16", 65535), ("float32", -3.4e38)])
def test_a_pixel_has_no_data_if_all_of_its_bands_have_that_value(kind, value):
    bands = np.dstack([GRAY % 5, GRAY % 5, GRAY % 5]).astype(kind)
    bands[0, 0], bands[1, 1, 0] = value, value

    samples, _ = read(geotiff(bands, nodata=value), "a.tif")

    expected = np.ones(GRAY.shape, bool)
    expected[0, 0] = False
    np.testing.assert_array_equal(samples.valid, expected)


def test_a_no_data_value_that_cannot_occur_marks_nothing():
    content = geotiff(RGB.astype(np.float32), photometric="RGB", nodata=-9999)

    samples, _ = read(content.replace(b"-9999", b"1e300"), "a.tif")

    assert samples.valid is None or samples.valid.all()


def test_a_mask_inside_the_file_marks_pixels_without_data(tmp_path):
    path, there = tmp_path / "a.tif", GRAY > 50
    path.write_bytes(geotiff(RGB))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(there)

    samples, image = read(path.read_bytes(), "a.tif")

    np.testing.assert_array_equal(samples.valid, there)
    assert image.pages == 1


def chained(*directories: tuple[np.ndarray, int]) -> bytes:
    """8-bit gray images, or masks, with their NewSubfileType."""
    content = b"II*\0" + struct.pack("<I", 8)
    for number, (pixels, kind) in enumerate(directories, start=1):
        (height, width), place = pixels.shape, len(content) + 2 + 9 * 12 + 4
        entries = {254: (4, kind), 256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, kind or 1)}
        entries |= {273: (4, place), 278: (4, height), 279: (4, pixels.size)}
        table = b"".join(struct.pack("<HHII", tag, form, 1, value) for tag, (form, value) in entries.items())
        following = 0 if number == len(directories) else place + pixels.size
        content += struct.pack("<H", 9) + table + struct.pack("<I", following) + pixels.tobytes()
    return content


THERE = np.where(GRAY > 50, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("kinds", "masked"), [((0, 4, 0), (True, False)), ((0, 4, 0, 4), (True, True)), ((0, 0), (False, False))]
)
def test_a_page_has_the_mask_that_follows_it(kinds, masked):
    pages, masks = iter((GRAY, 255 - GRAY)), iter((THERE, 255 - THERE))
    content = chained(*((next(masks if kind else pages), kind) for kind in kinds))

    for number, has_mask in enumerate(masked, start=1):
        shown, there = (GRAY, THERE) if number == 1 else (255 - GRAY, 255 - THERE)
        samples, image = read(content, "a.tif", page=number)

        np.testing.assert_array_equal(samples.values[:, :, 0], shown)
        assert (samples.valid is not None) == has_mask
        if has_mask:
            np.testing.assert_array_equal(samples.valid, there > 0)
        assert image.pages == 2


@pytest.mark.parametrize("kinds", [(0, 0, 4), (0, 4, 4, 0), (0, 4, 0, 0, 4)])
def test_a_mask_that_may_be_that_of_another_page_is_refused(kinds):
    """GDAL appends a mask of the first page behind all pages."""
    problem = refusal(chained(*((THERE if kind else GRAY, kind) for kind in kinds)), "a.tif", page=1)

    assert "a mask inside it behind page" in problem
    assert problem.endswith("Save each page as a file of its own.")


def test_a_mask_of_another_size_than_its_page_is_refused():
    content = chained((GRAY, 0), (GRAY, 4), (GRAY, 0), (GRAY[:5], 4))

    assert "page 2: damaged: a mask inside it of 14x5 pixels, expected 14x9" in refusal(content, "a.tif", page=2)


def test_an_imagej_stack_whose_slices_have_no_pages_is_refused():
    """ImageJ writes stacks of more than 4 GiB so: other readers see the first slice alone."""
    described = {number: f"ImageJ=1.54f\nimages={number}\nslices={number}\nloop=false\n" for number in (1, 5)}
    content = {number: saved(GRAY, "TIFF", description=text) for number, text in described.items()}

    assert "an ImageJ stack of 5 slices in a TIFF of 1 page. Save it with a page for" in refusal(content[5], "a.tif")
    assert values(content[1], "a.tif").shape == (9, 14, 1)


@pytest.mark.parametrize("alpha", ["drop", "white", "refuse"])
def test_bands_have_the_numbers_of_the_file_wherever_alpha_is(alpha):
    infrared, opaque = GRAY + 1, np.full_like(GRAY, 255)
    content = geotiff(np.dstack([RGB, opaque, infrared]), photometric="RGB", ALPHA="YES")

    for chosen in ((5, 1), (4,), (4, 5, 1), (2,)):
        samples, image = read(content, "a.tif", bands=chosen, alpha=alpha)

        picked = samples.values[:, :, [number - 1 for number in chosen]]
        in_file = np.dstack([RGB, opaque, infrared])
        np.testing.assert_array_equal(picked, in_file[:, :, [number - 1 for number in chosen]])
        assert (image.bands, image.colour) == (5, "bands")
    assert read(content, "a.tif")[1].bands == 4


def test_the_no_data_value_of_a_band_behind_alpha_is_that_of_the_band():
    infrared, opaque = GRAY + 1, np.full_like(GRAY, 255)
    infrared[0, 0] = 0
    content = geotiff(np.dstack([RGB + 1, opaque, infrared]), photometric="RGB", ALPHA="YES", nodata=0)

    np.testing.assert_array_equal(read(content, "a.tif", bands=(5,))[0].valid, infrared != 0)


def test_a_pixel_that_alpha_hides_is_marked_where_it_is_laid_on_a_background():
    content = geotiff(np.dstack([RGB, np.where(GRAY > 99, GRAY, 0).astype(np.uint8)]))

    np.testing.assert_array_equal(read(content, "a.tif", alpha="white")[0].hidden, GRAY <= 99)
    assert read(content, "a.tif", alpha="drop")[0].hidden is None


def test_inks_are_compared_with_the_no_data_value_before_they_become_rgb():
    inks = np.dstack([RGB, GRAY]) + 1
    inks[0, 0], inks[1, 1] = 0, (255, 255, 255, 0)  # no data, and black: RGB (0, 0, 0)
    content = geotiff(inks, photometric="CMYK", nodata=0)

    samples, _ = read(content, "a.tif")

    expected = np.ones(GRAY.shape, bool)
    expected[0, 0] = False
    np.testing.assert_array_equal(samples.valid, expected)


def test_a_place_by_ground_control_points_is_lost_with_a_note():
    corners = [(0, 0), (0, 14), (9, 0), (9, 14)]
    points = [rasterio.control.GroundControlPoint(row, column, column, -row) for row, column in corners]
    content = geotiff(GRAY[:, :, None], gcps=points, transform=None)

    image = read(content, "a.tif")[1]

    assert image.notes == ("place on the map lost, as it is given by ground control points",)
    assert not read(geotiff(RGB), "a.tif")[1].notes


def test_an_error_of_a_page_names_it():
    float_page = Image.fromarray(GRAY.astype(np.float32))
    content = saved(np.dstack([RGB, GRAY]), "TIFF", save_all=True, append_images=[Image.fromarray(RGB), float_page])

    assert "a.tif: page 1: transparent pixels" in refusal(content, "a.tif", page=1)


def test_each_page_is_an_image_of_its_own():
    stack = [Image.fromarray(GRAY), Image.fromarray(RGB), Image.fromarray(255 - GRAY[:5])]
    content = saved(stack[0], "TIFF", save_all=True, append_images=stack[1:])

    assert image_file.pages(content, Path("a.tif")) == 3
    for number, page in enumerate(stack, start=1):
        samples, image = read(content, "a.tif", page=number)
        np.testing.assert_array_equal(samples.values.squeeze(), np.asarray(page))
        assert image.pages == 3
    assert "3 pages, expected one image. Save each page as a file of its own." in refusal(content, "a.tif")
    assert "no page 4, as it has 3" in refusal(content, "a.tif", page=4)
    assert "no page 0" in refusal(content, "a.tif", page=0)


def test_thousands_of_pages_are_listed_in_a_moment():
    """Each page of a time series is opened on its own, which lists them all again."""
    page = directory({256: (4, 1, 5), 257: (4, 1, 5), 273: (4, 1, 8), 279: (4, 1, 1)})[8:]
    places = range(8, 8 + 5000 * len(page), len(page))
    chain = b"".join(page[:-4] + struct.pack("<I", place + len(page)) for place in places)
    content = b"II*\0" + struct.pack("<I", 8) + chain[:-4] + bytes(4)

    start = time.monotonic()

    assert image_file.pages(content, Path("a.tif")) == 5000
    assert time.monotonic() - start < 5


def test_more_directories_than_any_stack_has_are_refused(monkeypatch):
    monkeypatch.setattr(tiff_directories, "MOST_DIRECTORIES", 2)
    content = saved(GRAY, "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)] * 2)

    assert "damaged: more than 2 directories, or a loop of them" in refusal(content, "a.tif", page=1)


@pytest.mark.parametrize("choice", ["white", "black"])
def test_colours_that_are_stored_as_seen_on_black_are_laid_on_the_background(choice):
    """Premultiplied alpha (ExtraSamples 1): only the rest of the background is added."""
    alpha = np.maximum(GRAY + 50, RGB.max(axis=2))
    content = geotiff(np.dstack([RGB, alpha]), ALPHA="PREMULTIPLIED")

    shown = values(content, "a.tif", alpha=choice)

    rest = 255 - alpha.astype(int)[:, :, None] if choice == "white" else 0
    np.testing.assert_array_equal(shown, np.minimum(RGB + rest, 255))


def test_overviews_are_not_pages(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(geotiff(np.ascontiguousarray(LARGE.repeat(8, axis=0))))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])

    assert image_file.pages(path, path) == 1
    np.testing.assert_array_equal(values(path.read_bytes(), "a.tif"), LARGE.repeat(8, axis=0))


def test_the_place_on_the_map_is_read():
    _, image = read(geotiff(RGB), "a.tif")

    assert image.georeference.transform == (0.5, 0, 500_000, 0, -0.5, 5_600_000)
    assert rasterio.crs.CRS.from_wkt(image.georeference.crs).to_epsg() == 32632
    assert read(saved(RGB, "TIFF"), "a.tif")[1].georeference is None


def test_no_file_beside_it_changes_an_image(tmp_path):
    """World files, GDAL's own notes, masks and overviews: DVC would not know that they belong to it."""
    path = tmp_path / "a.tif"
    path.write_bytes(saved(GRAY, "TIFF"))
    (tmp_path / "a.tfw").write_text("2\n0\n0\n-2\n100\n200\n")
    band = '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    (tmp_path / "a.tif.msk").write_bytes(saved((GRAY > 50).astype(np.uint8) * 255, "TIFF"))
    with rasterio.open(path) as dataset:
        assert dataset.nodata == 7
        assert dataset.transform.a == 2

    with image_file.opened(path, path) as image:
        samples = image.read(0, 0, 9, 14)

    assert (image.georeference, samples.valid) == (None, None)
    assert {"a.tif", "a.tfw", "a.tif.aux.xml", "a.tif.msk"} == {each.name for each in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["a.vrt", "a.tif"])
def test_other_formats_of_gdal_are_not_read(name, tmp_path):
    """A VRT could name any file or address."""
    source = tmp_path / "secret.tif"
    source.write_bytes(saved(GRAY, "TIFF"))
    path = tmp_path / name
    band = f"<SimpleSource><SourceFilename>{source}</SourceFilename></SimpleSource>"
    band = f'<VRTRasterBand dataType="Byte" band="1">{band}</VRTRasterBand>'
    place = "<GeoTransform>0, 2, 0, 0, 0, -2</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="14" rasterYSize="9">{place}{band}</VRTDataset>')
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), GRAY)

    with pytest.raises(DataError, match="not an image, starts with b'<VRTDataset"), image_file.opened(path, path):
        pass


@pytest.mark.parametrize(
    "name", ["with space.tif", "q?u=e#r%20y.tif", "https:x.tif", "ünï.tiff", "a:b!c.TIF", "-o.tif"]
)
def test_any_name_of_a_file_is_only_a_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(saved(GRAY, "TIFF"))

    with image_file.opened(Path(name), Path(name)) as image:
        np.testing.assert_array_equal(image.read(0, 0, 9, 14).values[:, :, 0], GRAY)


PLAIN = saved(LARGE, "TIFF")


@given(st.integers(8, len(PLAIN) - 1))
def test_a_tiff_cut_anywhere_is_refused(kept):
    assert "cut" in refusal(PLAIN[:kept], "a.tif")


def damaged(compress: str, place: float, pixels: np.ndarray = SQUARE) -> bytes:
    """Tiles of 16x16 pixels, of which the last has other bytes at its start (0), in its middle (0.5), ..."""
    content = bytearray(geotiff(np.atleast_3d(pixels), compress=compress, **TILES))
    last = "_".join(str((length - 1) // 16) for length in pixels.shape[1::-1])
    with rasterio.MemoryFile(bytes(content)) as memory, memory.open() as dataset:
        start, size = (int(dataset.get_tag_item(f"BLOCK_{each}_{last}", "TIFF", bidx=1)) for each in ("OFFSET", "SIZE"))
    first = start + int(place * size)
    content[first : first + 60] = b"\xff" * 60
    return bytes(content)


@pytest.mark.parametrize("compress", ["lzw", "deflate", "zstd", "jpeg"])
def test_a_damaged_tile_is_named_by_its_rows_and_the_others_are_read(compress):
    with image_file.opened(damaged(compress, 0), Path("a.tif")) as image:
        assert image.read(0, 0, 16, 32).values.any()
        with pytest.raises(
            DataError, match=r"^a\.tif: damaged: a strip or tile in rows 16 to 31 cannot be decoded\. C"
        ):
            image.read(16, 0, 16, 32)


def test_jpeg_tiles_that_are_decoded_though_damaged_are_refused():
    content = damaged("jpeg", 0.5)

    with image_file.opened(content, Path("a.tif")) as image:
        image.read(0, 0, 16, 32)
        with pytest.raises(DataError, match=r"^a\.tif: damaged: (Premature end of JPEG|Corrupt JPEG data)"):
            image.read(16, 0, 16, 32)


def test_nothing_is_printed(capfd):
    for compress in ("lzw", "jpeg"):
        refusal(damaged(compress, 0.5), "a.tif")
    read(geotiff(RGB), "a.tif")
    read(saved(RGB, "TIFF"), "a.tif")

    assert ("", "") == capfd.readouterr()


def directory(entries: dict[int, tuple[int, int, int]], following: int = 0) -> bytes:
    """A TIFF of one directory: tag -> type, count, and the value or its place."""
    table = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", following)


def declared(width: int, height: int, **tags: tuple[int, int, int]) -> bytes:
    """A TIFF of one strip at byte 8 with these sizes, and tags such as t277."""
    entries = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 262: (3, 1, 1), 273: (4, 1, 8), 279: (4, 1, 1)}
    return directory(entries | {int(tag[1:]): entry for tag, entry in tags.items()})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            declared(100_000, 100_000),
            "100000x100000 pixels, expected at most 67108864 in all. Set preprocess.fit to tile",
        ),
        (declared(0, 5), "0x5 pixels, expected at least 1x1"),
        (declared(9, 9, t277=(3, 1, 2000)), "2000 bands, expected 1 to 1024"),
        (declared(9, 9, t259=(3, 1, 6)), "TIFF compression 6, expected one of deflate, fax, JPEG, LZW, none, PackBits"),
        (declared(9, 9, t262=(3, 1, 8)), "TIFF colours of kind 8, expected gray, RGB, palette or CMYK"),
        (declared(9, 9, t279=(4, 1, 9999)), "cut: the file ends 9"),
        (declared(9, 9, t279=(4, 2, 0)), "damaged: 1 strips or tiles, but 2 sizes of them"),
        (declared(9, 9, t254=(4, 1, 1)), "damaged: a TIFF without an image"),
        (directory({256: (4, 1, 5)}, following=8), "damaged: more than 1 directories, or a loop of them"),
        (declared(9, 9, t273=(4, 1 << 15, 5), t279=(4, 1 << 15, 5)), "cut: 131077 bytes expected"),
        (b"II*\0\x08\0\0\0\xff\xff" + bytes(99), "damaged: a directory of 65535 entries"),
        (b"II*\0", "cut: 8 bytes expected, the file has 4"),
        (b"II*\0\xff\xff\xff\xff", "cut: 4294967297 bytes expected, the file has 8"),
        (b"II*\0\0\0\0\0", "damaged: a TIFF without an image"),
        (
            geotiff(RGB.astype(np.float64)),
            "float64 samples, expected one of uint8, uint16, uint32, int16, int32, float32",
        ),
        (geotiff(RGB.astype(np.complex64)), "complex64 samples"),
        (geotiff(RGB.astype(np.int16)[:, :, :1], photometric="MINISWHITE"), "int16 samples of which 0 is white"),
        (geotiff(np.dstack([RGB, GRAY]), photometric="CMYK", compress="jpeg"), "damaged|CMYK|converted"),
    ],
)
def test_what_cannot_be_read_is_refused_before_it_is_decoded(content, expected):
    if "converted" in expected:
        assert values(content, "a.tif").shape == RGB.shape
        return
    assert expected in refusal(content, "a.tif")


def test_a_large_tiff_is_read_by_windows_only():
    """8200 x 8200 pixels of zeros take 67 MB, in a file of 70 kB."""
    content = geotiff(np.zeros((8200, 8200, 1), np.uint8), compress="deflate", tiled=True)
    assert len(content) < 1 << 17

    assert "Set preprocess.fit to tile." in refusal(content, "a.tif")
    with image_file.opened(content, Path("a.tif"), windows=True) as image:
        assert not image.read(8000, 8000, 200, 200).values.any()


def test_many_bands_of_many_bytes_count_too(monkeypatch):
    monkeypatch.setattr(tiff, "MAX_PIXEL", 1)
    content = geotiff(np.zeros((2048, 4096, 9), np.uint8), compress="deflate")

    problem = "75497472 bytes of samples, expected at most 67108864. Set preprocess.fit to tile."
    assert problem in refusal(content, "a.tif")


def test_a_strip_that_is_too_large_for_memory_is_refused(monkeypatch):
    content = geotiff(LARGE, compress="deflate", blockysize=50)
    monkeypatch.setattr(tiff, "MAX_BLOCK", 50 * 70 * 3 - 1)

    assert "strips or tiles of 70x50 pixels and 10500 bytes, expected at most 10499" in refusal(content, "a.tif")


def test_threads_read_one_file_at_once(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(geotiff(LARGE, compress="lzw", **TILES))
    wait = threading.Barrier(4)

    def rows(first: int) -> np.ndarray:
        wait.wait()
        for _ in range(20):
            with image_file.opened(path, path) as image:
                shown = image.read(first, 0, 10, 70).values
        return shown

    with ThreadPoolExecutor(4) as pool:
        for first, shown in zip(range(0, 40, 10), pool.map(rows, range(0, 40, 10)), strict=True):
            np.testing.assert_array_equal(shown, LARGE[first : first + 10])


def test_a_file_may_be_opened_read_and_closed_by_different_threads():
    """As generators are that threads take turns with."""
    opened = image_file.opened(geotiff(LARGE, compress="jpeg", **TILES), Path("a.tif"))
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        image = first.submit(opened.__enter__).result()
        assert second.submit(image.read, 0, 0, 50, 70).result().values.shape == LARGE.shape
        assert not first.submit(opened.__exit__, None, None, None).result()


def test_gdal_is_imported_only_for_a_tiff():
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.preprocessing.image_files.test_headers import jpeg\n"
        "from segline.preprocessing.image_files import image_file, masks\n"
        "with image_file.opened(jpeg(), Path('a.jpg')) as image: image.read(0, 0, 1, 1)\n"
        "sys.exit('rasterio' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
