"""`segline predict` of rows: what evaluate finds, however images are stretched, padded or cut into tiles."""

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import torch
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from segline import __main__ as command
from segline.core import records
from segline.core.errors import DataError
from segline.dataset import processed
from segline.dataset.preparation import FULL, Intensity, Preparation
from segline.inference import input_rows, mask_files
from segline.model import checkpoint, forward, randomness, receptive_field, stitching, watershed
from segline.preprocessing.image_files import png
from segline.scoring import score_split
from stages import preprocess
from tests import tiny
from tests.contract.closure import ROOT

TILES = {"fit": "tile", "height": 32, "width": 64, "overlap": 0.5}
UNET = {"width": 4, "depth": 1, "norm": "batch", "dropout": 0.0}
MODEL = Path("model.safetensors")
LOGITS = forward.logits


def tiles(**changes: Any) -> Preparation:
    form = {"scale": 1.0, "bands": "rgb", "orientation": "check", "alpha": "refuse", "intensity": FULL}
    return Preparation(**(TILES | form | changes))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")


def write_model(preparation: Preparation) -> None:
    """A network whose random weights tell pixels apart."""
    randomness.deterministic(3)
    description = checkpoint.Description("unet", UNET, "softmax", preparation, 127.5, 127.5, tiny.CLASSES, ())
    network = checkpoint.network(description).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, preparation.channels, 64, 64))
    checkpoint.write(MODEL, network.state_dict(), description)


def predict(*inputs: str, options: tuple[str, ...] = (), out: str = "out") -> Path:
    command.main(["predict", "--model", str(MODEL), "--out", out, *options, "--", *inputs])
    return Path(out)


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def scene(height: int, width: int, seed: int = 1) -> np.ndarray:
    """Patches of colour with noise, uint8 (H, W, 3)."""
    draws = np.random.default_rng([seed, height, width])
    patches = draws.integers(0, 225, (-(-height // 8), -(-width // 8), 3)).repeat(8, axis=0).repeat(8, axis=1)
    return (patches[:height, :width] + draws.integers(0, 30, (height, width, 3))).astype(np.uint8)


def write_tiff(path: str, pixels: np.ndarray, **profile: Any) -> None:
    height, width, bands = pixels.shape
    form = {"count": bands, "height": height, "width": width, "dtype": pixels.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **(form | profile)) as file:
            file.write(np.moveaxis(pixels, 2, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bands": "gray"},
        {"fit": "pad"},
        {**TILES},
        {**TILES, "overlap": 0.0},
        {**TILES, "scale": 0.5},
        {**TILES, "bands": [3, 1], "intensity": {"by": "percentile", "low": 1, "high": 99}},
    ],
    ids=["stretch", "gray", "pad", "tile", "tile without overlap", "tile at a scale", "bands and percentiles"],
)
def test_masks_are_those_of_evaluate_bit_for_bit(changes, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "SIZE", (75, 150))
    tiny.write_raw(Path("data/raw"), {"train": 2, "test": 3})
    tiny.write_params(tmp_path, **{f"preprocess__{key}": value for key, value in changes.items()})
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    split = processed.read(Path("data/processed/test"))
    write_model(split.index.preparation)
    network, description = checkpoint.read(MODEL)
    out = predict("data/raw/test/images", options=("--batch-size", "4"))
    margin = receptive_field.of_tiles(network, description.preparation)
    logits = score_split.logits(network, description, split, batch_size=4)

    for number, origin in enumerate(split.index.origins):
        grid = split.index.grid(number)
        bands = stitching.at_own_size(grid, stitching.bands(grid, islice(logits, grid.count), margin))
        expected = np.concatenate([forward.classes(band[None])[0] for band in bands])
        assert (expected == read(out / f"masks/{origin.stem}.png")).all()
        assert len(np.unique(expected)) > 1


def test_a_tiff_gives_a_mask_in_the_same_place_as_tiled_tiff_and_the_same_classes_as_a_png():
    write_model(tiles())
    pixels = scene(300, 290)
    place = rasterio.Affine(0.5, 0.1, 1000, 0.1, -0.5, 2000)
    Path("in").mkdir()
    write_tiff("in/stripes.tif", pixels, crs="EPSG:32632", transform=place)
    write_tiff("in/plain.tiff", pixels, tiled=True, blockxsize=64, blockysize=32, compress="lzw")
    png.write_png(Path("in/photo.png"), pixels)
    out = predict("in")

    assert {"stripes.tif", "plain.tif", "photo.png"} == {path.name for path in (out / "masks").iterdir()}
    with rasterio.open(out / "masks/stripes.tif") as mask, rasterio.open(out / "masks/plain.tif") as plain:
        assert (place, 32632) == (mask.transform, mask.crs.to_epsg())
        assert (None, True) == (plain.crs, plain.transform.is_identity)
        assert mask.block_shapes == [(mask_files.SIDE, mask_files.SIDE)]
        assert (mask.profile["compress"], mask.nodata) == ("deflate", 255)
        assert (read(out / "masks/photo.png") == mask.read(1)).all()
        assert (mask.read(1) == plain.read(1)).all()
    assert (read(out / "overlays/photo.png") == read(out / "overlays/stripes.png")).all()


def test_each_page_is_an_image_of_its_own():
    write_model(tiles())
    pages = [scene(40, 70, seed) for seed in (1, 2)]
    Path("in").mkdir()
    _, content = cv2.imencodemulti(".tif", [page[:, :, ::-1] for page in pages])
    Path("in/stack.tif").write_bytes(content.tobytes())
    for number, page in enumerate(pages, 1):
        png.write_png(Path(f"in/page{number}.png"), page)
    out = predict("in")

    assert ["page1", "page2", "stack-page-1", "stack-page-2"] == [
        row["image"] for row in records.read_csv(out / "summary.csv")
    ]
    for number in (1, 2):
        assert (read(out / f"masks/stack-page-{number}.tif") == read(out / f"masks/page{number}.png")).all()


def test_the_classes_come_in_bands_that_are_smaller_than_the_image(monkeypatch):
    heights = []
    cut_from = input_rows.NoData.cut_from

    def spy(self, classes, top):
        heights.append(len(classes))
        cut_from(self, classes, top)

    write_model(tiles(overlap=0.25))
    Path("in").mkdir()
    write_tiff("in/long.tif", scene(1000, 70))
    monkeypatch.setattr(input_rows.NoData, "cut_from", spy)
    predict("in")

    assert sum(heights) == 1000
    assert max(heights) <= 32


def test_with_flip_the_mirrored_image_gives_the_mirrored_mask():
    """Where the tiles of the mirrored image are those of the image, mirrored."""
    write_model(tiles())
    png.write_png(Path("in/plain.png"), scene(64, 128))
    png.write_png(Path("in/mirrored.png"), np.ascontiguousarray(scene(64, 128)[:, ::-1]))
    out = predict("in", options=("--flip",))

    assert np.mean(read(out / "masks/mirrored.png") != read(out / "masks/plain.png")[:, ::-1]) < 0.001, "ties"


def test_views_at_other_scales_are_those_of_each_tile():
    write_model(tiles())
    png.write_png(Path("in/a.png"), scene(64, 128))
    masks = [
        read(predict("in", options=("--scales", *scales), out="-".join(scales)) / "masks/a.png")
        for scales in (["1.0"], ["1.0", "1.0"], ["0.5", "1.0", "1.5"])
    ]

    assert np.mean(masks[0] != masks[1]) < 0.001, "the mean of two equal views, but for rounding"
    assert 0.01 < np.mean(masks[0] != masks[2]) < 0.9


def test_an_image_that_cannot_be_read_to_its_end_leaves_nothing_and_the_others_are_predicted(capsys):
    write_model(tiles())
    Path("in").mkdir()
    for name in ("a", "b", "c"):
        write_tiff(f"in/{name}.tif", scene(400, 70), tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with Image.open("in/b.tif") as image:
        last_tile = image.tag_v2[324][-1]
    content = bytearray(Path("in/b.tif").read_bytes())
    content[last_tile : last_tile + 10] = bytes(10)
    Path("in/b.tif").write_bytes(content)
    with pytest.raises(DataError, match="out: 1 of 3 images could not be predicted"):
        predict("in")

    assert capsys.readouterr().err.startswith("warning: in/b.tif: damaged: a strip or tile in rows ")
    assert {"a.tif", "c.tif"} == {path.name for path in Path("out/masks").iterdir()}
    assert ["a", "c"] == [row["image"] for row in records.read_csv(Path("out/summary.csv"))]


def test_an_image_whose_results_cannot_be_written_is_given_up_and_the_others_are_predicted(capsys):
    """It ends early: the network does not compute the tiles of an image that nobody will see."""
    write_model(tiles())
    for name in ("a", "b", "c"):
        png.write_png(Path(f"in/{name}.png"), scene(640, 70))
    Path("in/b.png").unlink()
    write_tiff("in/b.tif", scene(640, 70))
    Path("out/masks/b.tif/taken").mkdir(parents=True)
    records.write_csv(Path("out/summary.csv"), ["image", "height", "width"], [])
    with pytest.raises(DataError, match="out: 1 of 3 images could not be predicted"):
        predict("in")

    assert "in/b.tif: its results cannot be written: out/masks/b.tif: Is a directory" in capsys.readouterr().err
    assert ["a", "c"] == [row["image"] for row in records.read_csv(Path("out/summary.csv"))]


def test_a_full_disk_ends_everything_amid_an_image(monkeypatch):
    @contextmanager
    def full(path: Path, *_: object):
        def append(_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        yield append

    write_model(tiles())
    for name in ("a", "b", "c"):
        write_tiff(f"{name}.tif", scene(2000, 70))
    batches = []
    monkeypatch.setattr(mask_files, "written", full)
    monkeypatch.setattr(forward, "logits", lambda *given: (batches.append(1), LOGITS(*given))[1])
    with pytest.raises(OSError, match=r"No space left on device: 'out/masks/a.tif'"):
        predict("a.tif", "b.tif", "c.tif")

    assert len(batches) < 20, "of 94: the rest would be computed for nothing"


def test_objects_are_numbered_in_tiled_images_up_to_a_limit(monkeypatch, capsys):
    write_model(tiles())
    png.write_png(Path("in/large.png"), scene(100, 101))
    write_tiff("in/small.tif", scene(100, 100))
    monkeypatch.setattr(watershed, "MAX_PIXELS", 10_000)
    with pytest.raises(DataError, match="out: 1 of 2 images could not be predicted"):
        predict("in", options=("--instances", "bright"))

    assert "in/large.png: 101x100 pixels, expected at most 10000 in all for --instances" in capsys.readouterr().err
    numbers, mask = read(Path("out/instances/small.png")), read(Path("out/masks/small.tif"))
    assert ((numbers > 0) == (mask == 2)).all()


def test_pixels_without_data_have_no_class():
    write_model(tiles())
    pixels = scene(100, 200)
    pixels[:40, :90] = 0
    Path("in").mkdir()
    write_tiff("in/a.tif", pixels, nodata=0)
    write_tiff("in/b.tif", pixels)
    out = predict("in")
    a, b = read(out / "masks/a.tif"), read(out / "masks/b.tif")

    assert (a[:40, :90] == 255).all()
    there = (pixels > 0).any(axis=2)
    assert (a[there] == b[there]).all()


def test_a_band_that_the_model_does_not_use_may_lack_values():
    write_model(tiles(bands=(2, 1), intensity=Intensity("window", (0.0, 0.0), (255.0, 255.0))))
    pixels = scene(64, 64).astype(np.float32)
    pixels[:, 40:, 2] = pixels[10, 10, 0] = np.nan
    write_tiff("a.tif", pixels)
    mask = read(predict("a.tif") / "masks/a.tif")

    assert [(10, 10)] == list(zip(*np.nonzero(mask == 255), strict=True))


@pytest.mark.parametrize("orientation", ["check", "stored"])
def test_photos_are_turned_upright_unless_the_model_knows_them_as_stored(orientation, capsys):
    write_model(tiles(orientation=orientation))
    pixels = scene(96, 64)
    png.write_png(Path("in/upright.png"), pixels)
    stored = np.rot90(pixels, 1)  # counted counter-clockwise; orientation 6 is turned clockwise
    png.write_png(Path("in/stored.png"), np.ascontiguousarray(stored))
    write_tiff("turned.tif", stored)
    _turn(Path("turned.tif"), Path("in/turned.tif"), 6)
    out = predict("in")
    expected = "upright" if orientation == "check" else "stored"

    assert (read(out / f"masks/{expected}.png") == read(out / "masks/turned.tif")).all()
    assert ("1 of 3 images: turned upright (Exif orientation 6)" in capsys.readouterr().err) == (orientation == "check")


def test_a_large_overlay_is_scaled_down_and_one_line_says_so(capsys):
    write_model(tiles())
    for name in ("a", "b"):
        write_tiff(f"{name}.tif", scene(40, 5000))
    out = predict("a.tif", "b.tif")

    assert 2500 == read(out / "overlays/a.png").shape[1]
    assert "warning: 2 of 2 images: overlays scaled down to fit 4096 pixels a side\n" == capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_amid_a_large_image_leaves_nothing_of_it():
    write_model(tiles())
    write_tiff("large.tif", scene(6000, 3000))
    arguments = [sys.executable, "-m", "segline", "predict", "--model", MODEL, "--out", "out", "large.tif"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    partial = Path("out/masks/.large.tif.partial")
    while not (partial.exists() and partial.stat().st_size > 1000):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)

    assert (130, "error: stopped by Ctrl-C\n") == (process.returncode, printed)
    assert {"summary.csv"} == {path.name for path in Path("out").rglob("*") if path.is_file()}


def refusals(capsys, **files: np.ndarray) -> list[str]:
    """What `predict` says of TIFFs that it refuses, all of them, by name."""
    Path("in").mkdir()
    for name, pixels in files.items():
        write_tiff(f"in/{name}.tif", pixels, photometric="minisblack")
    with pytest.raises(DataError, match="could be predicted"):
        predict("in")
    return [line.removeprefix("warning: in/") for line in capsys.readouterr().err.splitlines()]


def test_samples_of_another_type_than_those_of_training_are_refused(capsys):
    bounds = Intensity("percentile", (0.0,) * 3, (4095.0,) * 3)
    write_model(tiles(bands=(1, 2, 3), intensity=bounds, dtype="uint16", file_bands=3))

    assert refusals(capsys, a=scene(40, 70), b=scene(40, 70).astype(np.int16)) == [
        "a.tif: uint8 samples, but the model was trained on uint16. Give images like those of training.",
        "b.tif: int16 samples, but the model was trained on uint16. Give images like those of training.",
    ]


def test_files_of_another_number_of_bands_than_those_of_training_are_refused(capsys):
    write_model(tiles(bands=(4, 1), file_bands=5))
    four, one = scene(40, 70)[:, :, [0, 1, 2, 0]], scene(40, 70)[:, :, :1]

    assert refusals(capsys, four=four, one=one) == [
        "four.tif: 4 bands, but the model was trained on 5 bands. Give images like those of training.",
        "one.tif: 1 band, but the model was trained on 5 bands. Give images like those of training.",
    ]


def test_images_like_those_of_training_are_predicted():
    bounds = Intensity("window", (0.0,) * 2, (255.0,) * 2)
    write_model(tiles(bands=(3, 1), intensity=bounds, dtype="uint16", file_bands=3))
    Path("in").mkdir()
    write_tiff("in/a.tif", scene(40, 70).astype(np.uint16))

    assert (40, 70) == read(predict("in") / "masks/a.tif").shape


def test_gray_levels_that_are_lost_are_said_once_with_a_count(capsys):
    """A camera of 12 bits, given to a model of the whole range."""
    write_model(tiles())
    Path("in").mkdir()
    for name in ("a", "b"):
        write_tiff(f"in/{name}.tif", scene(100, 70).astype(np.uint16) * 16, photometric="rgb")
    png.write_png(Path("in/c.png"), scene(100, 70))
    predict("in")
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "gray levels" in line)

    assert line.startswith(
        "warning: 2 of 2 images of more than 8 bits keep fewer than 64 gray levels, such as in/a.tif: 17 levels of "
    )
    assert line.endswith("Their masks may be poor: the model expects samples that fill this range.")


@pytest.mark.parametrize(
    ("bands", "pixels", "said"),
    [
        ("rgb", "transparent", "Save it without an alpha channel, flattened."),
        ("rgb", "float", "Save it with integer samples, as the images that the model was trained on."),
        ("rgb", "five bands", "Save it as gray or RGB."),
        ((9,), "five bands", "Save it with the bands of the images that the model was trained on."),
        ("rgb", "large", "Cut it or save it smaller, or train a model with fit: tile."),
    ],
)
def test_remedies_concern_the_image_not_the_parameters_of_training(bands, pixels, said, capsys):
    write_model(tiles(bands=bands, fit="pad"))
    Path("in").mkdir()
    if pixels == "transparent":
        Image.fromarray(np.dstack([scene(40, 70), np.full((40, 70), 9, np.uint8)])).save("in/a.png")
    elif pixels == "large":
        Image.new("1", (10_000, 10_000)).save("in/a.png")
    else:
        bands_of_file = [0, 1, 2, 0, 1] if pixels == "five bands" else [0]
        dtype = np.float32 if pixels == "float" else np.uint8
        write_tiff("in/a.tif", scene(40, 70)[:, :, bands_of_file].astype(dtype), photometric="minisblack")
    with pytest.raises(DataError, match="none of 1 images"):
        predict("in")
    (line,) = capsys.readouterr().err.splitlines()

    assert line.endswith(said)


def _turn(path: Path, target: Path, orientation: int) -> None:
    """Copies a TIFF with an orientation tag."""
    from PIL import Image

    with Image.open(path) as image:
        image.save(target, tiffinfo={274: orientation})
