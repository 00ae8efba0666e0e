"""Sheets of pictures: panels, captions, the legend."""

from dataclasses import replace

import numpy as np
import pytest

from segline.dataset import processed, raw
from segline.dataset.origins import Origin
from segline.reporting import contact_sheets, drawing, results, selection
from tests import tiny
from tests.reporting.test_charts import panels, pixels

LEGEND = [("sky", (10, 20, 30)), ("wrong pixel", drawing.WRONG)]


@pytest.mark.parametrize(("width", "height"), [(256, 192), (1, 1), (30, 400)])
def test_the_sheet_shows_every_panel_pixel_for_pixel(tmp_path, width, height):
    rows = [("first", panels(width, height)), ("second", panels(width, height))]
    contact_sheets.sheet(tmp_path / "sheet.png", rows, LEGEND)

    sheet = pixels(tmp_path / "sheet.png")
    total = max(4 * width + 5 * contact_sheets.GAP, 4 * 160)
    for place, (_, four) in enumerate(rows):
        top = 2 * contact_sheets.LINE + place * (contact_sheets.LINE + height + contact_sheets.GAP)
        for column, panel in enumerate(four):
            left = contact_sheets.GAP + column * (total - contact_sheets.GAP) // 4
            assert (panel == sheet[top : top + height, left : left + width]).all()


def test_pictures_of_different_sizes_stand_on_one_sheet_each_in_its_own_aspect_ratio(tmp_path):
    rows = [("wide", panels(256, 20)), ("tall", panels(13, 200)), ("small", panels(30, 40))]
    contact_sheets.sheet(tmp_path / "sheet.png", rows, LEGEND)

    sheet = pixels(tmp_path / "sheet.png")
    total, top = 4 * 256 + 5 * contact_sheets.GAP, 2 * contact_sheets.LINE
    assert total == sheet.shape[1]
    for _, four in rows:
        height, width, _ = four.image.shape
        for column, panel in enumerate(four):
            left = contact_sheets.GAP + column * (total - contact_sheets.GAP) // 4
            assert (panel == sheet[top : top + height, left : left + width]).all()
        top += height + contact_sheets.GAP + contact_sheets.LINE


def test_a_note_stands_on_a_line_of_its_own_below_the_legend(tmp_path):
    for name, note in (("plain", None), ("noted", "shown: bands 4, 1, 2 as red, green, blue")):
        contact_sheets.sheet(tmp_path / f"{name}.png", [("one", panels())], LEGEND, note)
    plain, noted = pixels(tmp_path / "plain.png"), pixels(tmp_path / "noted.png")

    assert len(plain) + contact_sheets.LINE == len(noted)
    assert (noted[-contact_sheets.LINE :] < 128).any()
    for _, colour in LEGEND:
        swatches = [np.argwhere((sheet == colour).all(axis=2)).max(axis=0) for sheet in (plain, noted)]
        assert (swatches[0] == swatches[1]).all()


@pytest.mark.parametrize(("width", "height"), [(160, 120), (1, 1), (30, 160)])
@pytest.mark.parametrize("count", [1, 6, 12])
def test_augmented_samples_are_shown_pixel_for_pixel_each_over_its_mask(tmp_path, width, height, count):
    pairs = [tuple(np.random.default_rng(n).integers(0, 256, (2, height, width, 3), np.uint8)) for n in range(count)]
    contact_sheets.augmented(tmp_path / "augmented.png", pairs, LEGEND)

    shown = pixels(tmp_path / "augmented.png")
    for place, pair in enumerate(pairs):
        top = contact_sheets.LINE + place // contact_sheets.ACROSS * (2 * height + 2 * contact_sheets.GAP)
        left = contact_sheets.GAP + place % contact_sheets.ACROSS * (width + contact_sheets.GAP)
        assert (np.concatenate(pair) == shown[top : top + 2 * height, left : left + width]).all()


def test_the_legend_of_the_sheet_shows_the_colours(tmp_path):
    contact_sheets.sheet(tmp_path / "sheet.png", [("one", panels())], LEGEND)

    sheet = pixels(tmp_path / "sheet.png")
    for name, colour in LEGEND:
        assert (sheet == colour).all(axis=2).sum() >= 100, name


@pytest.mark.parametrize("count", [2, 255])
def test_a_legend_of_any_number_of_classes_makes_no_sheet_wider(tmp_path, count):
    contact_sheets.sheet(tmp_path / "sheet.png", [("one", panels())], [(f"class {k}", (1, 2, 3)) for k in range(count)])

    assert pixels(tmp_path / "sheet.png").shape[1] < 800


def test_void_is_in_the_legend_where_it_is_no_class():
    sky, void = raw.Label("sky", (10, 20, 30)), raw.Void(255, (0, 0, 0))
    index = processed.Index(
        "toy", "test", (sky,), void, False, "index", ((0, 0), (255, None)), tiny.stretched(1, 1), origins=()
    )

    assert [("sky", sky.rgb), ("void, not scored", void.rgb)] == contact_sheets.legend(index)
    assert [("sky", sky.rgb)] == contact_sheets.legend(replace(index, void_is_class=True))


def test_pixels_without_data_and_borders_are_in_the_legend_where_there_is_no_void():
    sky, nothing = ("sky", (10, 20, 30)), drawing.UNNAMED_VOID
    padded = replace(tiny.stretched(1, 1), fit="pad")
    index = processed.Index("toy", "test", (raw.Label(*sky),), None, False, "index", (), padded, origins=())
    hole = Origin("a", None, 1, 1, "i", "m", "0", "0", no_data=True)

    assert [sky] == contact_sheets.legend(index)
    assert [sky, ("border, not scored", nothing)] == contact_sheets.legend(index, padded=True)
    assert [sky] == contact_sheets.legend(replace(index, preparation=tiny.stretched(1, 1)), padded=True)
    assert [sky, ("no data, not scored", nothing)] == contact_sheets.legend(replace(index, origins=(hole,)))


def test_a_caption_says_why_a_picture_is_shown_and_how_well_it_did():
    score = results.ImageScore.model_validate({"image": "street", "group": "", "accuracy": "0.5", "miou": "0.25"})
    caption = contact_sheets.caption(selection.Pick("worst", rank=1, image=0), [score])

    assert "worst, rank 1 of 1: street, mIoU 25.0 %, accuracy 50.0 %" == caption.replace("\N{NO-BREAK SPACE}", " ")
