"""The page is self-contained, escaped, exact and the same every time. In a browser: test_report_browser."""

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from segline.dataset import onehot, processed
from segline.reporting import report, results, selection
from tests import evaluated, tiny

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


def material(world, parameters=None):
    split = processed.read(world.inputs["processed"])
    predictions = results.read_predictions(world.inputs["predictions"] / "test.npy", split)
    return report.Material(split, predictions, world.results(split.index), parameters or {"model": {"name": "unet"}})


def render(world, parameters=None, count=2):
    content = material(world, parameters)
    picks = selection.picks(content.results.images, count)
    return report.render(content, [(pick, content.views(pick.image)) for pick in picks], {"Loss": b"png"}, b"png")


def viewer(page):
    return json.loads(re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_same_results_give_the_same_page(tmp_path):
    pages = [render(evaluated.build(tmp_path / name)) for name in ("one", "two")]

    assert pages[0] == pages[1]


def test_nothing_in_the_page_points_outside_it(tmp_path):
    page = render(evaluated.build(tmp_path / "run"))

    addresses = re.findall(r'(?:src|href|action|srcset|poster)\s*=\s*"([^"]*)"', page)
    assert [] == [address for address in addresses if not address.startswith(("data:", "#"))]
    assert [] == re.findall(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", page)


def test_names_are_escaped_wherever_they_stand(tmp_path):
    world = evaluated.build(tmp_path / "run", classes=[HOSTILE, "other"])

    page = render(world, parameters={"model": {"name": HOSTILE}, HOSTILE: HOSTILE})

    assert 2 == page.count("<script"), "the data and the code"
    assert "<img src=x" not in page
    assert HOSTILE == viewer(page)["classes"][0]["name"]


def test_only_the_script_of_this_project_may_run(tmp_path):
    page = render(evaluated.build(tmp_path / "run"))

    code = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    allowed = re.search(r"script-src '([^']*)'", page)[1]
    assert f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}" == allowed


def test_the_viewer_holds_truth_and_prediction_exactly(tmp_path):
    world = evaluated.build(tmp_path / "run", void_rows=[4])
    split = processed.read(world.inputs["processed"])
    truth = onehot.unpack(split.onehot, 3)
    predictions = np.load(world.inputs["predictions"] / "test.npy")

    items = viewer(render(world))["images"]

    order = selection.order(material(world).results.images)
    assert 7 == len(items)
    for item in items:
        row = order[item["rank"] - 1]
        labels = np.frombuffer(zlib.decompress(base64.b64decode(item["whole"]["labels"])), np.uint8).reshape(2, 12, 16)
        assert (labels == [truth[row], predictions[row]]).all()


def test_images_are_listed_from_the_best_to_the_worst_with_their_kind(tmp_path):
    items = viewer(render(evaluated.build(tmp_path / "run")))["images"]

    assert [(f"{row:02d} frame", row + 1) for row in range(7)] == [(item["name"], item["rank"]) for item in items]
    assert ["best", "best", "median", "median", "", "worst", "worst"] == [item["kind"] for item in items]
    assert "100.0\N{NO-BREAK SPACE}%" == items[0]["miou"]


def test_a_large_split_is_sampled_from_the_best_to_the_worst(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "VIEWER_BYTES", 20_000)
    world = evaluated.build(tmp_path / "run", images=90)

    content = viewer(render(world))

    ranks = [item["rank"] for item in content["images"]]
    assert 6 < len(ranks) < 40
    assert (1, 90, 90) == (ranks[0], ranks[-1], content["total"])
    assert max(np.diff(ranks)) <= 90 / 6


def test_scores_that_say_little_are_doubted_at_the_top(tmp_path):
    world = evaluated.build(tmp_path / "run", classes=["a<b", "c"], absent=[1])
    page = render(world)

    assert "Every scored pixel of test is predicted as <b>a&lt;b</b>" in page
    assert "Without a pixel in the masks of test, so without scores and not part of any mean: <b>c</b>." in page
    assert 'role="note"' not in render(evaluated.build(tmp_path / "other"))


@pytest.mark.slow
def test_the_page_of_a_large_split_stays_under_five_megabytes(tmp_path):
    """With images of about 110 kB each as JPEG, twice what street scenes of this size take."""
    world = evaluated.build(tmp_path / "run", images=60, size=(360, 480))
    path = world.inputs["processed"] / tiny.IMAGES
    noise = np.load(path)
    np.save(path, np.stack([cv2.GaussianBlur(image, (0, 0), 1) for image in noise]))
    tiny.seal_again(path.parent)

    page = render(world, count=3)

    assert 1_000_000 < len(page) < 5_000_000


def test_a_photograph_in_the_page_is_the_image(tmp_path):
    world = evaluated.build(tmp_path / "run", channels=1, images=1)
    image = np.repeat(np.linspace(0, 255, 16, dtype=np.uint8)[None, None, :, None], 12, axis=1)
    np.save(world.inputs["processed"] / tiny.IMAGES, image)
    tiny.seal_again(world.inputs["processed"])

    content = base64.b64decode(viewer(render(world))["images"][0]["whole"]["photo"].split(",")[1])

    photo = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(photo.astype(int) - image[0]).max() < 16


TILES = {"fit": "tile", "size": (256, 320), "own": [(300, 1300), (700, 500), (60, 90)], "bands": (4, 1, 2, 3)}


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    return evaluated.build(tmp_path_factory.mktemp("tiled") / "run", **TILES)


def test_images_that_were_cut_are_shown_whole_and_in_a_closeup(tiled):
    items = viewer(page := render(tiled))["images"]

    wholes = {item["name"]: tuple(item["whole"][key] for key in ("height", "width", "step")) for item in items}
    assert {"00 frame": (100, 434, 3), "01 frame": (350, 250, 2), "02 frame": (60, 90, 1)} == wholes
    closeups = {item["name"]: item["closeup"] for item in items}
    assert closeups.pop("02 frame") is None
    assert {(256, 256)} == {(view["height"], view["width"]) for view in closeups.values()}
    assert ["02 frame"] == [item["name"] for item in items if item["outline"] is None]
    assert 3 * 4 + 2 * 4 + 2 == len(re.findall(r"<img [^>]*>", page))
    assert 2 == page.count("Close-up of the outlined part: x ")


def test_the_page_says_how_images_became_rows(tiled):
    page = render(tiled)

    assert "<b>3</b> images" in page
    assert "<b>21</b> tiles of <b>320&nbsp;&times;&nbsp;256</b>" in page
    assert "<dt>fit</dt><dd>images are cut into tiles of that size</dd>" in page
    assert "<dt>overlap</dt><dd>64 pixels down and 96 across, or more</dd>" in page
    assert "multiply-adds per tile" in page
    assert 2 == page.count("Shown: bands 4, 1, 2 as red, green, blue.")
    assert "Seam disagreement 12.5\N{NO-BREAK SPACE}%: the share of the pixels in overlaps" in page


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_page_without_tiles_does_not_speak_of_them(tmp_path, fit):
    page = render(evaluated.build(tmp_path / "run", fit=fit, own=[(10, 20), (300, 20)]))

    text = re.sub(r"<style>.*?</style>|<script.*?</script>", "", page, flags=re.DOTALL)
    assert [] == re.findall(r"(?i)tile|close-up|seam", text)
    assert ("working size up to <b>16" in page) is (fit == "pad")


def test_pixels_without_data_are_in_the_legend(tmp_path):
    world = evaluated.build(tmp_path / "run")
    content = material(world)
    index = content.split.index
    holed = tuple(replace(origin, no_data=True) for origin in index.origins)
    index = replace(index, void=None, origins=holed)
    content = replace(content, split=replace(content.split, index=index))
    picks = selection.picks(content.results.images, 2)

    page = report.render(content, [(pick, content.views(pick.image)) for pick in picks], {}, b"png")

    assert '<i style="background:rgb(0, 0, 0)"></i>no data, not scored' in page
    assert "no-data pixels keep their own colour and are not scored" in page


def test_padding_is_not_shown(tmp_path):
    world = evaluated.build(tmp_path / "run", fit="pad", size=(40, 40), own=[(100, 50), (10, 200)])

    wholes = [(item["whole"]["height"], item["whole"]["width"]) for item in viewer(render(world))["images"]]

    assert [(40, 20), (2, 40)] == wholes


def test_undefined_scores_are_said_to_be_undefined(tmp_path):
    world = evaluated.build(tmp_path / "run", absent=[2], void_rows=[3])

    page = render(world)

    assert "undefined" in re.search(r"</i>class 2</th>\s*<td>(.*?)</td>", page)[1]
    assert "undefined" == viewer(page)["images"][-1]["miou"]


@pytest.mark.parametrize(
    "shape",
    [
        {"images": 1},
        {"images": 2},
        {"images": 1, "void_rows": [0]},
        {"classes": 2},
        {"classes": 20},
        {"epochs": 1},
        {"channels": 1},
        {"size": (1, 1)},
        {"size": (2, 900)},
        {"channels": 2},
        {"channels": 5},
        {"fit": "pad", "own": [(1, 3000), (3000, 1), (5, 5)]},
        {"fit": "tile", "size": (32, 32), "own": [(1, 3000)]},
        {"fit": "tile", "size": (32, 32), "own": [(3000, 1), (1, 1)], "overlap": 0.75},
        {"fit": "tile", "size": (32, 32), "own": [(50, 50)], "void_rows": [0]},
        {"absent": [0, 1]},
    ],
)
def test_the_smallest_and_the_oddest_splits_have_a_page(tmp_path, shape):
    page = render(evaluated.build(tmp_path / "run", **shape))

    assert page.rstrip().endswith("</html>")


def test_every_picture_has_a_text_for_those_who_do_not_see_it(tmp_path):
    page = render(evaluated.build(tmp_path / "run"))

    assert 6 * 4 + 2 == len(re.findall(r"<img [^>]*>", page))
    assert [] == [image for image in re.findall(r"<img [^>]*>", page) if not re.search(r'alt="[^"]+"', image)]


def test_the_page_says_at_which_size_scores_and_pictures_are(tmp_path):
    page = render(evaluated.build(tmp_path / "run"))

    assert 2 == page.count("at the original mask size</p>"), "in both headline cards"
    assert "shown at the working size, 16&nbsp;&times;&nbsp;12." in page


@pytest.mark.parametrize(("images", "expected"), [(9, 2), (10, 0)])
def test_an_interval_of_few_images_is_not_to_be_trusted(tmp_path, images, expected):
    page = render(evaluated.build(tmp_path / "run", images=images))

    assert expected == page.count(", from too few images to be trusted")


def test_the_protocol_is_told_in_words(tmp_path):
    page = render(evaluated.build(tmp_path / "run"))

    assert "<dt>fingerprint of the images, masks and classes</dt>" in page
    assert "<dt>data</dt>" not in page
    assert "<dt>schema</dt>" not in page
