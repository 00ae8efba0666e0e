"""The blend has the right colours, and the legend names the classes in the mask."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from segline.dataset import raw
from segline.inference import overlay
from segline.reporting import drawing

CLASSES = (
    raw.Label("sky", (10, 200, 30)),
    raw.Label("road", (40, 50, 250)),
    raw.Label("a class with a name that goes on and on", (0, 0, 0)),
)


def image(height: int, width: int, channels: int = 3) -> overlay.Uint8:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pixel_is_the_image_and_its_class_colour_in_the_share_of_alpha(channels):
    pixels, mask = image(20, 30, channels), np.arange(600, dtype=np.uint8).reshape(20, 30) % 3
    colours = np.array([label.rgb for label in CLASSES])
    expected = (1 - overlay.ALPHA) * pixels.astype(float) + overlay.ALPHA * colours[mask]
    picture = overlay.picture(pixels, mask, CLASSES)

    assert np.abs(expected - picture[:20, :30]).max() <= 0.5
    assert (picture[:20, :30] == overlay.blend(pixels, mask, drawing.palette(CLASSES, None))).all()


@pytest.mark.parametrize(("present", "absent"), [((0,), (1, 2)), ((1, 2), (0,)), ((0, 1, 2), ())])
def test_the_legend_has_the_colour_of_each_class_in_the_mask_and_of_no_other(present, absent):
    mask = np.resize(np.array(present, np.uint8), (60, 200))
    legend = overlay.picture(image(60, 200), mask, CLASSES)[60:]
    full = {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}

    assert {CLASSES[k].rgb for k in present} <= full
    assert not {CLASSES[k].rgb for k in absent} & full


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 3), (1, 3000), (3000, 1), (361, 481)])
def test_the_picture_has_its_own_size_above_a_readable_legend(height, width):
    mask = np.resize(np.arange(3, dtype=np.uint8), (height, width))
    picture = overlay.picture(image(height, width), mask, CLASSES)
    below, beside = picture[height:], picture[:height, width:]

    assert below.shape[0] >= max(overlay.LINE, max(height, width) // 40)
    assert picture.shape[1] >= 50
    assert (beside == 255).all()
    assert below.min() < 50, "there is something to read"


@pytest.mark.slow
def test_a_mask_of_255_classes_has_a_legend_of_255_lines_or_columns():
    labels = tuple(raw.Label(f"class {k}", (k, 0, 255 - k)) for k in range(255))
    mask = np.resize(np.arange(255, dtype=np.uint8), (40, 60))
    legend = overlay.picture(image(40, 60), mask, labels)[40:]

    assert {label.rgb for label in labels} <= {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}


def test_threads_that_draw_at_once_draw_what_one_alone_draws():
    """Images of two sizes, each twice: legends are cached for the next image of the same size."""
    works = [(image(side, side + 20), np.resize(np.arange(3, dtype=np.uint8), (side, side + 20))) for side in (9, 1000)]
    works += [(pixels, np.minimum(mask, 1)) for pixels, mask in works]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda work: overlay.picture(*work, CLASSES), works * 3))

    for drawn, work in zip(together, works * 3, strict=True):
        assert (overlay.picture(*work, CLASSES) == drawn).all()
