"""What `docs/your-data.md` says goes in goes through the stage: a test for each row of its table."""

import hashlib
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image

from segline.core.errors import PipelineError
from segline.dataset import onehot, processed
from segline.dataset import raw as raw_dataset
from tests.contract.closure import ROOT
from tests.pictures import GRAY, RGB, geotiff, saved
from tests.preprocessing.image_files.test_upright import marked
from tests.preprocessing.test_images import encoded
from tests.stages.test_preprocess import CLASSES, VOID, parameters, run

MASK = GRAY % 3
COLOURS = [(10, 20, 30), (200, 0, 0), (0, 0, 200)]
CODES = tuple(red << 16 | green << 8 | blue for red, green, blue in COLOURS)
HALF = np.where(GRAY > 99, 255, 0).astype(np.uint8)

Rows = Callable[..., list[tuple[np.ndarray, np.ndarray]]]
Files = dict[str, bytes]  # name -> content


@pytest.fixture
def rows(tmp_path, monkeypatch) -> Rows:
    """The images and classes that the stage makes of an image and a mask, once it is told what they are."""
    monkeypatch.chdir(tmp_path)

    def made(
        image: tuple[str, bytes],
        mask: tuple[str, bytes] = (".png", saved(MASK, "PNG")),
        encoding: str = "index",
        values: tuple[int, ...] = (0, 1, 2),
        threshold: int | None = None,
        **preprocess: object,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        parameters(*preprocess.pop("size", (9, 14)), **preprocess)
        shutil.rmtree("raw", ignore_errors=True)
        Path("raw/train").mkdir(parents=True)
        files = {f"a{image[0]}": image[1], f"a_mask{mask[0]}": mask[1]}
        for name, content in files.items():
            Path("raw/train", name).write_bytes(content)
        hashes = [hashlib.sha256(content).hexdigest() for content in files.values()]
        pair = raw_dataset.Pair("a", None, *files, *hashes)
        classes, void = CLASSES[: len(values)], VOID if encoding == "index" and threshold is None else None
        dataset = raw_dataset.Dataset("mine", classes, values, void, encoding, {"train": [pair]}, threshold)
        raw_dataset.write(Path("raw"), dataset)
        split = processed.read(run() / "train")
        labels = [onehot.unpack(packed, len(classes)) for packed in split.onehot]
        return [(np.array(shown), classes) for shown, classes in zip(split.images, labels, strict=True)]

    return made


def test_png(rows):
    for content, expected in [
        (saved(RGB, "PNG"), RGB),
        (saved(GRAY, "PNG"), np.dstack([GRAY] * 3)),
        (saved(HALF, "PNG", "1"), np.dstack([HALF] * 3)),
        (encoded(RGB[:, :, ::-1].astype(np.uint16) * 257), RGB),
    ]:
        ((shown, labels),) = rows((".png", content))
        np.testing.assert_array_equal(shown, expected)
        np.testing.assert_array_equal(labels, MASK)
    with pytest.raises(PipelineError, match="an animated PNG"):
        rows((".png", saved(RGB, "PNG", save_all=True, append_images=[Image.fromarray(255 - RGB)])))


def test_jpeg(rows, capsys):
    for mode in ("RGB", "L", "CMYK"):
        ((shown, _),) = rows((".jpg", saved(RGB, "JPEG", mode, quality=100, subsampling=0)))
        expected = Image.fromarray(RGB).convert(mode).convert("RGB")
        assert np.abs(shown - np.asarray(expected).astype(int)).mean() < 4
    assert "1 image: CMYK converted to RGB, such as raw/train/a.jpg" in capsys.readouterr().err


def test_tiff(rows):
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "BIGTIFF": "YES"}
    for compress in ("none", "lzw", "deflate", "zstd", "packbits"):
        ((shown, _),) = rows((".tif", geotiff(RGB, compress=compress, **tiles)))
        np.testing.assert_array_equal(shown, RGB)
    for kind in ("uint16", "uint32", "int16", "int32", "float32"):
        content = geotiff(RGB.astype(kind), photometric="RGB")
        ((shown, _),) = rows((".tif", content), intensity={"by": "window", "low": 0, "high": 255})
        np.testing.assert_array_equal(shown, RGB)
    ((shown, _),) = rows((".tiff", geotiff(RGB, compress="jpeg", jpeg_quality=100)))
    assert np.abs(shown - RGB.astype(int)).mean() < 4
    ((shown, _),) = rows((".tif", geotiff(HALF[:, :, None] // 255, nbits=1, compress="ccittfax4")))
    np.testing.assert_array_equal(shown, np.dstack([HALF] * 3))
    ((shown, _),) = rows((".tif", geotiff(np.tile(RGB, 341))), channels=3, bands=[1000, 1, 2])
    np.testing.assert_array_equal(shown, RGB[:, :, [0, 0, 1]])


def test_bmp_webp_gif(rows):
    few = np.asarray(Image.fromarray(RGB).quantize(16).convert("RGB"))
    for suffix, kind, options in ((".bmp", "BMP", {}), (".webp", "WEBP", {"lossless": True}), (".gif", "GIF", {})):
        ((shown, _),) = rows((suffix, saved(few, kind, **options)))
        np.testing.assert_array_equal(shown, few)
    for suffix, kind in ((".webp", "WEBP"), (".gif", "GIF")):
        with pytest.raises(PipelineError, match="several frames, expected one image"):
            rows((suffix, saved(RGB, kind, save_all=True, append_images=[Image.fromarray(255 - RGB)])))


def test_any_size(rows):
    """8200 x 8200 pixels are too many unless they are cut into tiles."""
    side = 8200
    content = geotiff(np.zeros((side, side, 1), np.uint8), compress="deflate", tiled=True)
    with pytest.raises(PipelineError, match=r"8200x8200 pixels, .*Set preprocess\.fit to tile\."):
        rows((".tif", content), (".tif", content))
    split = rows((".tif", content), (".tif", content), size=(128, 128), fit="tile", scale=1 / 32, overlap=0.0)
    assert len(split) == 9


def test_pages(rows):
    stacks = [
        saved(first, "TIFF", save_all=True, append_images=[Image.fromarray(second)])
        for first, second in ((RGB, 255 - RGB), (MASK, 2 - MASK))
    ]
    first, second = rows((".tif", stacks[0]), (".tif", stacks[1]))
    np.testing.assert_array_equal((first[0], second[0]), (RGB, 255 - RGB))
    np.testing.assert_array_equal((first[1], second[1]), (MASK, 2 - MASK))
    origins = processed.read(Path("processed/train")).index.origins
    assert [(each.stem, each.group) for each in origins] == [("a-page-1", "a"), ("a-page-2", "a")]
    with pytest.raises(PipelineError, match="1 page, expected 2"):
        rows((".tif", stacks[0]))


def test_exif_orientation(rows, capsys):
    upright = RGB.swapaxes(0, 1)[:, ::-1]
    tall = (".png", saved(np.ascontiguousarray(MASK.T), "PNG"))
    ((shown, labels),) = rows((".png", marked(6, "PNG")), tall, size=(14, 9))
    np.testing.assert_array_equal(shown, upright)
    np.testing.assert_array_equal(labels, MASK.T)
    assert "1 image: turned upright (Exif orientation 6)" in capsys.readouterr().err
    ((_, labels),) = rows((".png", marked(6, "PNG")), (".png", marked(6, "PNG", MASK)), size=(14, 9))
    np.testing.assert_array_equal(labels, MASK.T[:, ::-1])
    with pytest.raises(PipelineError, match=r"set preprocess\.orientation to stored"):
        rows((".png", marked(6, "PNG")))
    with pytest.raises(PipelineError, match=r"Set preprocess\.orientation to upright if masks fit"):
        rows((".png", marked(3, "PNG")))
    ((shown, _),) = rows((".png", marked(3, "PNG")), orientation="stored")
    np.testing.assert_array_equal(shown, RGB)


def test_alpha(rows, capsys):
    ((shown, _),) = rows((".png", saved(np.dstack([RGB, np.full_like(GRAY, 255)]), "PNG")))
    np.testing.assert_array_equal(shown, RGB)
    assert "1 image: opaque alpha dropped" in capsys.readouterr().err
    half = (".png", saved(np.dstack([RGB, HALF]), "PNG"))
    with pytest.raises(PipelineError, match=r"Set preprocess\.alpha to drop, white or black\."):
        rows(half)
    for choice, behind in (("drop", RGB), ("white", 255), ("black", 0)):
        ((shown, _),) = rows(half, alpha=choice)
        np.testing.assert_array_equal(shown, np.where(HALF[:, :, None] > 0, RGB, behind))
    measure, seen = {"by": "percentile", "low": 0, "high": 100}, RGB[HALF > 0]
    for fit in ({"fit": "stretch"}, {"fit": "tile", "size": (32, 32)}):
        rows(half, alpha="white", intensity=measure, **fit)
        rule = processed.read(Path("processed/train")).index.preparation.intensity
        assert (rule.low, rule.high) == (tuple(seen.min(axis=0)), tuple(seen.max(axis=0)))


def test_palettes(rows):
    picture = Image.fromarray(MASK).convert("P")
    picture.putpalette(sum(COLOURS, ()))
    for suffix, kind in ((".png", "PNG"), (".tif", "TIFF"), (".bmp", "BMP"), (".gif", "GIF")):
        ((shown, _),) = rows((suffix, saved(picture, kind)))
        np.testing.assert_array_equal(shown, np.array(COLOURS)[MASK])


def test_0_as_white(rows):
    image, mask = (geotiff(each[:, :, None], photometric="MINISWHITE") for each in (GRAY, MASK))
    ((shown, labels),) = rows((".tif", image), (".tif", mask))
    np.testing.assert_array_equal(shown, np.dstack([255 - GRAY] * 3))
    np.testing.assert_array_equal(labels, MASK)


def test_nan_and_no_data(rows):
    window = {"by": "window", "low": 0, "high": 255}
    bands = RGB.astype(np.float32)
    bands[0, 0, 1], bands[1, 1, 2], bands[2, 2], bands[3, 3, 0] = np.nan, np.inf, -999, -999
    ((_, labels),) = rows((".tif", geotiff(bands, photometric="RGB", nodata=-999)), intensity=window)
    expected = MASK.copy()
    expected[[0, 1, 2], [0, 1, 2]] = onehot.VOID
    np.testing.assert_array_equal(labels, expected)
    path = Path("masked.tif")
    path.write_bytes(geotiff(RGB))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(HALF > 0)
    ((_, labels),) = rows((".tif", path.read_bytes()))
    np.testing.assert_array_equal(labels, np.where(HALF > 0, MASK, onehot.VOID))


def test_index_masks(rows):
    image = (".png", saved(RGB, "PNG"))
    for mask in [
        *((suffix, saved(MASK, kind)) for suffix, kind in ((".png", "PNG"), (".tif", "TIFF"), (".bmp", "BMP"))),
        *((".tif", geotiff(MASK[:, :, None].astype(kind))) for kind in ("uint16", "int16", "int32", "float32")),
        (".gif", gif_of_classes()),
    ]:
        ((_, labels),) = rows(image, mask)
        np.testing.assert_array_equal(labels, MASK)
    far = encoded(np.array([0, 300, 65535], np.uint16)[MASK])
    ((_, labels),) = rows(image, (".png", far), values=(0, 300, 65535))
    np.testing.assert_array_equal(labels, MASK)


def gif_of_classes() -> bytes:
    """With a palette in the order of the classes."""
    picture = Image.fromarray(MASK).convert("P")
    picture.putpalette(sum(COLOURS, ()))
    return saved(picture, "GIF", optimize=False)


def test_colour_masks(rows):
    image, coloured = (".png", saved(RGB, "PNG")), np.array(COLOURS, np.uint8)[MASK]
    opaque = np.dstack([coloured, np.full_like(GRAY, 255)])
    for mask in [
        *((suffix, saved(coloured, kind)) for suffix, kind in ((".png", "PNG"), (".tif", "TIFF"), (".bmp", "BMP"))),
        (".webp", saved(coloured, "WEBP", lossless=True)),
        *((suffix, saved(opaque, kind)) for suffix, kind in ((".png", "PNG"), (".tif", "TIFF"))),
    ]:
        ((_, labels),) = rows(image, mask, encoding="rgb", values=CODES)
        np.testing.assert_array_equal(labels, MASK)


def test_palette_masks(rows):
    picture = Image.fromarray(MASK).convert("P")
    picture.putpalette(sum(COLOURS, ()))
    for suffix, kind in ((".png", "PNG"), (".tif", "TIFF"), (".bmp", "BMP"), (".gif", "GIF")):
        mask = (suffix, saved(picture, kind))
        ((_, labels),) = rows((".png", saved(RGB, "PNG")), mask, encoding="palette", values=CODES)
        np.testing.assert_array_equal(labels, MASK)


def test_smeared_masks(rows):
    image, half = (".png", saved(RGB, "PNG")), cv2.resize(HALF[:2, :2], (14, 9), interpolation=cv2.INTER_NEAREST)
    for suffix, kind in ((".jpg", "JPEG"), (".webp", "WEBP")):
        mask = (suffix, saved(half, kind))
        with pytest.raises(PipelineError, match="smears class values"):
            rows(image, mask, values=(0, 255))
        ((_, labels),) = rows(image, mask, values=(0, 1), threshold=127)
        np.testing.assert_array_equal(labels, half > 127)


def test_each_row_of_the_table_has_a_test_of_its_name():
    page = (ROOT / "docs/your-data.md").read_text(encoding="utf-8")
    table = page.split("| files | what is read, and how |\n|---|---|\n")[1].split("\n\n")[0]
    names = [re.sub(r"\W+", "_", line.split("|")[1].strip().lower()) for line in table.splitlines()]

    tests = [name.removeprefix("test_") for name in vars(sys.modules[__name__]) if name.startswith("test_")]

    assert [*names, "each_row_of_the_table_has_a_test_of_its_name"] == tests
