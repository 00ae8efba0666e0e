"""Gray levels that are lost on the way to bytes are counted, and said with a better setting."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from segline.dataset.preparation import FULL, Intensity, Preparation
from segline.preprocessing import intensity, levels
from segline.preprocessing.image_files.stored_samples import Samples

ALL = Intensity("percentile", (0.0,), (65_535.0,))


def kept(*windows, bands="gray", rule=FULL, valid=None):
    preparation = Preparation("tile", 64, 64, 1.0, 0.0, bands, "check", "refuse", rule)
    counter = levels.Counter(preparation)
    for values in windows:
        samples = Samples(np.atleast_3d(values), valid)
        counter.add(samples, intensity.to_bytes(samples, preparation))
    return counter.kept()


def camera(bits, dtype=np.uint16):
    """All values of a sensor, as a square."""
    return np.arange(1 << bits).reshape(1 << bits // 2, -1).astype(dtype)


def test_12_of_16_bits_keep_17_levels():
    assert levels.Kept(17, 4096, 0, 4095, 0, 65_535) == kept(camera(12))


def test_windows_are_counted_together():
    assert kept(camera(12)) == kept(*np.split(camera(12), 8))


def test_a_fitting_window_keeps_all_256_levels():
    found = kept(camera(12), rule=Intensity("window", (0.0,), (4095.0,)))

    assert not found.is_poor
    assert [] == list(levels.lost([(Path("a"), found)], ""))


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32"])
def test_an_image_of_few_values_loses_none(dtype):
    found = kept(
        np.arange(0, 40_000, 1000).astype(dtype).clip(0, 32_000), rule=Intensity("window", (0.0,), (40_000.0,))
    )

    assert (33, 33) == (found.left, found.had)
    assert not found.is_poor


def test_the_poorest_channel_counts():
    rich = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    found = kept(np.dstack([rich, rich // 100, rich]), bands="rgb")

    assert (4, 656) == (found.left, found.had)
    assert found.is_poor


def test_a_channel_that_is_constant_hides_no_poorer_one():
    found = kept(np.dstack([np.full((64, 64), 9, np.uint16), camera(12)]), bands=(1, 2))

    assert (17, 4096) == (found.left, found.had)


def test_pixels_without_data_do_not_count():
    values = camera(12)
    values[:, 0] = 65_535
    valid = np.ones(values.shape, np.bool_)
    valid[:, 0] = False

    assert (17, 4032, 1, 4095) == tuple(
        getattr(kept(values, valid=valid), name) for name in ("left", "had", "low", "high")
    )


@pytest.mark.parametrize(
    ("values", "valid"),
    [(np.arange(9, dtype=np.uint8), None), (np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.bool_))],
    ids=["8 bits", "no data"],
)
def test_nothing_is_said_of_8_bits_or_of_no_data(values, valid):
    assert kept(values, valid=valid) is None


def test_the_warning_has_the_numbers_and_a_better_setting():
    fine = kept(camera(16))
    poor = [(Path(f"{bits}.tif"), kept(camera(bits))) for bits in (12, 10)]

    (line,) = levels.lost([(Path("fine.tif"), fine), *poor], levels.better(FULL))

    said, better = line.split(" Better, in preprocess: ")
    assert said == (
        "2 of 3 images of more than 8 bits keep fewer than 64 gray levels, such as 10.tif: 5 levels of 1024, as its "
        "samples lie in 0 to 1023 while 0 to 65535 become 0 to 255."
    )
    assert TypeAdapter(intensity.Form).validate_python(yaml.safe_load(better)["intensity"]).by == "percentile"


def test_the_setting_proposed_is_never_the_one_that_failed():
    (line,) = levels.lost([(Path("a.tif"), kept(camera(12), rule=ALL))], levels.better(ALL))

    assert line.endswith("intensity: {by: percentile, low: 2, high: 98}")
