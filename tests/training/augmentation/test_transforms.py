"""Integer arithmetic on images, against floats and loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segline.training.augmentation import transforms

BOUND = 2**31 / transforms.ONE


def noise(key: int, shape: tuple[int, ...], deviation: float) -> torch.Tensor:
    amplitude = round(deviation / transforms.FOUR_BYTES * transforms.ONE)
    return transforms.noise(torch.tensor([key]), shape, amplitude)[0] / transforms.ONE


def test_noise_is_nearly_normal():
    values = noise(7, (300, 300, 3), 10.0).flatten()

    assert values.mean().item() == pytest.approx(0, abs=0.1)
    assert values.std().item() == pytest.approx(10, rel=0.01)
    assert (values.abs() < 10).float().mean().item() == pytest.approx(0.683, abs=0.015)
    assert (values.abs() < 20).float().mean().item() == pytest.approx(0.954, abs=0.01)


def test_noise_of_neighbours_channels_and_keys_is_uncorrelated():
    one, other = (noise(key, (200, 200, 3), 1.0) for key in (5, 6))
    pairs = {
        "below": (one[1:], one[:-1]),
        "beside": (one[:, 1:], one[:, :-1]),
        "the next channel": (one[..., 1:], one[..., :-1]),
        "the next key": (one, other),
    }

    for name, (first, second) in pairs.items():
        assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.02, name


def test_words_are_mixed_one_to_one():
    """Against the function in Python's own integers, including the limits."""
    words = [*range(1000), 2**31, 2**32 - 1, 0xDEADBEEF]

    def mixed(word: int) -> int:
        word = (word ^ (word >> 16)) * 0x21F0AAAD % 2**32
        word = (word ^ (word >> 15)) * 0x735A2D97 % 2**32
        return word ^ (word >> 15)

    words_mixed = transforms._mixed(torch.tensor(words)).tolist()

    assert [mixed(word) for word in words] == words_mixed
    assert len(words) == len(set(words_mixed))


@given(
    own=st.floats(0, 4),
    luma=st.floats(-2, 2),
    offset=st.floats(-300, 300),
    seed=st.integers(0, 2**32 - 1),
    channels=st.sampled_from([1, 3]),
)
def test_colours_equal_those_of_floats_within_a_gray_level(own, luma, offset, seed, channels):
    image = np.random.default_rng(seed).integers(0, 256, (1, 4, 5, channels), np.uint8)
    brightness = image @ np.array([0.299, 0.587, 0.114]) if channels == 3 else image[..., 0]
    total = own * image + luma * brightness[..., None] + offset
    fits = np.abs(total) + 1 < BOUND
    numbers = torch.tensor([[round(number * transforms.ONE) for number in (own, luma, offset)]])
    recoloured = transforms.recoloured(torch.from_numpy(image), numbers, 0).numpy()

    assert (np.abs(total.clip(0, 255) - recoloured)[fits] < 1).all()


@pytest.mark.parametrize("channels", [2, 5])
def test_bands_that_are_no_colours_are_changed_each_by_itself(channels):
    """As if each were a gray image, whatever the others show."""
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 4, 5, channels), np.uint8))
    numbers = torch.tensor([[transforms.ONE * 5 // 4, transforms.ONE // 8, -9 * transforms.ONE]] * 2)
    added = transforms.noise(torch.tensor([5, 6]), image.shape[1:], 20_000)
    alone = [transforms.recoloured(image[..., [band]], numbers, added[..., [band]]) for band in range(channels)]

    assert torch.equal(torch.cat(alone, dim=-1), transforms.recoloured(image, numbers, added))


@pytest.mark.parametrize("shade", [0, 255])
@pytest.mark.parametrize("numbers", [(4, -2, 382.5), (4, -2, -382.5), (0, 2, 382.5), (0, 0, 255), (2, 0, -127.5)])
def test_the_strongest_changes_and_noise_do_not_overflow(numbers, shade):
    image = torch.full((1, 9, 9, 3), shade, dtype=torch.uint8)
    own, luma, offset = numbers
    wanted = min(max((own + luma) * shade + offset, 0), 255)
    largest = round(64 / transforms.FOUR_BYTES * transforms.ONE) * 510
    fixed = torch.tensor([[round(number * transforms.ONE) for number in numbers]])

    assert abs(wanted - transforms.recoloured(image, fixed, 0).float()).max() <= 1
    for sign in (-1, 1):
        added = torch.full(image.shape, sign * largest, dtype=torch.int32)
        expected = min(max((own + luma) * shade + offset + sign * largest / transforms.ONE, 0), 255)
        assert abs(expected - transforms.recoloured(image, fixed, added).float()).max() <= 1


@pytest.mark.parametrize(
    ("place", "value", "label"),
    [
        (0, 10, 1),
        (127, 15, 1),
        (128, 16, 2),
        (255, 21, 2),
        (-128, 10, 1),
        (-129, transforms.GREY, 0),
        (384, transforms.GREY, 0),
    ],
)
def test_values_are_rounded_to_the_nearest_and_masks_take_the_nearest_pixel(place, value, label):
    """One pixel, `place` / 256 pixels to the right of the first of two; half a pixel beyond them is outside."""
    images = torch.tensor([10, 21], dtype=torch.uint8).view(1, 1, 2, 1)
    packed = torch.tensor([1, 2], dtype=torch.uint8).view(1, 1, 2, 1)
    affine = torch.tensor([[[0, 0, 0], [0, 0, place << (transforms.BITS - transforms.FINE)]]])
    image, mask, outside = transforms.moved(images, packed, affine, (1, 1))
    image.masked_fill_(outside[..., None], transforms.GREY)

    assert (value, label) == (image.item(), mask.item())


def test_a_paste_shows_the_other_only_in_the_box():
    """Against a loop over pixels."""
    stack = torch.arange(3 * 4 * 5 * 2, dtype=torch.uint8).view(3, 4, 5, 2)
    others, boxes = torch.tensor([2, 1]), torch.tensor([[1, 3, 0, 2], [0, 4, 0, 0]])
    shown = transforms.pasted(stack, others, boxes)

    assert (2, 4, 5, 2) == tuple(shown.shape)
    for n, y, x in np.ndindex(2, 4, 5):
        top, bottom, left, right = boxes[n].tolist()
        source = others[n] if top <= y < bottom and left <= x < right else n
        assert stack[source, y, x].tolist() == shown[n, y, x].tolist()
