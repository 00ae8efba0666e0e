"""Sheets of pictures: panels, captions, the legend."""

from dataclasses import replace

import numpy as np
import pytest

from segline import arrays, dataset, drawing, ranking, results, sheets
from tests.test_charts import panels, pixels

LEGEND = [("sky", (10, 20, 30)), ("wrong pixel", drawing.WRONG)]


@pytest.mark.parametrize(("width", "height"), [(256, 192), (1, 1), (30, 400)])
def test_the_sheet_shows_every_panel_pixel_for_pixel(tmp_path, width, height):
    rows = [("first", panels(width, height)), ("second", panels(width, height))]
    sheets.sheet(tmp_path / "sheet.png", rows, LEGEND)

    sheet = pixels(tmp_path / "sheet.png")
    total = max(4 * width + 5 * sheets.GAP, 4 * 160)
    for place, (_, four) in enumerate(rows):
        top = 2 * sheets.LINE + place * (sheets.LINE + height + sheets.GAP)
        for column, panel in enumerate(four):
            left = sheets.GAP + column * (total - sheets.GAP) // 4
            assert (panel == sheet[top : top + height, left : left + width]).all()


@pytest.mark.parametrize(("width", "height"), [(160, 120), (1, 1), (30, 160)])
@pytest.mark.parametrize("count", [1, 6, 12])
def test_augmented_samples_are_shown_pixel_for_pixel_each_over_its_mask(tmp_path, width, height, count):
    pairs = [tuple(np.random.default_rng(n).integers(0, 256, (2, height, width, 3), np.uint8)) for n in range(count)]
    sheets.augmented(tmp_path / "augmented.png", pairs, LEGEND)

    shown = pixels(tmp_path / "augmented.png")
    for place, pair in enumerate(pairs):
        top = sheets.LINE + place // sheets.TILES * (2 * height + 2 * sheets.GAP)
        left = sheets.GAP + place % sheets.TILES * (width + sheets.GAP)
        assert (np.concatenate(pair) == shown[top : top + 2 * height, left : left + width]).all()


def test_the_legend_of_the_sheet_shows_the_colours(tmp_path):
    sheets.sheet(tmp_path / "sheet.png", [("one", panels())], LEGEND)

    sheet = pixels(tmp_path / "sheet.png")
    for name, colour in LEGEND:
        assert (sheet == colour).all(axis=2).sum() >= 100, name


@pytest.mark.parametrize("count", [2, 255])
def test_a_legend_of_any_number_of_classes_makes_no_sheet_wider(tmp_path, count):
    sheets.sheet(tmp_path / "sheet.png", [("one", panels())], [(f"class {k}", (1, 2, 3)) for k in range(count)])

    assert pixels(tmp_path / "sheet.png").shape[1] < 800


def test_void_is_in_the_legend_where_it_is_no_class():
    sky, void = dataset.Label("sky", (10, 20, 30)), dataset.Void(255, (0, 0, 0))
    index = arrays.Index("toy", "test", (sky,), void, False, "index", ((0, 0), (255, None)), ())

    assert [("sky", sky.rgb), ("void, not scored", void.rgb)] == sheets.legend(index)
    assert [("sky", sky.rgb)] == sheets.legend(replace(index, void_is_class=True))


def test_a_caption_says_why_a_picture_is_shown_and_how_well_it_did():
    score = results.ImageScore.model_validate({"image": "street", "group": "", "accuracy": "0.5", "miou": "0.25"})
    caption = sheets.caption(ranking.Pick("worst", rank=1, row=0), [score])

    assert "worst, rank 1 of 1: street, mIoU 25.0 %, accuracy 50.0 %" == caption.replace("\N{NO-BREAK SPACE}", " ")
