"""The blend has the right colours, and the legend names the classes in the mask."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from segline.dataset import raw
from segline.inference import overlay

CLASSES = (
    raw.Label("sky", (10, 200, 30)),
    raw.Label("road", (40, 50, 250)),
    raw.Label("a class with a name that goes on and on", (0, 0, 0)),
)


def image(height: int, width: int, channels: int = 3) -> overlay.Uint8:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)


def picture(pixels: overlay.Uint8, mask: overlay.Uint8, classes=CLASSES, band: int = 7) -> overlay.Uint8:
    """The picture of an image and its mask, given in bands of so many lines."""
    canvas = overlay.Canvas(*mask.shape, classes)
    for top in range(0, len(mask), band):
        canvas.add_image(pixels[top : top + band])
        canvas.add_mask(mask[top : top + band])
    return canvas.picture(np.bincount(mask.ravel(), minlength=len(classes)) > 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_is_the_image_and_its_class_colour_in_the_share_of_alpha(channels):
    pixels, mask = image(20, 30, channels), np.arange(600, dtype=np.uint8).reshape(20, 30) % 3
    colours = np.array([label.rgb for label in CLASSES])
    expected = (1 - overlay.ALPHA) * pixels.astype(float) + overlay.ALPHA * colours[mask]

    assert np.abs(expected - picture(pixels, mask)[:20, :30]).max() <= 0.5


@pytest.mark.parametrize(("channels", "shown"), [(2, [0, 0, 0]), (4, [0, 1, 2]), (7, [0, 1, 2])])
def test_of_other_bands_the_first_three_are_shown_or_the_first_as_gray(channels, shown):
    pixels, mask = image(9, 11, channels), np.zeros((9, 11), np.uint8)

    assert (picture(pixels, mask) == picture(pixels[:, :, shown], mask)).all()


@pytest.mark.parametrize("band", [1, 50, 1000])
def test_a_large_image_is_scaled_down_to_the_mean_of_whole_blocks(band, monkeypatch):
    """Of 100 x 61 pixels at most 30 a side remain: one for 4 x 4, and at the right one column for four."""
    monkeypatch.setattr(overlay, "MAX_SIDE", 30)
    pixels, mask = image(100, 61), np.resize(np.arange(3, dtype=np.uint8), (100, 61))
    colours = np.array([label.rgb for label in CLASSES])
    wide = np.pad((pixels + colours[mask].astype(float)) / 2, ((0, 0), (0, 3), (0, 0)), mode="edge")
    expected = wide.reshape(25, 4, 16, 4, 3).mean(axis=(1, 3))

    assert np.abs(expected - picture(pixels, mask, band=band)[:25, :16]).max() <= 1.5, "rounded three times"


@pytest.mark.parametrize(("present", "absent"), [((0,), (1, 2)), ((1, 2), (0,)), ((0, 1, 2), ())])
def test_the_legend_has_the_colour_of_each_class_in_the_mask_and_of_no_other(present, absent):
    mask = np.resize(np.array(present, np.uint8), (60, 200))
    legend = picture(image(60, 200), mask)[60:]
    full = {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}

    assert {CLASSES[k].rgb for k in present} <= full
    assert not {CLASSES[k].rgb for k in absent} & full


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 3), (1, 3000), (3000, 1), (361, 481)])
def test_the_picture_has_its_own_size_above_a_readable_legend(height, width):
    mask = np.resize(np.arange(3, dtype=np.uint8), (height, width))
    drawn = picture(image(height, width), mask)
    below, beside = drawn[height:], drawn[:height, width:]

    assert below.shape[0] >= max(overlay.LINE, max(height, width) // 40)
    assert drawn.shape[1] >= 50
    assert (beside == 255).all()
    assert below.min() < 50, "there is something to read"


@pytest.mark.slow
def test_a_mask_of_255_classes_has_a_legend_of_255_lines_or_columns():
    labels = tuple(raw.Label(f"class {k}", (k, 0, 255 - k)) for k in range(255))
    mask = np.resize(np.arange(255, dtype=np.uint8), (40, 60))
    legend = picture(image(40, 60), mask, labels)[40:]

    assert {label.rgb for label in labels} <= {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}


def test_threads_that_draw_at_once_draw_what_one_alone_draws():
    """Images of two sizes, each twice: legends are cached for the next image of the same size."""
    works = [(image(side, side + 20), np.resize(np.arange(3, dtype=np.uint8), (side, side + 20))) for side in (9, 1000)]
    works += [(pixels, np.minimum(mask, 1)) for pixels, mask in works]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda work: picture(*work), works * 3))

    for drawn, work in zip(together, works * 3, strict=True):
        assert (picture(*work) == drawn).all()
