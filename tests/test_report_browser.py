"""The report in a real browser, judged by what it shows.

    apt-get install chromium chromium-driver

Without them these tests are skipped, but they fail where CI is set.
"""

import json
import os
import re

import numpy as np
import pytest

from stages import plot
from tests import evaluated
from tests.browser import DESK, PHONE, missing, running

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">"
NAMES = [HOSTILE, "road", "car"]


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
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world.folder)
        patch.setenv("SEGLINE_TRACKING", "off")
        plot.main(world.arguments)
    return world


@pytest.fixture
def page(browser, world):
    browser.open(world.report)
    return browser


def test_the_headline_is_there(page, world):
    scores = json.loads(world.inputs["eval"].read_text(encoding="utf-8"))

    assert f"{100 * scores['miou']:.1f} %" == page.text("#headline-miou")
    assert f"{100 * scores['accuracy']:.1f} %" == page.text("#headline-accuracy")
    assert "25.0 % to 50.0 %" in page.text(".headline")
    assert "toy, test: mIoU" in page.run("document.title")


def test_a_hostile_name_is_text_and_nothing_else(page):
    assert "hacked" not in page.run("document.title")
    assert HOSTILE == page.text("#legend button")
    assert 0 == page.run("document.querySelectorAll('img[src=x]').length")


def test_even_an_injected_script_would_not_run(page):
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title = 1'}))"
    )

    assert "toy" in page.run("document.title")
    page.log("browser")  # the refusal is no fault of the page


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


def test_a_class_can_be_seen_alone(page):
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
