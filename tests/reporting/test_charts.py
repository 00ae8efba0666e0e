"""PNG files: the same bytes for the same numbers, and no input that breaks them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from segline.dataset import raw
from segline.dataset.history import Epoch
from segline.reporting import charts, contact_sheets, drawing, results

ROOT = Path(__file__).parents[2]


def history(epochs):
    row = {"learning_rate": 0.1, "train_loss": 0.5, "val_loss": 0.7, "val_accuracy": 0.9}
    return [Epoch(epoch=epoch, val_miou=epoch / (epoch + 1), **row) for epoch in range(1, epochs + 1)]


def labels(names):
    return [raw.Label(name, (k * 12 % 256, 100, 50)) for k, name in enumerate(names)]


def scores(names, iou=0.5):
    row = {"accuracy": iou, "dice": iou, "pixels": 7}
    return [results.ClassScore.model_validate({"class": name, "iou": iou, **row}) for name in names]


def panels(width=30, height=20):
    draw = np.random.default_rng(0)
    return drawing.Panels(*draw.integers(0, 256, (4, height, width, 3), np.uint8))


def pixels(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def draw_all(folder, names=("a", "b", "c"), epochs=3, kept=2, iou=0.5):
    folder.mkdir(exist_ok=True)
    charts.loss(folder / "loss.png", history(epochs), kept)
    charts.accuracy(folder / "accuracy.png", history(epochs), kept)
    charts.confusion(folder / "confusion.png", names, np.eye(len(names), dtype=np.int64))
    charts.iou(folder / "iou.png", labels(names), scores(names, iou), iou)
    contact_sheets.sheet(
        folder / "sheet.png", [("one", panels()), ("two", panels())], [(name, (1, 2, 3)) for name in names]
    )
    pairs = [(panels().image, panels().truth)] * 3
    contact_sheets.augmented(folder / "augmented.png", pairs, [(name, (1, 2, 3)) for name in names])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_bytes_do_not_depend_on_the_settings_of_the_user(tmp_path):
    plain = draw_all(tmp_path / "plain")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "savefig.dpi": 30, "text.usetex": True}):
        styled = draw_all(tmp_path / "styled")

    assert plain == styled


@pytest.mark.slow
def test_the_bytes_depend_on_no_display_no_locale_no_clock_and_no_process(tmp_path):
    code = "import sys, pathlib, tests.reporting.test_charts as charts; charts.draw_all(pathlib.Path(sys.argv[1]))"
    clean = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "MPLBACKEND"}}
    for name, settings in {
        "one": {"PYTHONHASHSEED": "1", "TZ": "UTC"},
        "two": {
            "PYTHONHASHSEED": "2",
            "TZ": "Asia/Tokyo",
            "MPLBACKEND": "TkAgg",
            "DISPLAY": ":99",
            "SOURCE_DATE_EPOCH": "0",
        },
    }.items():
        subprocess.run([sys.executable, "-c", code, tmp_path / name], env=clean | settings, cwd=ROOT, check=True)

    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert digests[0] == digests[1]
    assert 6 == len(digests[0])


def test_no_picture_says_when_or_with_what_it_was_made(tmp_path):
    for name, content in draw_all(tmp_path / "all").items():
        assert not [word for word in (b"tEXt", b"iTXt", b"tIME", b"Software", b"atplotlib") if word in content], name


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 20, 60, 255])
def test_any_number_of_classes_can_be_drawn(tmp_path, count):
    names = [f"class {k}" for k in range(count)]
    charts.iou(tmp_path / "iou.png", labels(names), scores(names), 0.5)

    assert pixels(tmp_path / "iou.png").shape[0] > 30 * min(count, charts.READABLE)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 20])
def test_a_confusion_matrix_of_any_size_has_a_dark_diagonal_where_all_is_right(tmp_path, count):
    charts.confusion(
        tmp_path / "confusion.png", [f"class {k}" for k in range(count)], 9 * np.eye(count, dtype=np.int64)
    )

    darkest = (pixels(tmp_path / "confusion.png") == (8, 48, 107)).all(axis=2)  # the end of the colour map "Blues"
    share = darkest.sum() / darkest.size
    assert 0.2 / count < share < 1 / count


@pytest.mark.slow
@pytest.mark.parametrize("count", [charts.READABLE + 1, 255])
def test_pictures_of_many_classes_are_no_larger_and_hold_no_numbers(tmp_path, monkeypatch, count):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    sizes, texts = [], []
    for number in (charts.READABLE, count):
        names = [f"class {k}" for k in range(number)]
        charts.confusion(tmp_path / "confusion.png", names, np.eye(number, dtype=np.int64))
        charts.iou(tmp_path / "iou.png", labels(names), scores(names), 0.5)
        drawn = figures[-2:]
        sizes.append([figure.get_size_inches().tolist() for figure in drawn])
        texts.append([len(figure.axes[0].texts) for figure in drawn])

    assert sizes[0] == sizes[1]
    assert [[charts.READABLE**2, charts.READABLE], [0, 0]] == texts


def test_255_classes_still_show_where_all_is_right(tmp_path):
    charts.confusion(tmp_path / "confusion.png", [f"class {k}" for k in range(255)], np.eye(255, dtype=np.int64))
    shown = pixels(tmp_path / "confusion.png")

    assert max(shown.shape) < 3000
    assert (shown == (8, 48, 107)).all(axis=2).sum() > 255


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["$\\frac{", "_hidden", "x" * 500, "two\nlines", "", "<script>", "%s {0}", "\u4eba", "\x07"]
)
def test_any_name_can_be_drawn(tmp_path, name):
    """Mathematics is not parsed, and a leading underscore does not hide a class from the legend."""
    assert 6 == len(draw_all(tmp_path / "all", names=(name, "other")))


@pytest.mark.parametrize("epochs", [1, 2, 500])
def test_any_number_of_epochs_can_be_drawn(tmp_path, epochs):
    charts.loss(tmp_path / "loss.png", history(epochs), kept=1)
    charts.accuracy(tmp_path / "accuracy.png", history(epochs), kept=epochs)

    assert pixels(tmp_path / "loss.png").shape == pixels(tmp_path / "accuracy.png").shape


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_ticks_of_epochs_are_epochs(tmp_path, monkeypatch, epochs):
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    charts.loss(tmp_path / "loss.png", history(epochs), kept=1)
    low, high = figures[0].axes[0].get_xlim()
    ticks = [tick for tick in figures[0].axes[0].get_xticks() if low <= tick <= high]

    assert ticks
    assert set(ticks) <= set(range(epochs + 1))


def test_the_epoch_kept_is_marked(tmp_path):
    for kept in (1, 3):
        charts.accuracy(tmp_path / f"{kept}.png", history(3), kept)

    assert (tmp_path / "1.png").read_bytes() != (tmp_path / "3.png").read_bytes()


@pytest.mark.parametrize("iou", [None, 0.0, 1.0])
def test_scores_at_their_extremes_can_be_drawn(tmp_path, iou):
    charts.iou(tmp_path / "iou.png", labels("ab"), scores("ab", iou), iou)

    assert pixels(tmp_path / "iou.png").size


def test_an_undefined_score_differs_from_a_score_of_zero(tmp_path):
    for iou in (None, 0.0):
        charts.iou(tmp_path / f"{iou}.png", labels("ab"), scores("ab", iou), 0.5)

    assert (tmp_path / "None.png").read_bytes() != (tmp_path / "0.0.png").read_bytes()


def test_a_class_without_true_pixels_differs_from_one_that_is_never_predicted(tmp_path):
    charts.confusion(tmp_path / "absent.png", "ab", np.array([[5, 0], [0, 0]]))
    charts.confusion(tmp_path / "missed.png", "ab", np.array([[5, 0], [5, 0]]))

    assert (tmp_path / "absent.png").read_bytes() != (tmp_path / "missed.png").read_bytes()


@pytest.mark.parametrize(
    ("share", "expected"),
    [(-1, "-"), (0, "0"), (0.01, "0.0"), (9.94, "9.9"), (9.96, "10"), (99.9, "100"), (100, "100")],
)
def test_a_cell_has_at_most_three_characters(share, expected):
    assert expected == charts._cell(share)
