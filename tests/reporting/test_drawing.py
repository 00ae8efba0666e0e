"""Class indices and pixels become the right colours."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segline.dataset import raw
from segline.dataset.onehot import VOID
from segline.reporting import drawing

CLASSES = (raw.Label("sky", (10, 20, 30)), raw.Label("road", (40, 50, 60)))
PALETTE = drawing.palette(CLASSES, raw.Void(11, (7, 8, 9)))


def decoded(content: bytes) -> drawing.Uint8:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def test_the_palette_has_the_colour_of_each_class_and_of_void():
    assert [[10, 20, 30], [40, 50, 60], [7, 8, 9]] == PALETTE[[0, 1, VOID]].tolist()


def test_a_data_set_without_void_still_has_a_colour_for_it():
    assert list(drawing.UNNAMED_VOID) == drawing.palette(CLASSES, None)[VOID].tolist()


def test_errors_are_marked_on_valid_pixels_only():
    image = np.full((1, 4, 3), 100, np.uint8)
    truth = np.array([[0, 1, VOID, 1]], np.uint8)
    prediction = np.array([[0, 0, 0, 1]], np.uint8)

    right, wrong, void, also_right = drawing.errors(image, truth, prediction, PALETTE)[0].tolist()

    assert (list(drawing.WRONG), [7, 8, 9], right) == (wrong, void, also_right)
    assert len(set(right)) == 1, "a right pixel is grey"


@pytest.mark.parametrize("shade", [0, 255])
def test_a_faded_picture_does_not_overflow(shade):
    image = np.full((1, 1, 3), shade, np.uint8)
    truth = np.zeros((1, 1), np.uint8)

    assert 190 + shade // 4 == drawing.errors(image, truth, truth, PALETTE)[0, 0, 0]


def test_a_grey_image_becomes_a_picture():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)

    picture = drawing.rgb(grey)

    assert (2, 3, 3) == picture.shape
    assert (picture == grey).all()


@pytest.mark.parametrize(("bands", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (7, [0, 1, 2])])
def test_three_bands_are_shown_as_red_green_and_blue_and_of_fewer_the_first_as_grey(bands, shown):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, bands), np.uint8)

    assert (image[..., shown] == drawing.rgb(image)).all()


@pytest.mark.parametrize(
    ("box", "framed"),
    [
        ((0.25, 0.75, 0.5, 1.0), (slice(10, 30), slice(40, 80))),
        ((0.0, 1.0, 0.0, 1.0), (slice(0, 40), slice(0, 80))),
        ((0.5, 0.55, 0.5, 0.5125), (slice(18, 24), slice(38, 44))),
    ],
)
def test_a_part_is_framed_in_all_panels_within_its_border(box, framed):
    four = drawing.Panels(*(np.full((40, 80, 3), 90 + k, np.uint8) for k in range(4)))

    outlined = drawing.outlined(four, box)

    for before, after in zip(four, outlined, strict=True):
        outside, changed = np.ones((40, 80), bool), (before != after).any(axis=2)
        outside[framed] = False
        assert not changed[outside].any()
        assert (after[framed][0] == 0).all()
        assert (after[framed][:, -1] == 0).all()
        assert not changed[framed][2:-2, 2:-2].any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((96, 128), (192, 256)),
        ((360, 480), (192, 256)),
        ((100, 200), (100, 200)),
        ((1, 2000), (1, 256)),
        ((300, 1), (256, 1)),
        ((480, 360), (256, 192)),
        ((1, 1), (256, 256)),
    ],
)
def test_panels_are_at_most_256_long_and_small_images_grow_by_a_whole_factor(size, expected):
    indices = np.zeros(size, np.uint8)

    panels = drawing.panels(np.zeros((*size, 1), np.uint8), indices, indices, PALETTE)

    assert {(*expected, 3)} == {panel.shape for panel in panels}


@pytest.mark.parametrize(
    ("size", "expected"),
    [((96, 128), (96, 128)), ((160, 1), (160, 1)), ((320, 480), (107, 160)), ((1, 2000), (1, 160))],
)
def test_a_pair_has_its_own_size_or_160_on_the_longer_side(size, expected):
    indices = np.random.default_rng(0).choice(np.array([0, 1, VOID], np.uint8), size)

    picture, mask = drawing.pair(np.full((*size, 1), 9, np.uint8), indices, PALETTE)

    assert {(*expected, 3)} == {picture.shape, mask.shape}
    assert (picture == 9).all()
    assert {*map(tuple, mask.reshape(-1, 3).tolist())} <= {*map(tuple, PALETTE[[0, 1, VOID]].tolist())}


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 300), width=st.integers(1, 600))
def test_masks_show_no_colour_that_is_no_classs(seed, height, width):
    draw = np.random.default_rng(seed)
    truth = draw.choice(np.array([0, 1, VOID], np.uint8), (height, width))
    prediction = draw.integers(0, 2, (height, width)).astype(np.uint8)

    panels = drawing.panels(np.zeros((height, width, 3), np.uint8), truth, prediction, PALETTE)

    colours = {tuple(colour) for colour in PALETTE[[0, 1, VOID]].tolist()}
    assert {tuple(colour) for colour in np.unique(panels.truth.reshape(-1, 3), axis=0).tolist()} <= colours
    assert {tuple(colour) for colour in np.unique(panels.prediction.reshape(-1, 3), axis=0).tolist()} <= colours


def test_a_png_is_exact():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

    assert (picture == decoded(drawing.png(picture))).all()


def test_a_jpeg_keeps_colours_apart_from_one_pixel_to_the_next():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:, ::2] = (255, 0, 0)

    difference = np.abs(decoded(drawing.jpeg(picture)).astype(int) - picture)

    assert difference.mean() < 12
