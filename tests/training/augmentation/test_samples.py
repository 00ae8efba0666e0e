"""Image and mask change together, depend only on (seed, epoch, row), and no label or colour is invented.

Strengths are set by a draw: 0.5 changes nothing, 0 and 1 are the ends (of flips and mixing: below the probability).
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segline.dataset.onehot import VOID, pack, unpack
from segline.model import batches
from segline.training.augmentation import plan as drawing
from segline.training.augmentation import samples as augmentation
from segline.training.augmentation import transforms
from tests import tiny

ALL = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "rotation": 30.0,
    "zoom": 1.5,
    "shift": 0.2,
    "crop": 0.7,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.5,
    "noise": 5.0,
    "cut_mix": 0.5,
}
GEOMETRY = {"flip_horizontal": 1.0, "flip_vertical": 1.0, "rotation": 180.0, "zoom": 2.0, "shift": 0.5}


def section(**strengths: float) -> drawing.Section:
    """Everything off except these."""
    return drawing.Section(**tiny.PARAMETERS["augment"] | strengths)


def samples(count: int, height: int, width: int, channels: int = 3, num_classes: int = 3) -> batches.Samples:
    """Noise, and masks with every class and void."""
    rng = np.random.default_rng([count, height, width, channels, num_classes])
    masks = rng.choice([*range(num_classes), VOID], size=(count, height, width)).astype(np.uint8)
    images = rng.integers(0, 256, (count, height, width, channels), np.uint8)
    return load(images, masks, num_classes)


def load(images: np.ndarray, masks: np.ndarray, num_classes: int) -> batches.Samples:
    return batches.load(images, pack(masks, num_classes), num_classes, torch.device("cpu"))


def views(
    data: batches.Samples, strengths: drawing.Section, partners: list[int] | None = None, **drawn: float
) -> tuple[np.ndarray, np.ndarray]:
    """All samples, changed by these draws: images and class indices."""
    count, height, width, _ = data.images.shape
    fixed = drawing.Draws(*(np.full(count, drawn.get(name, 0.5)) for name in drawing.Draws._fields))
    plan = drawing.plan(strengths, (height, width), fixed, np.arange(count), np.array(partners or range(count)))
    [(images, packed)] = augmentation.views(data, plan, [np.arange(count)])
    return images.numpy(), unpack(packed.numpy(), data.num_classes)


def stored(data: batches.Samples) -> tuple[np.ndarray, np.ndarray]:
    return data.images.numpy(), unpack(data.packed.numpy(), data.num_classes)


def assert_equal(expected: tuple[np.ndarray, np.ndarray], actual: tuple[np.ndarray, np.ndarray]) -> None:
    for one, other in zip(expected, actual, strict=True):
        assert one.dtype == other.dtype == np.uint8
        assert np.array_equal(one, other)


def epoch(
    data: batches.Samples, strengths: drawing.Section, size: int = 4, seed: int = 1, number: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and one-hot targets of a whole epoch, one after another."""
    shown = augmentation.Augmented(data, strengths)
    inputs, onehot = zip(*augmentation.shuffled(shown, size, seed, number), strict=True)
    return torch.cat(inputs), torch.cat(onehot)


SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
CHANNELS = st.sampled_from([1, 3])
ANY = st.floats(0, 1, exclude_max=True)


def drawn(*names: str) -> st.SearchStrategy[dict[str, float]]:
    """Any draws of these fields."""
    return st.fixed_dictionaries(dict.fromkeys(names, ANY))


# The order.


@given(st.integers(1, 20), st.integers(1, 7), st.integers(0, 99), st.integers(1, 99))
def test_an_epoch_has_every_sample_once(count, size, seed, number):
    masks = np.zeros((count, 1, 1), np.uint8)
    data = load(np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1), masks, 2)
    inputs, _ = epoch(data, section(), size, seed, number)

    assert (
        sorted(inputs.flatten().tolist()) == batches.inputs(data.images, batches.MEAN, batches.STD).flatten().tolist()
    )


@pytest.mark.parametrize("strengths", [section(), section(**ALL)], ids=["off", "on"])
@pytest.mark.parametrize("size", [1, 2, 5, 13, 99])
def test_an_epoch_does_not_depend_on_the_batch_size(size, strengths):
    data = samples(13, 6, 8)

    for expected, actual in zip(epoch(data, strengths, 4), epoch(data, strengths, size), strict=True):
        assert torch.equal(expected, actual)


@pytest.mark.parametrize("strengths", [section(), section(cut_mix=1.0), section(**ALL)], ids=["off", "mixed", "on"])
@pytest.mark.parametrize("size", [1, 5, 99])
def test_an_epoch_does_not_depend_on_streaming(size, strengths):
    """A streamed batch includes the partners of its rows, wherever in the split they are."""
    data = samples(13, 6, 8)
    stream = batches.Streamed(data.images.numpy(), data.packed.numpy(), data.num_classes, torch.device("cpu"))

    for expected, actual in zip(epoch(data, strengths, size), epoch(stream, strengths, size), strict=True):
        assert torch.equal(expected, actual)


@pytest.mark.parametrize("strengths", [section(), section(**ALL)], ids=["off", "on"])
@pytest.mark.parametrize("other", [(6, 1), (5, 2)])
def test_another_seed_or_epoch_is_another_stream(other, strengths):
    data = samples(20, 6, 8)
    one, another = (epoch(data, strengths, seed=seed, number=number)[0] for seed, number in ((5, 1), other))

    assert not torch.equal(one, another)
    assert torch.equal(one, epoch(data, strengths, seed=5, number=1)[0])


def test_with_everything_off_samples_are_as_stored_in_their_order():
    data = samples(9, 5, 4)
    order = np.random.Generator(np.random.Philox(np.random.SeedSequence((7, 0, 3)))).permutation(9)
    inputs, onehot = epoch(data, section(), size=2, seed=7, number=3)

    assert torch.equal(batches.inputs(data.images[order], batches.MEAN, batches.STD), inputs)
    assert torch.equal(batches.onehot(data.packed[order], data.num_classes), onehot)


@given(st.lists(st.integers(0, 11), min_size=1, max_size=8))
def test_a_sample_does_not_depend_on_the_rest_of_the_batch(rows):
    data = samples(12, 6, 8)
    plan = augmentation.epoch_plan(augmentation.Augmented(data, section(**ALL)), 1, 1)
    [together] = augmentation.views(data, plan, [np.array(rows)])
    for place, row in enumerate(rows):
        [alone] = augmentation.views(data, plan, [np.array([row])])
        assert all(torch.equal(one[0], both[place]) for one, both in zip(alone, together, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_bytes_with_everything_on_are_these(threads, deterministic):
    """A checksum that any change of a draw or a rounding changes; the same on every machine, being of integers."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    data = samples(40, 24, 32, num_classes=11)
    plan = augmentation.epoch_plan(augmentation.Augmented(data, section(**ALL)), 1, 1)
    [(images, packed)] = augmentation.views(data, plan, [np.arange(40)])
    torch.set_num_threads(before)

    assert (121464989940, 4241361547) == tuple(checksum(tensor) for tensor in (images, packed))


def checksum(tensor: torch.Tensor) -> int:
    """Weighted by place, so that swapped pixels change it."""
    return int((tensor.flatten().long() * torch.arange(1, tensor.numel() + 1)).sum())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch built for CUDA")
def test_a_gpu_computes_the_same_bytes_without_waiting():
    data = samples(40, 24, 32)
    there = batches.Samples(data.images.cuda(), data.packed.cuda(), data.num_classes)
    plan = augmentation.epoch_plan(augmentation.Augmented(data, section(**ALL)), 1, 1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        [streamed] = augmentation.views(there, plan, [np.arange(40)])
    finally:
        torch.cuda.set_sync_debug_mode("default")

    [here] = augmentation.views(data, plan, [np.arange(40)])
    for expected, actual in zip(here, streamed, strict=True):
        assert torch.equal(expected, actual.cpu())


# Where pixels go.


@pytest.mark.parametrize(("name", "axis"), [("flip_vertical", 1), ("flip_horizontal", 2)])
@given(size=SIZES, channels=CHANNELS)
def test_a_flip_mirrors_and_two_are_the_identity(name, axis, size, channels):
    data = samples(2, *size, channels)
    once = views(data, section(**{name: 1.0}))
    twice = views(load(*once, data.num_classes), section(**{name: 1.0}))

    assert_equal(tuple(np.flip(array, axis) for array in stored(data)), once)
    assert_equal(stored(data), twice)


@given(size=SIZES, channels=CHANNELS, num_classes=st.integers(2, 20))
def test_half_a_turn_is_both_flips(size, channels, num_classes):
    data = samples(2, *size, channels, num_classes)
    both = views(data, section(flip_horizontal=1.0, flip_vertical=1.0))

    for end in (0, 1):
        assert_equal(both, views(data, section(rotation=180.0), rotation=end))


@given(side=st.integers(1, 9), channels=CHANNELS)
def test_a_quarter_turn_of_a_square_is_that_of_numpy(side, channels):
    data = samples(2, side, side, channels)

    for end, quarters in ((0, -1), (1, 1)):
        expected = tuple(np.rot90(array, quarters, axes=(1, 2)) for array in stored(data))
        assert_equal(expected, views(data, section(rotation=90.0), rotation=end))


@given(size=SIZES, down=st.integers(-9, 9), right=st.integers(-9, 9))
def test_a_shift_by_whole_pixels_moves_both_and_leaves_void_and_gray(size, down, right):
    height, width = size
    down, right = max(-height, min(height, down)), max(-width, min(width, right))
    data = samples(1, height, width)
    shifted = views(data, section(shift=1.0), shift_y=(1 + down / height) / 2, shift_x=(1 + right / width) / 2)
    images, masks = np.full_like(stored(data)[0], transforms.GREY), np.full_like(stored(data)[1], VOID)
    for y, x in np.ndindex(height, width):
        if 0 <= y - down < height and 0 <= x - right < width:
            images[0, y, x], masks[0, y, x] = (array[0, y - down, x - right] for array in stored(data))

    assert_equal((images, masks), shifted)


@given(size=SIZES, channels=CHANNELS, crop=st.floats(0.01, 1), down=ANY, right=ANY)
def test_a_crop_is_a_slice(size, channels, crop, down, right):
    data = samples(2, *size, channels)
    height, width = (max(1, round(crop * side)) for side in size)
    top, left = (
        int(share * (side - kept + 1)) for share, side, kept in zip((down, right), size, (height, width), strict=True)
    )
    expected = tuple(array[:, top : top + height, left : left + width] for array in stored(data))

    assert_equal(expected, views(data, section(crop=crop), crop_y=down, crop_x=right))


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    crop=st.floats(0.5, 1),
    drawn=drawn("flip_horizontal", "flip_vertical", "rotation", "zoom", "shift_y", "shift_x", "crop_y", "crop_x"),
)
def test_every_pixel_comes_from_the_place_computed_in_floats(size, crop, drawn):
    """Against a loop over pixels: the mask from the nearest pixel, the image bilinear, void and gray from outside.

    The place in the source: undo the crop, then the shift, then the zoom and the turn about the middle, then the flips.
    """
    data = samples(1, *size)
    strengths = section(**{**GEOMETRY, "flip_horizontal": 0.5, "flip_vertical": 0.5, "crop": crop})
    found_images, found_masks = (array[0] for array in views(data, strengths, **drawn))
    image, mask = (array[0] for array in stored(data))
    angle = np.deg2rad(180 * (2 * drawn["rotation"] - 1))
    scale = 2.0 ** (2 * drawn["zoom"] - 1)
    for y, x in np.ndindex(*found_masks.shape):
        corner = [
            int(drawn[f"crop_{axis}"] * (side - kept + 1))
            for axis, side, kept in zip("yx", size, found_masks.shape, strict=True)
        ]
        v, u = (
            at + start - 0.5 * side * (2 * drawn[f"shift_{axis}"] - 1) - (side - 1) / 2
            for axis, at, start, side in zip("yx", (y, x), corner, size, strict=True)
        )
        v, u = (np.cos(angle) * v + np.sin(angle) * u) / scale, (np.cos(angle) * u - np.sin(angle) * v) / scale
        v, u = (-v if drawn["flip_vertical"] < 0.5 else v), (-u if drawn["flip_horizontal"] < 0.5 else u)
        v, u = v + (size[0] - 1) / 2, u + (size[1] - 1) / 2
        if min(abs(v % 1 - 0.5), abs(u % 1 - 0.5)) < 0.003:
            continue  # between two pixels: either is the nearest
        near = round(v), round(u)
        if not (0 <= near[0] < size[0] and 0 <= near[1] < size[1]):
            assert (VOID, {transforms.GREY}) == (found_masks[y, x], set(found_images[y, x].tolist()))
            continue
        assert mask[near] == found_masks[y, x]
        weighed = sum(
            (1 - abs(v - row))
            * (1 - abs(u - column))
            * image[min(max(row, 0), size[0] - 1), min(max(column, 0), size[1] - 1)].astype(float)
            for row in (int(np.floor(v)), int(np.floor(v)) + 1)
            for column in (int(np.floor(u)), int(np.floor(u)) + 1)
        )
        assert np.abs(weighed - found_images[y, x]).max() < 2  # places are rounded to 1/256 pixels


@given(drawn=drawn("rotation", "zoom", "shift_y", "shift_x"))
def test_an_image_that_says_where_its_pixels_are_agrees_with_its_mask(drawn):
    """Red is 8 times the column and green 8 times the row, which give the class that the mask must have."""
    side, num_classes = 24, 20
    y, x = np.mgrid[:side, :side]
    classes = ((3 * y + 7 * x) % num_classes).astype(np.uint8)
    image = np.stack([8 * x, 8 * y, np.full_like(x, 255)], axis=-1).astype(np.uint8)
    data = load(image[None], classes[None], num_classes)
    strengths = section(rotation=180.0, zoom=2.0, shift=0.3)
    (image,), (mask,) = views(data, strengths, **drawn)
    inside = image[..., 2] == 255
    column, row = (image[..., channel] / 8 for channel in (0, 1))
    clear = inside & (np.abs(column % 1 - 0.5) > 0.125) & (np.abs(row % 1 - 0.5) > 0.125)
    rows, columns = (np.rint(place).astype(int)[clear] for place in (row, column))

    assert np.array_equal(classes[rows, columns], mask[clear])
    assert (mask[~inside] == VOID).all()
    assert (image[~inside] == transforms.GREY).all()
    assert (mask[inside] != VOID).all()


@settings(max_examples=30)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    num_classes=st.integers(2, 20),
    channels=CHANNELS,
    seed=st.integers(0, 2**32 - 1),
)
def test_no_label_is_invented_whatever_is_on(size, num_classes, channels, seed):
    """K from 2 to 20 takes 1 to 3 bytes per pixel; at most one bit is set, that of a class that was there."""
    data = samples(3, *size, channels, num_classes)
    data.packed[:, :, :, 0] &= 0xFE  # class 0 becomes void
    _, onehot = epoch(data, section(**ALL), seed=seed)

    assert {0.0, 1.0} >= {*onehot.sum(dim=1).flatten().tolist()}
    assert 0 == onehot[:, 0].sum()
    assert onehot.shape[1] == num_classes


def test_an_image_of_one_pixel_survives_everything():
    inputs, onehot = epoch(samples(5, 1, 1), section(**ALL))

    assert ((5, 3, 1, 1), (5, 3, 1, 1)) == (tuple(inputs.shape), tuple(onehot.shape))
    assert inputs.isfinite().all()


# What colour they have.


@pytest.mark.parametrize("channels", [1, 3])
@given(brightness=st.sampled_from([0, 0.2, 1]), contrast=ANY, saturation=ANY)
def test_colours_equal_those_of_floats_within_a_gray_level(channels, brightness, contrast, saturation):
    """Saturation about the luma of BT.601, contrast about mid-gray, then brightness; clamped at the end."""
    data = samples(1, 7, 9, channels)
    strengths = section(brightness=0.3, contrast=0.5, saturation=0.8)
    image = data.images.numpy().astype(float)
    luma = image @ [[0.299], [0.587], [0.114]] if channels == 3 else image
    value = luma + (1 + 0.8 * (2 * saturation - 1)) * (image - luma)
    value = 127.5 + (1 + 0.5 * (2 * contrast - 1)) * (value - 127.5) + 255 * 0.3 * (2 * brightness - 1)
    recoloured, masks = views(data, strengths, brightness=brightness, contrast=contrast, saturation=saturation)

    assert np.abs(value.clip(0, 255) - recoloured).max() < 1
    assert np.array_equal(stored(data)[1], masks)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_colour_draw_in_the_middle_of_its_range_changes_nothing(name):
    data = samples(2, 16, 16)

    assert_equal(stored(data), views(data, section(**{name: 0.7})))


def test_saturation_leaves_gray_images_alone():
    for channels in (1, 3):
        grey = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), (1, 16, 16, channels))
        data = load(grey.copy(), np.zeros((1, 16, 16), np.uint8), 2)
        assert_equal(stored(data), views(data, section(saturation=1.0), saturation=0.1))


@pytest.mark.parametrize("deviation", [2.0, 8.0, 30.0])
def test_noise_has_the_deviation_asked_for_and_mean_0(deviation):
    data = load(np.full((1, 300, 300, 3), 128, np.uint8), np.zeros((1, 300, 300), np.uint8), 2)
    images, masks = views(data, section(noise=deviation))

    assert images.std() == pytest.approx(deviation, rel=0.05)
    assert images.mean() == pytest.approx(128, abs=deviation / 50)
    assert (masks == 0).all()


def test_noise_differs_from_sample_to_sample_and_epoch_to_epoch():
    data = load(np.full((2, 50, 50, 1), 128, np.uint8), np.zeros((2, 50, 50), np.uint8), 2)
    shown = augmentation.Augmented(data, section(noise=10.0))
    plans = [augmentation.epoch_plan(shown, 1, number) for number in (1, 2)]
    one, other = (next(augmentation.views(data, plan, [np.arange(2)]))[0] for plan in plans)
    pictures = [one[0], one[1], other[0], other[1]]

    for first in range(4):
        for second in range(first):
            pair = [pictures[place].flatten().double().numpy() for place in (first, second)]
            assert abs(np.corrcoef(*pair)[0, 1]) < 0.1


# What is pasted in.


@given(size=SIZES, channels=CHANNELS, box_size=ANY, box_y=ANY, box_x=ANY)
def test_a_box_shows_the_partner_and_the_rest_the_sample(size, channels, box_size, box_y, box_x):
    """In image and mask alike; the partner has its own augmentation: here mirrored, like the sample."""
    data = samples(3, *size, channels)
    flipped = views(data, section(flip_horizontal=1.0))
    partners = [1, 2, 0]
    drawn = {"box_size": box_size, "box_y": box_y, "box_x": box_x}
    mixed = views(data, section(flip_horizontal=1.0, cut_mix=1.0), partners, **drawn)
    within = np.zeros(size, bool)
    spans = []
    for side, middle in zip(size, (box_y, box_x), strict=True):
        extent = int(side * np.sqrt(box_size))
        start = int(side * middle) - extent // 2
        spans.append(slice(max(start, 0), max(start + extent, 0)))
    within[tuple(spans)] = True
    expected = tuple(
        np.where(within.reshape(1, *size, *[1] * (array.ndim - 3)), array[partners], array) for array in flipped
    )

    assert_equal(expected, mixed)


def test_mixing_pastes_image_and_mask_alike():
    count = 40
    numbers = np.arange(count, dtype=np.uint8)[:, None, None]
    masks = np.broadcast_to(numbers, (count, 16, 16)).copy()
    data = load(masks[..., None], masks, count)
    shown = augmentation.Augmented(data, section(cut_mix=0.5))
    plan = augmentation.epoch_plan(shown, 1, 1)
    [(images, packed)] = augmentation.views(data, plan, [np.arange(count)])
    classes = unpack(packed.numpy(), count)
    seen = [{*picture.flatten().tolist()} for picture in classes]

    assert np.array_equal(images[..., 0].numpy(), classes)
    assert all(here <= {row, int(plan.partners[row])} for row, here in enumerate(seen))
    assert 5 < sum(len(here) == 2 for here in seen) < 30
