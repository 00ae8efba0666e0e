"""Samples of any depth become bytes by a rule that is exact, or an error that names the parameter."""

from fractions import Fraction
from math import floor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import TypeAdapter, ValidationError

from segline.core.errors import DataError
from segline.dataset.preparation import FULL, Intensity, Preparation
from segline.preprocessing import intensity
from segline.preprocessing.image_files.stored_samples import Samples

INTEGERS = ["uint8", "uint16", "uint32", "int16", "int32"]


def prepared(bands, rule=FULL):
    return Preparation("stretch", 8, 8, 1.0, 0.25, bands, "check", "refuse", rule)


def window(low, high, channels=1):
    return Intensity("window", (low,) * channels, (high,) * channels)


def in_bytes(values, bands="gray", rule=FULL, valid=None):
    values = np.asarray(values)
    return intensity.to_bytes(
        Samples(values.reshape(1, -1, 1) if values.ndim < 3 else values, valid), prepared(bands, rule)
    )


def rounded(value, low, high):
    """The byte by the definition, in fractions."""
    share = 255 * (Fraction(value) - Fraction(low)) / (Fraction(high) - Fraction(low))
    return min(255, max(0, floor(share + Fraction(1, 2))))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("bands", ["rgb", "gray"])
def test_full_gives_8_bits_as_stored_and_16_bits_over_257_and_the_luma_of_opencv(dtype, colours, bands):
    values = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (40, 50, colours)).astype(dtype)
    expected = values if dtype == np.uint8 else np.round(values / 257).astype(np.uint8)
    if bands == "rgb":
        expected = np.broadcast_to(expected, (40, 50, 3))
    elif colours == 3:
        expected = cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY)[:, :, None]

    assert np.array_equal(expected, in_bytes(values, bands))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_full_spreads_the_whole_range_of_every_integer_type_without_error(dtype):
    limits = np.iinfo(dtype)
    near = [
        limits.min,
        limits.min + 1,
        limits.max - 1,
        limits.max,
        *(limits.min + (limits.max - limits.min) * byte // 255 for byte in range(256)),
    ]
    halves = [
        limits.min + (2 * byte + 1) * (limits.max - limits.min) // 510 + step for byte in range(255) for step in (0, 1)
    ]
    values = np.array([*near, *halves], dtype)

    assert [rounded(int(value), int(limits.min), int(limits.max)) for value in values] == in_bytes(
        values
    ).ravel().tolist()


@given(
    values=arrays(np.int16, 20),
    low=st.floats(-70_000, 70_000),
    length=st.floats(1e-3, 140_000),
)
def test_a_window_on_16_bits_is_exact(values, low, length):
    high = low + length

    assert [rounded(int(value), low, high) for value in values] == in_bytes(
        values, rule=window(low, high)
    ).ravel().tolist()


def test_what_lies_halfway_is_rounded_up():
    assert [0, 1, 1, 2, 2] == in_bytes(np.arange(5, dtype=np.uint16), rule=window(0, 510)).ravel().tolist()
    assert [0, 1, 1, 2, 2] == in_bytes(np.arange(5, dtype=np.float32), rule=window(0, 510)).ravel().tolist()


@given(arrays(np.float32, 20, elements=st.floats(-100, 300, width=32)))
def test_a_window_on_floats_is_off_by_no_more_than_the_last_bit_of_a_half(values):
    exact = [255 * (Fraction(float(value)) + 10) / 210 for value in values]

    for value, byte in zip(exact, in_bytes(values, rule=window(-10, 200)).ravel().tolist(), strict=True):
        assert abs(min(max(value, 0), 255) - byte) <= Fraction(1, 2) + Fraction(1, 10**9)


@pytest.mark.parametrize("dtype", ["uint32", "int32", "float32"])
def test_32_bits_and_16_bits_give_the_same_bytes_for_the_same_values(dtype):
    values = np.arange(30_000, dtype=np.uint16)
    rule = window(123, 20_000)

    assert np.array_equal(in_bytes(values, rule=rule), in_bytes(values.astype(dtype), rule=rule))


@pytest.mark.parametrize("rule", [window(-5.0, 5.0), Intensity("percentile", (-5.0,), (5.0,))])
def test_what_is_not_a_number_becomes_the_byte_of_low_and_infinities_are_cut(rule):
    values = np.array([np.nan, -np.inf, np.inf, -5, 5], np.float32)

    assert [0, 0, 255, 0, 255] == in_bytes(values, rule=rule).ravel().tolist()


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32"])
def test_pixels_without_data_become_the_byte_of_low(dtype):
    values = np.full((1, 2, 3), 100, dtype)

    pixels = in_bytes(values, "rgb", window(0, 100, 3), valid=np.array([[True, False]]))

    assert [[[255] * 3, [0] * 3]] == pixels.tolist()
    assert (values == 100).all()


def test_bands_are_taken_by_number_in_their_order_and_again():
    values = np.arange(5, dtype=np.uint8).reshape(1, 1, 5)

    assert [4, 0, 4] == in_bytes(values, (5, 1, 5)).ravel().tolist()


def test_every_channel_has_bounds_of_its_own():
    values = np.full((1, 1, 2), 1000, np.uint16)
    rule = Intensity("percentile", (0, 1000), (2000, 3000))

    assert [128, 0] == in_bytes(values, (1, 2), rule).ravel().tolist()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float32"])
def test_gray_from_rgb_within_a_window_is_the_luma_of_the_samples(dtype):
    rgb = np.array([[[10, 200, 30], [100, 100, 100]]], dtype)
    luma = round((9798 * 10 + 19235 * 200 + 3735 * 30) / 32768)

    pixels = in_bytes(rgb, rule=window(0, 1020)).ravel().tolist()

    assert [rounded(luma, 0, 1020), rounded(100, 0, 1020)] == pixels


@pytest.mark.parametrize(
    ("file", "bands", "rule", "said"),
    [
        (("bands", 4, "uint16"), "rgb", FULL, r"4 bands .* preprocess.bands is rgb. .* preprocess.bands: \[1, 2, 3\]"),
        (("bands", 2, "uint16"), "gray", FULL, r"2 bands .* preprocess.bands is gray. .* preprocess.bands: \[1, 2\]"),
        (
            ("RGB", 3, "uint8"),
            (1, 4),
            FULL,
            "no band 4, which preprocess.bands names, as it has 3. Name bands from 1 to",
        ),
        (("gray", 1, "float32"), "gray", FULL, "float32 samples, which have no whole range. .*percentile.*window"),
    ],
)
def test_a_file_that_does_not_fit_the_parameters_is_an_error_that_names_them(file, bands, rule, said):
    colour, count, dtype = file

    with pytest.raises(DataError, match=f"^a.tif: {said}"):
        intensity.require(Path("a.tif"), colour, count, np.dtype(dtype), prepared(bands, rule))


@pytest.mark.parametrize(
    ("file", "bands", "rule"),
    [
        (("gray", 1, "uint8"), "rgb", FULL),
        (("RGB", 3, "uint16"), "gray", FULL),
        (("bands", 7, "int16"), (7, 1), FULL),
        (("gray", 1, "float32"), "gray", window(0, 1)),
    ],
)
def test_a_file_that_fits_the_parameters_passes(file, bands, rule):
    colour, count, dtype = file
    intensity.require(Path("a.tif"), colour, count, np.dtype(dtype), prepared(bands, rule))


def test_a_window_is_the_same_for_every_channel():
    form = TypeAdapter(intensity.Form).validate_python({"by": "window", "low": 2.0, "high": 5.0})

    assert Intensity("window", (2.0, 2.0), (5.0, 5.0)) == intensity.stated(form, channels=2)
    assert FULL == intensity.stated(intensity.Full(by="full"), channels=2)


@pytest.mark.parametrize(
    ("value", "place", "said"),
    [
        ({"by": "window", "low": 5.0, "high": 5.0}, ("high",), "more than low, 5"),
        ({"by": "percentile", "low": 50.0, "high": 2.0}, ("high",), "more than low, 50"),
        ({"by": "percentile", "low": 0.0, "high": 101.0}, ("high",), "less than or equal to 100"),
        ({"by": "full", "low": 0.0}, ("low",), "not permitted"),
        ({"by": "window", "low": 0.0}, ("high",), "required"),
        ({"by": "range"}, ("by",), "full | window | percentile"),
        ({}, ("by",), "required"),
        ("full", (), "by: full | window | percentile"),
    ],
)
def test_a_wrong_form_is_an_error_at_the_key_that_is_wrong(value, place, said):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(intensity.Form).validate_python(value)

    (detail,) = caught.value.errors()
    assert place == detail["loc"]
    assert said in detail["msg"]
