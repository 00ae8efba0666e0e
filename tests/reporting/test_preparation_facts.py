"""Each thing that was done to the files has its line, and nothing else has one."""

from dataclasses import replace

import pytest

from segline.dataset.preparation import Intensity
from segline.reporting import preparation_facts
from tests import tiny

PLAIN = tiny.stretched(96, 128)
BASE = {
    "input": "128 x 96 pixels (width x height), RGB",
    "fit": "images are resized to that size, without keeping their aspect ratio",
}


def test_8_bit_images_that_are_resized_need_two_lines():
    assert BASE == preparation_facts.facts(PLAIN)


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"fit": "pad"}, {"fit": preparation_facts.FIT["pad"]}),
        ({"fit": "tile"}, {"fit": preparation_facts.FIT["tile"], "overlap": "32 pixels or more"}),
        (
            {"fit": "tile", "width": 256, "overlap": 0.9},
            {
                "input": "256 x 96 pixels (width x height), RGB",
                "fit": preparation_facts.FIT["tile"],
                "overlap": "64 pixels down and 224 across, or more",
            },
        ),
        ({"fit": "tile", "overlap": 0.0}, {"fit": preparation_facts.FIT["tile"]}),
        (
            {"fit": "tile", "overlap": 0.0, "scale": 0.5},
            {"fit": preparation_facts.FIT["tile"], "scale": "50 % of the images' own size"},
        ),
        (
            {"fit": "tile", "overlap": 0.0, "scale": 0.7},
            {"fit": preparation_facts.FIT["tile"], "scale": "69.57 % of the images' own size"},
        ),
        ({"scale": 0.5, "overlap": 0.5}, {}),
        ({"bands": "gray"}, {"input": "128 x 96 pixels (width x height), grey"}),
        ({"bands": (7,)}, {"input": "128 x 96 pixels (width x height), 1 band", "bands": "7 of the file"}),
        (
            {"bands": tuple(range(1, 10))},
            {
                "input": "128 x 96 pixels (width x height), 9 bands",
                "bands": "1, 2, 3, 4, 5, 6, 7, 8, ... of the file (9 bands)",
            },
        ),
        (
            {"intensity": Intensity("window", (0.0,) * 3, (4095.0,) * 3)},
            {"intensity": "samples from 0 to 4095 become 0 to 255"},
        ),
        (
            {"intensity": Intensity("percentile", (103.0, 0.5, 98.0), (2890.0, 1.0, 65535.0))},
            {
                "intensity": "samples from 103 to 2890, 0.5 to 1, 98 to 65535 become 0 to 255, band by band, "
                "percentiles of the train split"
            },
        ),
        ({"orientation": "upright"}, {"orientation": "images are turned upright as their Exif tag says"}),
        ({"orientation": "stored"}, {"orientation": "images stay as they are stored, whatever their Exif tag says"}),
        ({"alpha": "drop"}, {"transparency": "the alpha channel is dropped"}),
        ({"alpha": "white"}, {"transparency": "transparent pixels are laid over white"}),
    ],
)
def test_what_is_done_to_files_has_its_line(changes, added):
    assert BASE | added == preparation_facts.facts(replace(PLAIN, **changes))


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ("rgb", None),
        ("gray", None),
        ((5,), "band 5 as gray"),
        ((5, 6), "band 5 as gray"),
        ((4, 1, 2), "bands 4, 1, 2 as red, green, blue"),
        ((4, 1, 2, 3), "bands 4, 1, 2 as red, green, blue"),
    ],
)
def test_it_says_which_bands_are_shown_where_that_is_a_choice(bands, expected):
    assert expected == preparation_facts.shown(replace(PLAIN, bands=bands))
