"""`segline inspect` proposes a preprocess section that suits the images, with a reason for each choice."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import yaml
from PIL import ExifTags, Image

from segline.commands import inspect_folder
from segline.core import params
from segline.preprocessing import pairs

RNG = np.random.default_rng(1)


def written(path: Path, values: np.ndarray, **options: Any) -> Path:
    """An image (h, w) or (h, w, bands), by the library that its name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.atleast_3d(values)
    if path.suffix == ".tif":
        shape = {"height": bands.shape[0], "width": bands.shape[1], "count": bands.shape[2], "dtype": bands.dtype.name}
        place = rasterio.Affine(2, 0, 0, 0, -2, 0)
        with rasterio.open(path, "w", driver="GTiff", transform=place, **shape, **options) as file:
            file.write(np.moveaxis(bands, 2, 0))
    elif values.dtype == np.uint16:
        cv2.imwrite(str(path), values)
    else:
        Image.fromarray(values).save(path, **options)
    return path


def proposed(root: Path, *images: np.ndarray, suffix: str = ".tif", **options: Any) -> tuple[dict[str, Any], str]:
    """The section for a folder of these images, and its text; the masks have two classes."""
    for number, values in enumerate(images):
        written(root / f"images/{number}{suffix}", values, **options)
        mask = np.zeros(values.shape[:2], np.uint8)
        mask[: len(mask) // 2] = 1
        written(root / f"masks/{number}.png", mask)
    inspection = inspect_folder.inspect(root)
    assert inspection.section is not None
    assert [] == [line for line in inspection.problems if "would be empty" not in line]
    document = yaml.safe_load(inspection.section)
    params.section(document, "preprocess", pairs.Section)
    text = inspection.section[inspection.section.index("preprocess:") :]
    return document["preprocess"], text


def noise(height: int, width: int, bands: int = 1, most: int = 256, dtype: str = "uint8") -> np.ndarray:
    return np.squeeze(RNG.integers(0, most, (height, width, bands)).astype(dtype))


def test_8_bit_photographs_of_one_size_keep_what_is_usual(tmp_path):
    section, text = proposed(tmp_path, *(noise(60, 80, 3) for _ in range(3)), suffix=".png")

    assert section == {
        "fit": "stretch",
        "height": 60,
        "width": 80,
        "scale": 1.0,
        "overlap": 0.25,
        "bands": "rgb",
        "orientation": "check",
        "alpha": "refuse",
        "intensity": {"by": "full"},
        "void": "ignore",
        "merge": {},
        "objects": None,
    }
    assert "# all images have 80x60 pixels" in text


def test_12_bits_in_16_get_percentiles_with_the_levels_that_full_would_leave(tmp_path):
    section, text = proposed(tmp_path, *(noise(64, 64, most=4096, dtype="uint16") for _ in range(3)))

    assert {"by": "percentile", "low": 0.5, "high": 99.5} == section["intensity"]
    assert "# samples lie in " in text
    assert ": {by: full} would leave few gray levels of 3 in 3 images, such as 17 of " in text


def test_16_bits_that_are_used_are_kept(tmp_path):
    section, text = proposed(tmp_path, noise(64, 64, most=65_536, dtype="uint16"))

    assert {"by": "full"} == section["intensity"]
    assert "64 gray levels or more are left" in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, {"by": "window", "low": 0.0, "high": 1.0}),
        (-0.9, 0.8, {"by": "window", "low": -1.0, "high": 1.0}),
        (3, 250, {"by": "window", "low": 0.0, "high": 255.0}),
        (0, 0.01, {"by": "percentile", "low": 0.5, "high": 99.5}),
        (-2000, 9000, {"by": "percentile", "low": 0.5, "high": 99.5}),
    ],
)
def test_floats_get_an_obvious_range_or_percentiles(tmp_path, low, high, expected):
    values = np.linspace(low, high, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[0, 0] = np.nan
    section, text = proposed(tmp_path, values)

    assert expected == section["intensity"]
    assert "# samples lie in " in text


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif"])
def test_gray_in_rgb_is_told_from_colour(tmp_path, suffix):
    gray = np.repeat(noise(30, 40)[:, :, None], 3, axis=2)
    options = {"lossless": True} if suffix == ".webp" else {}
    section, text = proposed(tmp_path / "gray", gray, suffix=suffix, **options)
    coloured = gray.copy()
    coloured[-1, -1, 0] ^= 1
    other, _ = proposed(tmp_path / "rgb", coloured, suffix=suffix, **options)

    assert ("gray", "rgb") == (section["bands"], other["bands"])
    assert "# R, G and B are equal in all images" in text


@pytest.mark.parametrize(
    ("count", "reason"),
    [(2, "the files do not say what they show"), (3, "the files do not say"), (5, "all; leave out what is of no use")],
)
def test_bands_without_a_meaning_are_listed(tmp_path, count, reason):
    section, text = proposed(tmp_path, noise(30, 40, count, 65_536, "uint16"), photometric="minisblack")

    assert [*range(1, count + 1)] == section["bands"]
    assert f"# {count} bands: {reason}" in text


def test_gray_files_have_gray_bands(tmp_path):
    section, text = proposed(tmp_path, noise(30, 40), suffix=".tif")

    assert section["bands"] == "gray"
    assert "# all images are gray" in text


@pytest.mark.parametrize(("height", "width", "side"), [(1000, 1000, 256), (1500, 2800, 512)])
def test_large_images_are_cut_into_tiles(tmp_path, height, width, side):
    section, text = proposed(tmp_path, np.zeros((height, width), np.uint8), compress="deflate")

    assert ("tile", side, side, 0.25) == tuple(section[key] for key in ("fit", "height", "width", "overlap"))
    assert f"# all images have {width}x{height} pixels: cut" in text


def test_images_of_several_aspect_ratios_are_padded_at_the_median_size(tmp_path):
    section, text = proposed(tmp_path, noise(300, 400), noise(400, 300), noise(400, 400), suffix=".png")

    assert ("pad", 384, 384) == (section["fit"], section["height"], section["width"])
    assert "aspect ratios from 0.75 to 1.33 are kept" in text


def test_images_of_nearly_one_aspect_ratio_are_stretched_and_large_ones_made_smaller(tmp_path):
    section, _ = proposed(tmp_path, noise(600, 800), noise(601, 800), noise(598, 800), suffix=".png")

    assert ("stretch", 384, 512) == (section["fit"], section["height"], section["width"])


def test_pages_of_a_file_are_images(tmp_path):
    for folder, most in (("images", 256), ("masks", 2)):
        (tmp_path / folder).mkdir()
        for stack in "abc":
            count = 1 if (folder, stack) == ("masks", "c") else 3
            first, *others = (Image.fromarray(noise(30, 40, most=most)) for _ in range(count))
            first.save(tmp_path / folder / f"{stack}.tif", save_all=True, append_images=others)
    inspection = inspect_folder.inspect(tmp_path)

    assert "# Images: 6 x 8-bit gray TIFF; 40x30." in inspection.section
    (problem,) = (line for line in inspection.problems if "would be empty" not in line)
    assert f"{tmp_path}/masks/c.tif: 1 page, expected 3 as images/c.tif. " in problem


def test_a_fourth_band_that_gdal_calls_alpha_may_be_near_infrared(tmp_path):
    _, text = proposed(tmp_path, *(noise(60, 80, 4) for _ in range(3)))

    assert "choose drop, white or black; or, if band 4 is near infrared, bands: [1, 2, 3, 4]" in text


def test_bands_are_proposed_by_their_numbers_in_the_file(tmp_path):
    """The fourth is alpha."""
    images = [np.dstack([noise(60, 80, 3), np.full((60, 80), 255, np.uint8), noise(60, 80)]) for _ in range(3)]

    section, _ = proposed(tmp_path, *images, photometric="RGB", ALPHA="YES")

    assert section["bands"] == [1, 2, 3, 5]


def test_transparent_images_are_described_and_the_parameter_that_decides_is_named(tmp_path):
    pictures = [np.dstack([noise(30, 40, 3), np.full((30, 40), 255, np.uint8)]) for _ in range(3)]
    pictures[1][0, 0, 3] = 0
    section, text = proposed(tmp_path, *pictures, suffix=".png")

    assert "refuse" == section["alpha"]
    assert "# 1 of 3 images are transparent in places: choose drop, white or black" in text


def test_photographs_are_turned_upright(tmp_path):
    """Masks have the size of the upright image, or it is an error that names both and the parameter."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name, orientation in (("a", exif), ("b", Image.Exif()), ("c", exif), ("d", exif)):
        written(tmp_path / f"images/{name}.jpg", noise(30, 40, 3), exif=orientation)
        written(tmp_path / f"masks/{name}.png", noise(*((30, 40) if name in "bd" else (40, 30)), most=2))
    inspection = inspect_folder.inspect(tmp_path)

    assert "# Images: 4 x 8-bit RGB JPEG; 30x40, 40x30." in inspection.section
    assert "# 3 of 4 images are turned upright by their Exif tags" in inspection.section
    assert [
        f"{tmp_path}/masks/d.png: 40x30 pixels as images/d.jpg is stored, expected 30x40 as it is seen upright (Exif "
        "orientation 6). Turn the mask, or set preprocess.orientation to stored."
    ] == [line for line in inspection.problems if "would be empty" not in line]


def test_images_of_different_bands_and_types_are_doubted(tmp_path):
    for name, values in (
        ("a", noise(30, 40, 4)),
        ("b", noise(30, 40, 5)),
        ("c", noise(30, 40, 4, 65_536, "uint16")),
    ):
        written(tmp_path / f"images/{name}.tif", values, photometric="minisblack")
    for name in "abc":
        written(tmp_path / f"masks/{name}.png", noise(30, 40, most=2))
    inspection = inspect_folder.inspect(tmp_path)

    assert "images differ in their bands: 2 x 4 bands, 1 x 5 bands. Save all in the same way, or leave some out" in (
        inspection.problems
    )
    assert "images differ in the type of their samples: 2 x uint8, 1 x uint16. Percentiles need one type" in (
        inspection.problems
    )


def test_a_damaged_strip_of_a_tiff_is_a_problem_with_the_file(tmp_path):
    for name in "abcd":
        written(tmp_path / f"images/{name}.tif", noise(64, 64), compress="deflate", blockysize=8)
        written(tmp_path / f"masks/{name}.png", noise(64, 64, most=2))
    broken = tmp_path / "images/b.tif"
    content = bytearray(broken.read_bytes())
    with rasterio.open(broken) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_7", "TIFF", bidx=1))
    content[start : start + 200] = bytes(200)
    broken.write_bytes(content)
    inspection = inspect_folder.inspect(tmp_path)

    assert "# Images: 3 x 8-bit gray TIFF; 64x64." in inspection.section
    assert [str(broken)] == [line.split(":")[0] for line in inspection.problems]
