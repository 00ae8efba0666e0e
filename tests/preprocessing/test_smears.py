"""Smeared masks are told from those of many classes by their histogram."""

import cv2
import numpy as np
import pytest

from segline.preprocessing import smears


def discs(values: list[int]) -> np.ndarray:
    mask = np.zeros((96, 128), np.uint8)
    for place, value in enumerate(values):
        cv2.circle(mask, (20 + 30 * place, 40), 12, value, -1)
    return mask


def counts(mask: np.ndarray) -> dict[int, int]:
    return dict(zip(*(part.tolist() for part in np.unique(mask, return_counts=True)), strict=True))


def jpeg(mask: np.ndarray, quality: int) -> np.ndarray:
    content = cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def shares(values: list[int], parts: list[int]) -> dict[int, int]:
    return dict(zip(values, parts, strict=True))


BINARY = discs([255, 255, 255])
SMEARED = {
    "blurred": cv2.GaussianBlur(BINARY, (3, 3), 0),
    "resized": cv2.resize(cv2.resize(BINARY, (100, 70), interpolation=cv2.INTER_CUBIC), (128, 96)),
    "from JPEG": jpeg(BINARY, 90),
}
CLASSES = {  # legitimate masks: nothing is smeared in them
    "binary": shares([0, 255], [90, 10]),
    "few": shares([0, 1, 2, 255], [900, 50, 30, 20]),
    "rare organs and void": shares([*range(11), 255], [9500] + [20] * 10 + [300]),
    "rare organs in steps": shares([*range(0, 251, 25)], [9500] + [50] * 10),
    "a long tail": shares([*range(150)], [1000 // (rank + 1) for rank in range(150)]),
    "numbered objects": shares([*range(200)], [9000] + [5] * 199),
}


@pytest.mark.parametrize("name", SMEARED)
def test_a_cloud_around_two_values_is_a_smeared_binary_mask(name):
    smeared = smears.binary(counts(SMEARED[name]))

    assert (0, 255, 127) == (smeared.low, smeared.high, smeared.threshold)
    assert smeared.share > 0.8
    assert len(counts(SMEARED[name])) - 2 == smeared.others


@pytest.mark.parametrize("name", CLASSES)
def test_rare_classes_are_not_taken_for_smears(name):
    assert smears.binary(CLASSES[name]) is None
    assert [] == smears.common_values(CLASSES[name])


@pytest.mark.parametrize("quality", [5, 30, 75, 100])
def test_jpeg_of_a_binary_mask_is_recognised_at_any_quality(quality):
    smeared = smears.binary(counts(jpeg(BINARY, quality)), jpeg=True)

    assert abs(smeared.threshold - 127) < 10


def test_jpeg_of_three_classes_is_not_binary():
    assert smears.binary(counts(jpeg(discs([255, 128, 255]), 90)), jpeg=True) is None


def test_the_values_of_three_smeared_classes_are_found():
    assert [0, 128, 255] == smears.common_values(counts(cv2.GaussianBlur(discs([255, 128, 128]), (3, 3), 0)))


def test_the_colours_of_smoothed_masks_are_found():
    mask = np.zeros((96, 128, 3), np.uint8)
    mask[discs([1, 0, 1]) > 0] = (200, 0, 0)
    mask[discs([0, 1, 0]) > 0] = (0, 200, 0)
    red, green, blue = np.moveaxis(cv2.GaussianBlur(mask, (5, 5), 0).astype(int), 2, 0)

    assert [0, 0x00C800, 0xC80000] == smears.common_colours(counts(red << 16 | green << 8 | blue))


def test_many_unrelated_colours_are_classes():
    random = np.random.default_rng(1).integers(0, 1 << 24, 40)

    assert [] == smears.common_colours(shares(random.tolist(), [5000, 3000, 2000] + [5] * 37))
