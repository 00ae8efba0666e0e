"""Whole images come back from their rows, each pixel from the tile that owns it; close-ups show where it went wrong."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segline.dataset import onehot, processed, raw
from segline.dataset.origins import Origin
from segline.reporting import drawing, whole_images
from tests import evaluated, tiny

CLASSES = tuple(raw.Label(name, (k, k, k)) for k, name in enumerate("abc"))
FITS = st.sampled_from(["stretch", "pad", "tile"])
SIZES = st.tuples(st.integers(1, 150), st.integers(1, 150))


def split(sizes, fit="tile", overlap=0.25, channels=3, row=(32, 64)):
    """A split without arrays."""
    preparation = replace(tiny.stretched(*row, channels), fit=fit, overlap=overlap)
    origins = tuple(Origin(str(k), None, *own, "i", "m", "0", "0") for k, own in enumerate(sizes))
    return processed.Index("toy", "test", CLASSES, None, False, "index", (), preparation, origins=origins)


def drawn(index, seed=0):
    """Working images, their true and their predicted classes, one of each for every image."""
    draw = np.random.default_rng(seed)
    sizes = [index.grid(k).working for k in range(len(index.origins))]
    images = [draw.integers(0, 256, (*size, index.preparation.channels), np.uint8) for size in sizes]
    truth = [draw.choice(np.array([0, 1, 2, onehot.VOID], np.uint8), size) for size in sizes]
    return images, truth, [draw.integers(0, 3, size).astype(np.uint8) for size in sizes]


def stored(index, images, truth, predictions):
    """Split and predictions as they lie on disk. In the padding of the predictions is a class, which must not count."""
    rows = evaluated.cut(index, images, None), onehot.pack(evaluated.cut(index, truth, onehot.VOID), 3)
    return processed.Split(index, *rows), evaluated.cut(index, predictions, 1)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(SIZES, min_size=1, max_size=3), fit=FITS, overlap=st.floats(0, 0.75), seed=st.integers(0, 99))
def test_a_whole_is_the_working_image(sizes, fit, overlap, seed):
    index = split(sizes, fit, overlap)
    images, truth, predictions = drawn(index, seed)
    material = stored(index, images, truth, predictions)

    for number in range(len(sizes)):
        whole = whole_images.views(*material, number).whole
        assert np.array_equal(images[number], whole.image)
        assert np.array_equal(truth[number], whole.truth)
        assert np.array_equal(predictions[number], whole.prediction)
        assert np.array_equal(predictions[number], whole_images.lines(*material, number))


@settings(max_examples=40, deadline=None)
@given(size=SIZES, side=st.integers(1, 70), overlap=st.floats(0, 0.75), seed=st.integers(0, 99))
def test_a_whole_longer_than_allowed_is_scaled_down_by_area_and_its_classes_by_their_middle(size, side, overlap, seed):
    index = split([size], overlap=overlap)
    images, truth, predictions = drawn(index, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_images, "SIDE", side)
        material = stored(index, images, truth, predictions)
        whole, lines = whole_images.views(*material, 0).whole, whole_images.lines(*material, 0)

    step = -(-max(size) // side)
    assert (step, max(whole.truth.shape) <= side) == (whole.step, True)
    for place in np.ndindex(whole.truth.shape):
        block = tuple(slice(step * k, step * (k + 1)) for k in place)
        mean = images[0][block].reshape(-1, 3).astype(float).mean(axis=0)
        assert (np.floor(mean + 0.5) == whole.image[place]).all()
        middle = tuple(side // 2 for side in truth[0][block].shape)
        assert (truth[0][block][middle], predictions[0][block][middle]) == (whole.truth[place], whole.prediction[place])
        assert predictions[0][block].max() == lines[place], "a line is broken"


@pytest.mark.parametrize("seed", range(4))
def test_a_closeup_shows_the_part_with_the_most_wrong_pixels_of_the_tile_with_the_most(monkeypatch, seed):
    monkeypatch.setattr(drawing, "PANEL_SIDE", 20)
    index = split([(30, 20), (90, 150)])
    images, truth, predictions = drawn(index, seed)
    closeup = whole_images.views(*stored(index, images, truth, predictions), 1).closeup

    wrong = (truth[1] != predictions[1]) & (truth[1] != onehot.VOID)
    tiles = [(slice(top, top + 32), slice(left, left + 64)) for top, left in index.grid(1).windows]
    tile = max(tiles, key=lambda tile: wrong[tile].sum())
    counts = np.lib.stride_tricks.sliding_window_view(wrong[tile], (20, 20)).sum(axis=(2, 3))
    shown = slice(closeup.top, closeup.top + 20), slice(closeup.left, closeup.left + 20)
    assert counts.max() == wrong[shown].sum()
    assert counts.max() == counts[closeup.top - tile[0].start, closeup.left - tile[1].start]
    assert np.array_equal(images[1][shown], closeup.image)
    assert np.array_equal(truth[1][shown], closeup.truth)
    assert np.array_equal(predictions[1][shown], closeup.prediction)
    assert f"x {closeup.left} to {closeup.left + 19}, y {closeup.top} to {closeup.top + 19}" == closeup.place


def test_a_small_fault_is_in_the_middle_of_its_closeup(monkeypatch):
    monkeypatch.setattr(drawing, "PANEL_SIDE", 21)
    index = split([(64, 64)], row=(64, 64))
    images, truth, _ = drawn(index)
    truth = [np.zeros_like(truth[0])]
    predictions = [truth[0].copy()]
    predictions[0][35:38, 30:33] = 1

    closeup = whole_images.views(*stored(index, images, truth, predictions), 0).closeup

    assert (36 - 10, 31 - 10) == (closeup.top, closeup.left)


@pytest.mark.parametrize(("fit", "size"), [("stretch", (900, 900)), ("pad", (900, 100)), ("tile", (256, 200))])
def test_there_is_no_closeup_of_what_is_shown_in_full(fit, size):
    index = split([size], fit)

    views = whole_images.views(*stored(index, *drawn(index)), 0)

    assert (None, None, 1) == (views.closeup, views.outline, views.whole.step)
    assert 1 == len(views.panels(drawing.palette(CLASSES, None)))


def test_an_image_that_was_not_cut_is_never_scaled_down():
    index = split([(10, 10)], "stretch", row=(700, 3))

    assert (700, 3) == whole_images.views(*stored(index, *drawn(index)), 0).whole.truth.shape


def test_the_outline_is_where_the_closeup_lies():
    index = split([(700, 1300)], row=(256, 256))
    images, truth, _ = drawn(index)
    predictions = [np.where(truth[0] == onehot.VOID, 0, truth[0]).astype(np.uint8)]
    predictions[0][300:310, 1000:1010] += 1
    predictions[0] %= 3

    views = whole_images.views(*stored(index, images, truth, predictions), 0)

    assert 3 == views.whole.step
    top, bottom, left, right = views.outline
    height, width = (3 * side for side in views.whole.truth.shape)
    assert (top * height, left * width) == pytest.approx((views.closeup.top, views.closeup.left))
    assert (bottom * height - 256, right * width - 256) == pytest.approx((views.closeup.top, views.closeup.left))
    assert top * height <= 300 < bottom * height
    assert left * width <= 1000 < right * width


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_images_of_any_number_of_bands_are_shown(channels):
    index = split([(40, 70)], channels=channels)
    images, *classes = drawn(index)

    shown = whole_images.views(*stored(index, images, *classes), 0).whole.image

    assert np.array_equal(drawing.rgb(images[0]), shown)


def test_only_the_rows_of_an_image_are_read():
    """So an image of a large split is shown as fast as one of a small one."""
    index = split([(40, 70)] * 3)
    material = stored(index, *drawn(index))
    rows = [number for number, row in enumerate(index.rows) if row.origin == 1]
    reads = Recorded(material[0].images)

    whole_images.views(replace(material[0], images=reads), material[1], 1)

    assert rows == reads.read


class Recorded:
    """An array that records which rows were read."""

    def __init__(self, array):
        self.array, self.read = array, []

    def __getitem__(self, row):
        self.read.append(row)
        return self.array[row]
