"""The report in a real browser, judged by what it shows.

    apt-get install chromium chromium-driver

Without them these tests are skipped, but they fail where CI is set.
"""

import itertools
import json
import os
import re

import numpy as np
import pytest

from segline.core import records
from segline.dataset import processed
from segline.reporting import drawing, whole_images
from stages import plot
from tests import evaluated
from tests.browser import DESK, PHONE, missing, running

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
NAMES = [HOSTILE, "road", "car"]
COUNTS = np.array([[9000, 950, 50], [0, 600, 1400], [40, 60, 1300]])  # rows actual, columns predicted


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if reason := missing():
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with running(tmp_path_factory.mktemp("profile")) as session:
        yield session


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Nine images of 60 x 80 of three classes, the first of which has a hostile name."""
    world = evaluated.build(tmp_path_factory.mktemp("world") / "run", classes=NAMES, images=9, size=(60, 80))
    draw(world)
    return world


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Images whose classes each have different scores: those of `COUNTS`."""
    world = evaluated.build(tmp_path_factory.mktemp("uneven") / "run", classes=NAMES)
    hits, actual, predicted = COUNTS.diagonal(), COUNTS.sum(axis=1), COUNTS.sum(axis=0)
    rates = (hits / (actual + predicted - hits), hits / actual, 2 * hits / (actual + predicted))
    rows = zip(NAMES, *(rate.tolist() for rate in rates), actual.tolist(), strict=True)
    records.write_csv(world.inputs["per_class"], ["class", "iou", "accuracy", "dice", "pixels"], rows)
    pairs = zip(itertools.product(NAMES, repeat=2), COUNTS.flat, strict=True)
    cells = [{"actual": one, "predicted": other, "count": int(count)} for (one, other), count in pairs]
    records.write_json(world.inputs["confusion"], cells)
    draw(world)
    return world


def draw(world):
    """Makes the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.folder)
        patch.setenv("SEGLINE_TRACKING", "off")
        plot.main(world.arguments)


@pytest.fixture
def page(browser, world):
    browser.open(world.report)
    return browser


def cells(page, table):
    """What is seen in the body of a table, row by row."""
    rows = page.run(
        f"""[...document.querySelectorAll("{table} tbody tr")].map(row => [...row.cells].map(
        cell => cell.checkVisibility() ? cell.innerText.trim() : "hidden"))"""
    )
    return [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in rows]


def share(whole, part, end):
    """JavaScript: the position of one end of a part within the whole, from 0 (left) to 1 (right)."""
    boxes = (f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()" for selector in (part, whole))
    return f"((part, whole) => (part.{end} - whole.left) / whole.width)({', '.join(boxes)})"


def test_the_headline_is_there(page, world):
    scores = json.loads(world.inputs["eval"].read_text(encoding="utf-8"))

    assert f"{100 * scores['miou']:.1f} %" == page.text("#headline-miou")
    assert f"{100 * scores['accuracy']:.1f} %" == page.text("#headline-accuracy")
    assert "25.0 % to 50.0 %" in page.text(".headline")
    assert "toy, test: mIoU" in page.run("document.title")


@pytest.mark.parametrize(("score", "name"), [("miou", "mIoU"), ("accuracy", "Pixel accuracy")])
def test_an_interval_stands_in_the_card_of_its_score(page, world, score, name):
    """Once in words and once as a bar, on which the score is a mark."""
    scores = json.loads(world.inputs["eval"].read_text(encoding="utf-8"))
    low, high = (scores["interval"][score][end] for end in ("low", "high"))
    card = f".card:has(#headline-{score})"

    assert name == page.text(f"{card} h2")
    assert f"95 % interval {100 * low:.1f} % to {100 * high:.1f} %" in page.text(card)
    assert 1 == page.text(card).count("interval")
    left, right = (page.run(share(f"{card} .range", f"{card} .range i", end)) for end in ("left", "right"))
    assert pytest.approx((low, high), abs=0.01) == (left, right)
    middle = sum(page.run(share(f"{card} .range", f"{card} .range b", end)) for end in ("left", "right")) / 2
    assert pytest.approx(scores[score], abs=0.01) == middle


def test_every_picture_is_shown(page):
    """Four panels of best, median and worst, two of each, as broad as the images are; and three charts."""
    sizes = page.run("[...document.images].map(e => [e.naturalWidth, e.naturalHeight])")
    panels = page.run("[...document.querySelectorAll('#gallery img')].map(e => e.naturalWidth / e.naturalHeight)")

    assert 3 * 2 * 4 + 3 == len(sizes)
    assert min(min(size) for size in sizes) > 0
    assert [80 / 60] * 24 == panels
    assert [] == page.run("[...document.images].filter(e => !e.checkVisibility() || e.width < 16).map(e => e.alt)")


def test_the_parameters_are_those_in_use(page):
    """As in params.yaml of this world, without the source and the network that are not chosen."""
    shown = page.run(
        "[...document.querySelectorAll('#parameters dl > div')].map(row => [...row.children].map(e => e.innerText))"
    )

    expected = {
        "data.source": "synthetic",
        "data.synthetic.seed": "1",
        "model.name": "unet",
        "model.unet.width": "16",
        "train.epochs": "3",
        "train.keep": "best",
        "plot.images": "2",
    }
    assert expected == dict(shown)
    assert len(expected) == len(shown)


def test_a_class_has_the_scores_of_its_row(browser, uneven):
    browser.open(uneven.report)

    expected = []
    for row in records.read_csv(uneven.inputs["per_class"]):
        iou, *others = (f"{100 * float(row[rate]):.1f} %" for rate in ("iou", "accuracy", "dice"))
        expected.append([row["class"], iou, "", *others, f"{int(row['pixels']):,}"])
    assert expected == cells(browser, "#classes")
    assert ["89.6 %", "19.9 %", "45.6 %"] == [iou for _, iou, *_ in expected]


def test_the_bar_of_a_class_is_as_long_as_its_iou(browser, uneven):
    """From the left end; a line marks the mean."""
    browser.open(uneven.report)
    mean = json.loads(uneven.inputs["eval"].read_text(encoding="utf-8"))["miou"]

    for place, row in enumerate(records.read_csv(uneven.inputs["per_class"]), 1):
        bar = f"#classes tbody tr:nth-child({place}) .bar"
        ends = [browser.run(share(bar, f"{bar} i", end)) for end in ("left", "right")]
        assert pytest.approx([0, float(row["iou"])], abs=0.01) == ends
        assert pytest.approx(mean, abs=0.02) == browser.run(share(bar, f"{bar} b", "left"))


def test_a_cell_of_the_confusion_is_its_share_of_the_row(browser, uneven):
    """In percent, with a decimal below ten; its title gives the number of pixels."""
    browser.open(uneven.report)

    expected = [["90", "9.5", "0.5"], ["0", "30", "70"], ["2.9", "4.3", "93"]]
    assert [[name, *row] for name, row in zip(NAMES, expected, strict=True)] == cells(browser, "#confusion")
    titles = browser.run("[...document.querySelectorAll('#confusion tbody td')].map(cell => cell.title)")
    counts = [(c["actual"], c["predicted"], c["count"]) for c in records.read_json(uneven.inputs["confusion"])]
    assert [f"{actual} as {predicted}: {count:,} pixels" for actual, predicted, count in counts] == titles


def test_a_hostile_name_is_text_and_nothing_else(page):
    assert "hacked" not in page.run("document.title")
    assert HOSTILE == page.text("#legend button")
    assert 0 == page.run("document.querySelectorAll('img[src=x]').length")


def test_even_an_injected_script_would_not_run(page):
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    )

    assert "toy" in page.run("document.title")
    page.log("browser")  # the refusal is not a fault of the page


def test_the_console_is_silent_and_nothing_is_requested(browser, world):
    browser.log("browser"), browser.log("performance")
    browser.open(world.report)
    for name, value in (("opacity", 30), ("blend", 40), ("zoom", 3)):
        browser.slide(name, value)

    assert [] == browser.log("browser")
    messages = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    addresses = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert world.report.absolute().as_uri() in addresses
    assert [] == [address for address in addresses if not address.startswith(("file:", "data:"))]
    assert [] == [message for message in messages if message["method"] == "Network.loadingFailed"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_the_page_does_not_scroll_sideways(browser, world, size, scheme):
    browser.open(world.report, size, scheme)

    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert size[0] == browser.run("window.innerWidth")


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_every_control_is_in_the_window_and_has_a_name(browser, world, size):
    browser.open(world.report, size)

    outside = """[...document.querySelectorAll('button, input, select')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.left < 0 || box.right > innerWidth || box.width < 16 }).length"""
    nameless = """[...document.querySelectorAll('button, input, select')].filter(
        e => !(e.innerText || e.ariaLabel || e.labels?.[0]?.innerText)).length"""
    assert (0, 0) == (browser.run(outside), browser.run(nameless))


def test_light_and_dark_follow_the_system(browser, world):
    brightness = []
    for scheme in ("light", "dark"):
        browser.open(world.report, DESK, scheme)
        brightness.append(browser.screenshot().mean())

    assert brightness[0] > 200
    assert brightness[1] < 80


def test_the_viewer_shows_exact_truth_and_prediction(page, world):
    truth, prediction = shown(world, page)

    page.click("[data-opacity='100'][data-blend='0']")
    assert (truth == page.canvas()).all()
    page.click("[data-opacity='100'][data-blend='100']")
    assert (prediction == page.canvas()).all()
    assert (truth != prediction).any()


def shown(world, page):
    """Truth and prediction of the image that is shown, in colours."""
    row = int(re.match(r"(\d+) frame", page.text("#caption"))[1])
    predictions = np.load(world.inputs["predictions"] / "test.npy")[row]
    truth = np.load(world.inputs["predictions"] / "test.npy")[0].copy()  # row 0 is predicted without a mistake
    colours = np.zeros((256, 3), np.uint8)
    colours[:3] = [(20 + 10 * k, 255 - 10 * k, 90) for k in range(3)]
    colours[evaluated.VOID.value] = evaluated.VOID.rgb
    truth[-1] = evaluated.VOID.value
    return colours[truth], colours[predictions]


def test_the_blend_goes_from_the_image_over_the_truth_to_the_prediction(page):
    pictures = []
    for opacity, blend in ((0, 0), (50, 0), (100, 0), (100, 50), (100, 100)):
        page.slide("opacity", opacity)
        page.slide("blend", blend)
        pictures.append(page.canvas().astype(int))

    image, half_truth, truth, half_prediction, prediction = pictures
    assert np.abs(half_truth - (image + truth) / 2).max() <= 2
    assert np.abs(half_prediction - (truth + prediction) / 2).max() <= 2
    assert np.abs(image - truth).mean() > 20


def test_what_the_window_shows_changes_with_the_blend(page):
    page.run("document.getElementById('frame').scrollIntoView({behavior: 'instant'})")
    before = page.screenshot()
    page.slide("opacity", 100)

    assert (before != page.screenshot()).any(axis=2).mean() > 0.1


def test_errors_are_marked_where_truth_and_prediction_differ_and_not_on_void(page, world):
    page.click("[data-opacity='100'][data-blend='0']")
    page.click("#errors")
    truth, prediction = shown(world, page)

    marked = (page.canvas() == (220, 20, 60)).all(axis=2)
    wrong = (truth != prediction).any(axis=2)
    wrong[-1] = False
    assert (wrong == marked).all()


def test_a_class_can_be_shown_alone(page):
    page.slide("opacity", 0)
    image = page.canvas()
    page.click("[data-opacity='100'][data-blend='100']")
    everything = page.canvas()
    page.click("#legend [data-class='1']")
    alone = page.canvas()

    covered = (alone != image).any(axis=2)
    assert 0 < covered.mean() < 0.9
    assert (alone[covered] == everything[covered]).all()
    page.click("#legend [data-class='1']")
    assert (everything == page.canvas()).all()


def test_zoom_magnifies_around_the_middle_and_keeps_pixels_sharp(page):
    page.slide("zoom", 4)

    frame = "document.getElementById('frame')"
    assert 4 == page.run(f"document.getElementById('canvas').clientWidth / {frame}.clientWidth")
    assert "pixelated" == page.run("getComputedStyle(document.getElementById('canvas')).imageRendering")
    middle = page.run(f"({frame}.scrollLeft + {frame}.clientWidth / 2) / {frame}.scrollWidth")
    assert pytest.approx(0.5, abs=0.02) == middle


def test_another_image_can_be_chosen_by_list_button_and_arrow(page):
    captions, pictures = [], []
    for act in (
        lambda: page.click("[data-kind='best']"),
        lambda: page.click("#next"),
        lambda: page.click("[data-kind='worst']"),
        lambda: page.run(
            "(s => { s.value = '4'; s.dispatchEvent(new Event('change')) })(document.getElementById('image'))"
        ),
    ):
        before = page.text("#caption")
        act()
        page.wait(f"document.getElementById('caption').innerText.replace(/\\u00a0/g, ' ') !== {json.dumps(before)}")
        captions.append(page.text("#caption"))
        pictures.append(page.canvas().tobytes())

    assert [1, 2, 9, 5] == [int(re.search(r"rank (\d+) of 9", caption)[1]) for caption in captions]
    assert 4 == len(set(pictures))


def test_the_first_has_no_previous_and_the_last_no_next(page):
    page.click("[data-kind='best']")
    page.wait("document.getElementById('previous').disabled")
    page.click("[data-kind='worst']")
    page.wait("document.getElementById('next').disabled")

    assert not page.run("document.getElementById('previous').disabled")


def test_the_keyboard_is_enough(page):
    first = page.text("#caption")
    page.keys("#frame", "n")
    page.wait(f"document.getElementById('caption').innerText.replace(/\\u00a0/g, ' ') !== {json.dumps(first)}")
    page.keys("#frame", "2e+")

    values = ["opacity", "blend", "zoom"]
    assert ["100", "0", "2"] == [page.run(f"document.getElementById('{name}').value") for name in values]
    assert page.run("document.getElementById('errors').checked")
    page.keys("#opacity", "\ue012")  # the left arrow on a focused slider
    assert "99" == page.run("document.getElementById('opacity').value")


def test_a_pixel_can_be_read(page):
    page.run("document.getElementById('frame').scrollIntoView({behavior: 'instant'})")
    page.run(
        """(c => { const b = c.getBoundingClientRect(); c.dispatchEvent(new PointerEvent('pointermove',
        {clientX: b.left + b.width * 1.5 / 80, clientY: b.bottom - 1})) })(document.getElementById('canvas'))"""
    )

    assert page.text("#readout").startswith("x 1, y 59: truth void, prediction ")
    assert page.text("#readout").endswith("(not scored)")


def test_the_gallery_opens_an_image_in_the_viewer(page):
    page.click("#gallery figure:last-of-type button")

    page.wait("document.getElementById('caption').innerText.includes('rank 9 of 9')")


@pytest.mark.parametrize(
    "shape", [{"images": 1, "classes": 2}, {"classes": 20, "epochs": 1}, {"images": 1, "void_rows": [0]}]
)
def test_the_smallest_and_the_widest_results_fit_a_phone(browser, tmp_path, monkeypatch, shape):
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    world = evaluated.build(tmp_path / "run", **shape)
    monkeypatch.chdir(world.folder)
    plot.main(world.arguments)
    browser.log("browser")
    browser.open(world.report, PHONE)

    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    assert [] == browser.log("browser")


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """Three images of different sizes, cut into tiles: two are larger than a close-up, the first is scaled down."""
    sizes = [(400, 1300), (300, 500), (60, 80)]
    world = evaluated.build(tmp_path_factory.mktemp("tiled") / "run", size=(256, 256), fit="tile", own=sizes)
    draw(world)
    return world


def pick(page, rank):
    """Waits until the viewer shows the image of this rank."""
    page.run(
        f"(s => {{ s.value = '{rank - 1}'; s.dispatchEvent(new Event('change')) }})(document.getElementById('image'))"
    )
    page.wait(f"document.getElementById('caption').innerText.includes('rank {rank} of')")


def views(tiled, number):
    """What the viewer should show of an image: whole, and close."""
    split = processed.read(tiled.inputs["processed"])
    predictions = np.load(tiled.inputs["predictions"] / "test.npy")
    return whole_images.views(split, predictions, number)


def test_a_closeup_is_a_click_away_and_exact(browser, tiled):
    browser.open(tiled.report)
    pick(browser, 2)
    browser.click("[data-opacity='100'][data-blend='100']")
    colours = drawing.palette(processed.read(tiled.inputs["processed"]).index.classes, evaluated.VOID)
    whole, closeup = views(tiled, 1)

    assert (colours[whole.prediction] == browser.canvas()).all()
    browser.click("#closeup")
    browser.wait("document.getElementById('caption').innerText.endsWith('close-up')")
    assert (colours[closeup.prediction] == browser.canvas()).all()
    assert ["false", "true"] == [pressed(browser, name) for name in ("whole", "closeup")]
    browser.click("[data-opacity='100'][data-blend='0']")
    assert (colours[closeup.truth] == browser.canvas()).all()
    browser.click("#whole")
    browser.wait("!document.getElementById('caption').innerText.endsWith('close-up')")
    assert (colours[whole.truth] == browser.canvas()).all()


def pressed(page, name):
    return page.run(f"document.getElementById('{name}').getAttribute('aria-pressed')")


def test_the_whole_image_has_its_own_aspect_ratio_and_an_outline_of_the_closeup(browser, tiled):
    browser.open(tiled.report)
    for rank, number in ((1, 0), (2, 1)):
        pick(browser, rank)
        whole = views(tiled, number).whole
        height, width = whole.truth.shape
        frame = "document.getElementById('frame')"
        assert pytest.approx(width / height, rel=0.01) == browser.run(f"{frame}.clientWidth / {frame}.clientHeight")
        ends = [browser.run(share("#canvas", "#outline", end)) for end in ("left", "right")]
        assert pytest.approx(views(tiled, number).outline[2:], abs=0.001) == ends
        middle = browser.run(
            "(b => (b.top + b.bottom) / 2)(document.getElementById('outline').getBoundingClientRect())"
        )
        canvas = "document.getElementById('canvas').getBoundingClientRect()"
        down = browser.run(f"(b => ({middle} - b.top) / b.height)({canvas})")
        assert pytest.approx(sum(views(tiled, number).outline[:2]) / 2, abs=0.01) == down


def test_a_small_image_has_no_closeup_and_no_outline(browser, tiled):
    browser.open(tiled.report)
    browser.click("#closeup")
    pick(browser, 3)

    assert browser.run("document.getElementById('closeup').disabled && document.getElementById('outline').hidden")
    assert (60, 80) == browser.canvas().shape[:2]
    assert ["true", "false"] == [pressed(browser, name) for name in ("whole", "closeup")]


def test_a_pixel_is_read_in_working_pixels_in_the_whole_and_close(browser, tiled):
    browser.open(tiled.report)
    pick(browser, 1)
    whole, closeup = views(tiled, 0)
    read = """(c => { const b = c.getBoundingClientRect(); c.dispatchEvent(new PointerEvent('pointermove',
        {clientX: b.left + b.width * 10.5 / %d, clientY: b.top + b.height * 20.5 / %d})) })(
        document.getElementById('canvas'))"""

    browser.run(read % whole.truth.shape[::-1])
    assert browser.text("#readout").startswith(f"x {10 * 3}, y {20 * 3}: truth ")
    browser.keys("#frame", "c")
    browser.wait("document.getElementById('caption').innerText.endsWith('close-up')")
    browser.run(read % closeup.truth.shape[::-1])
    assert browser.text("#readout").startswith(f"x {closeup.left + 10}, y {closeup.top + 20}: truth ")


@pytest.mark.parametrize("size", [PHONE, DESK])
@pytest.mark.parametrize(
    "shape",
    [
        {"fit": "tile", "size": (64, 64), "own": [(12, 3000), (3000, 12), (900, 900)]},
        {"fit": "pad", "size": (300, 300), "own": [(12, 3000), (3000, 12), (5, 5)]},
    ],
)
def test_very_wide_and_very_tall_images_fit_the_window(browser, tmp_path, shape, size):
    world = evaluated.build(tmp_path / "run", **shape)
    draw(world)
    browser.log("browser")
    browser.open(world.report, size)

    for rank in (1, 2, 3):
        pick(browser, rank)
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    highest = browser.run(
        "Math.max(...[...document.images, document.getElementById('frame')].map(e => e.clientHeight))"
    )
    assert highest <= size[1]
    assert [] == browser.log("browser")


def test_pages_without_tiles_offer_no_closeup(page):
    assert page.run("document.getElementById('closeup') === null && document.getElementById('outline').hidden")
    page.keys("#frame", "c")
    assert [] == page.log("browser")
