"""Masks as TIFF files: whole and the same each time, or not there."""

import errno
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from segline.inference import mask_files
from segline.preprocessing.image_files.stored_samples import Georeference
from tests.contract.closure import ROOT

PLACE = Georeference(rasterio.CRS.from_epsg(32632).to_wkt(), (0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0))
LIMITED = """
import resource, signal, sys
from pathlib import Path
from segline.inference import mask_files
from tests.inference.test_mask_files import noise
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    with mask_files.written(Path("a.tif"), int(sys.argv[1]), 500, None) as append:
        append(noise(int(sys.argv[1]), 500))
except OSError as error:
    print(error.errno, error.filename)
"""


def noise(height: int, width: int) -> mask_files.Uint8:
    return np.random.default_rng(height).integers(0, 8, (height, width), np.uint8)


def write(path: Path, mask: mask_files.Uint8, band: int) -> bytes:
    with mask_files.written(path, *mask.shape, PLACE) as append:
        for top in range(0, len(mask), band):
            append(mask[top : top + band])
    return path.read_bytes()


@pytest.mark.parametrize("shape", [(1, 1), (255, 300), (256, 256), (700, 257)])
def test_the_file_contains_the_mask_whatever_the_bands_it_came_in(shape, tmp_path):
    mask = noise(*shape)
    contents = {write(tmp_path / "a.tif", mask, band) for band in (1, 64, 10_000)}

    assert 1 == len(contents), "equal bytes"
    assert (cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED) == mask).all()
    assert [tmp_path / "a.tif"] == list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [2, 9, 255])
def test_there_may_be_a_plane_for_each_of_many_classes(count, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (40, 300, count), np.uint8)
    path, names = tmp_path / "planes.tif", [f"class {k}" for k in range(count)]
    with mask_files.written(path, 40, 300, None, names) as append:
        for top in range(0, 40, 7):
            append(values[top : top + 7])

    with rasterio.open(path) as file:
        assert tuple(names) == file.descriptions
        assert np.array_equal(values.transpose(2, 0, 1), file.read())


def test_a_block_that_fails_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "a.tif"
    content = write(path, noise(300, 300), 64)

    def stopped() -> None:
        with mask_files.written(path, 300, 300, None) as append:
            append(noise(290, 300))
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert content == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("height", "limit"), [(3000, 100_000), (200, 10_000)], ids=["amid", "when it is closed"])
def test_a_disk_that_fails_is_named_with_its_reason_and_nothing_is_left(height, limit, tmp_path):
    """GDAL says neither, and nothing at all of what it writes when it closes the file."""
    command = [sys.executable, "-c", LIMITED, str(height), str(limit)]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )

    assert f"{errno.EFBIG} a.tif\n" == done.stdout
    assert [] == list(tmp_path.iterdir())
