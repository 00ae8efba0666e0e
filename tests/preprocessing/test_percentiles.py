"""Percentiles of a split are exact for every type of samples, whatever their distribution and order."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segline.core.errors import DataError
from segline.preprocessing import intensity, percentiles
from segline.preprocessing.image_files.stored_samples import Samples

TYPES = ["uint8", "uint16", "uint32", "int16", "int32", "float32"]
TRAIN = Path("data/raw/train")
ROOT = Path(__file__).parents[2]


def measured(windows, low=2.0, high=98.0, bands="gray"):
    """The bounds of windows (h, w, bands), or of `Samples`."""
    listed = [each if isinstance(each, Samples) else Samples(each, None) for each in windows]

    def visit(counts):
        for samples in listed:
            counts.add(samples)

    form = intensity.Percentile(by="percentile", low=low, high=high)
    return percentiles.measured(TRAIN, form, bands, visit)


def by_definition(values, percent):
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values.tolist())
    return ordered[max(1, ceil(Fraction(str(percent)) / 100 * len(ordered))) - 1]


def spread(dtype, count, seed=1):
    """Samples over the whole range, many of them equal, some far from all others."""
    generator = np.random.default_rng(seed)
    values = generator.normal(0, 1, count) ** 5 * 1000
    if dtype == "float32":
        values[:5] = [-3.4e38, 3.4e38, 0.0, -0.0, 1e-40]
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    middle = 0 if limits.min else 100
    return (values + middle).clip(limits.min, limits.max).astype(dtype)


def test_pixels_that_alpha_hides_do_not_count():
    values = np.arange(100, dtype=np.uint16).reshape(10, 10, 1)
    hidden, valid = (values >= 60)[:, :, 0], (values >= 20)[:, :, 0]

    for there, low in ((None, 0), (valid, 20)):
        rule = measured([Samples(values, there, hidden)], 0, 100)

        assert (rule.low, rule.high) == ((low,), (59,))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("percents", [(0.0, 100.0), (0.5, 99.5), (12.5, 50.0), (49.0, 99.99)])
def test_percentiles_are_those_of_all_samples_in_one_row(dtype, percents):
    values = spread(dtype, 5000)

    bounds = measured([part.reshape(4, -1, 1) for part in np.split(values, 5)], *percents)

    assert "percentile" == bounds.by
    assert [by_definition(values, percent) for percent in percents] == [*bounds.low, *bounds.high]


@pytest.mark.parametrize("dtype", TYPES)
def test_percentiles_are_those_of_numpy_by_the_inverted_cumulative_distribution(dtype):
    values = spread(dtype, 4096)

    bounds = measured([values.reshape(64, 64, 1)], 25.0, 75.0)

    assert [*bounds.low, *bounds.high] == np.percentile(values, (25, 75), method="inverted_cdf").tolist()


def different(dtype):
    """Arrays of a few different finite samples, of any bits."""
    anything = None if dtype != "float32" else st.floats(width=32, allow_nan=False, allow_infinity=False)
    return arrays(dtype, st.integers(2, 12), elements=anything, unique=True)


@given(st.sampled_from(TYPES).flatmap(different), st.integers(0, 33), st.integers(67, 100))
def test_few_samples_of_any_bits_have_exact_percentiles(values, low, high):
    bounds = measured([values.reshape(1, -1, 1)], float(low), float(high))

    assert [by_definition(values, percent) for percent in (low, high)] == [*bounds.low, *bounds.high]


def test_threads_in_any_order_give_the_same_bounds():
    windows = [spread("float32", 3000, seed).reshape(10, 100, 3) for seed in range(40)]

    def visit(counts):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda window: counts.add(Samples(window, None)), windows[::-1]))

    form = intensity.Percentile(by="percentile", low=2.0, high=98.0)

    assert measured(windows, bands=(1, 2, 3)) == percentiles.measured(TRAIN, form, (1, 2, 3), visit)


def test_every_channel_has_percentiles_of_its_own():
    values = np.random.default_rng(1).integers(0, 65_536, (30, 40, 4)).astype(np.uint16)

    bounds = measured([values], bands=(4, 2))

    assert [by_definition(values[:, :, band].ravel(), 2) for band in (3, 1)] == list(bounds.low)
    assert [by_definition(values[:, :, band].ravel(), 98) for band in (3, 1)] == list(bounds.high)


def test_gray_of_colour_files_is_measured_as_it_is_used():
    rgb = np.random.default_rng(1).integers(0, 4096, (30, 40, 3)).astype(np.uint16)

    bounds = measured([rgb])

    luma = intensity.chosen(rgb, "gray")
    assert [by_definition(luma.ravel(), 2), by_definition(luma.ravel(), 98)] == [*bounds.low, *bounds.high]


@pytest.mark.parametrize("dtype", TYPES)
def test_samples_that_are_not_valid_do_not_count(dtype):
    values = np.arange(100, dtype=dtype).reshape(10, 10, 1)
    valid = values[:, :, 0] >= 50

    assert measured([values[5:]]) == measured([Samples(values, valid)])


def test_samples_that_are_not_finite_do_not_count():
    values = np.arange(100, dtype=np.float32).reshape(10, 10, 1)
    holes = np.array([[[np.nan], [np.inf], [-np.inf]]], np.float32)

    assert measured([values]) == measured([values, holes])


def test_a_band_whose_percentiles_are_equal_is_an_error_that_names_it():
    values = np.random.default_rng(1).integers(0, 256, (10, 10, 3)).astype(np.uint8)
    values[:, :, 1] = 7

    with pytest.raises(DataError) as caught:
        measured([values], bands=(1, 2, 3))

    assert "data/raw/train: percentiles 2 and 98 of all samples are equal in band 2 (7). Set others in " in str(
        caught.value
    )


@pytest.mark.parametrize(
    "windows",
    [
        [],
        [Samples(np.zeros((2, 2, 1), np.uint16), np.zeros((2, 2), np.bool_))],
        [np.full((2, 2, 1), np.nan, np.float32)],
    ],
    ids=["no image", "no data", "not a number"],
)
def test_a_split_without_a_valid_sample_is_an_error(windows):
    with pytest.raises(DataError, match=r"^data/raw/train: no valid sample in "):
        measured(windows)


def test_samples_of_another_type_than_the_first_do_not_count_whatever_comes_first_in_the_second_pass():
    deep, other = np.arange(6, dtype=np.float32).reshape(2, 3, 1), np.full((2, 3, 1), 99, np.uint8)
    passes = iter([(deep, other), (other, deep)])

    def visit(counts):
        for window in next(passes):
            counts.add(Samples(window, None))

    form = intensity.Percentile(by="percentile", low=2.0, high=98.0)

    assert measured([deep]) == percentiles.measured(TRAIN, form, "gray", visit)


PRINT_BYTES = """
import hashlib, sys
from pathlib import Path
import numpy as np
from segline.dataset.preparation import FULL, Intensity, Preparation
from segline.preprocessing import intensity, percentiles
from segline.preprocessing.image_files.stored_samples import Samples
form = intensity.Percentile(by="percentile", low=1.5, high=97.0)
for name in sys.argv[1:]:
    window = Samples(np.load(name), None)
    for bands, channels in (("rgb", 3), ("gray", 1), ((3, 1), 2)):
        rules = [Intensity("window", (-100.3,) * channels, (2000.7,) * channels)]
        rules += [percentiles.measured(Path("train"), form, bands, lambda counts: counts.add(window))]
        rules += [FULL] if window.values.dtype.kind != "f" else []
        for rule in rules:
            preparation = Preparation("tile", 32, 32, 1.0, 0.0, bands, "check", "refuse", rule)
            pixels = np.ascontiguousarray(intensity.to_bytes(window, preparation))
            print(name, bands, hashlib.sha256(pixels).hexdigest(), rule)
"""


def test_bytes_and_percentiles_do_not_depend_on_the_cpu(tmp_path):
    """As if on an older machine: numpy and OpenCV without their newer instructions."""
    for dtype in TYPES:
        np.save(tmp_path / f"{dtype}.npy", spread(dtype, 3 * 61 * 83).reshape(61, 83, 3))
    older = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"]),
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1",
    }
    new, old = (
        subprocess.run(
            [sys.executable, "-c", PRINT_BYTES, *sorted(map(str, tmp_path.iterdir()))],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            check=True,
            capture_output=True,
            encoding="utf-8",
        ).stdout.splitlines()
        for environment in ({}, older)
    )

    assert len(TYPES) * 9 - 3 == len(new)
    assert old == new
