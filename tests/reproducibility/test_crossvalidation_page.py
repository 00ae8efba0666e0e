"""The page of a cross-validation shows every fold, the worst images, what is undefined, and no name as markup."""

import base64
import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from segline.reporting import drawing
from segline.reproducibility import crossvalidation, crossvalidation_page, out_of_fold
from segline.reproducibility.crossvalidation_page import Scored
from tests import tiny
from tests.labels.test_command import predict

BOUND = {"low": 0.5, "high": 0.75}
CONTENT = {
    "folds": [
        {"images": 7, "groups": 3, "scores": [{"seed": 1, "accuracy": 0.625, "miou": 0.5, "interval": {}}]},
        {
            "images": 8,
            "groups": 4,
            "scores": [{"seed": 1, "accuracy": 0.875, "miou": 0.75, "interval": {"miou": BOUND}}],
        },
    ],
    "pooled": {"accuracy": 0.8125, "miou": 0.6875},
    "mean": {"accuracy": {"value": 0.75, **BOUND}, "miou": {"value": 0.625, **BOUND}},
    "deviation": {"miou": {"fold": 0.125, "image": 0.0625}},
}


def rows(page: str) -> list[str]:
    """The text of each row of a table."""
    found = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).replace("\xa0", " ").split()) for row in found]


def test_each_score_is_in_its_row():
    shown = rows(crossvalidation_page.render(CONTENT, "toy"))

    assert "Pixel accuracy 75.0 % (50.0 % to 75.0 %) 81.2 % - - -" in shown
    assert "mIoU 62.5 % (50.0 % to 75.0 %) 68.8 % - 12.5 % 6.2 %" in shown
    assert "1 7 3 1 62.5 % 50.0 %" in shown
    assert "2 8 4 1 87.5 % 75.0 % (50.0 % to 75.0 %)" in shown


def test_equal_scores_give_equal_pages_and_a_name_is_no_markup():
    page = crossvalidation_page.render(CONTENT, "<b>toy</b>")

    assert page == crossvalidation_page.render(CONTENT, "<b>toy</b>")
    assert "<b>toy" not in page
    assert "&lt;b&gt;toy" in page


@pytest.fixture
def scored(tmp_path, monkeypatch) -> list[Scored]:
    """The 13 images of a project and their scores; the four of test are predicted wrong everywhere."""
    tiny.begin(tmp_path, monkeypatch)
    rows = []
    for number, image in enumerate(out_of_fold.images(tmp_path)):
        truth = image.labels()
        truth[truth == 255] = 0
        is_wrong = image.index.split == "test"
        predict(image.name, (truth + is_wrong) % 3)
        rate = 0.01 * number if is_wrong else 0.5 + 0.01 * number
        rows.append(Scored(image=image.name, group="", accuracy=rate, miou=rate, seed=1, fold=1 + number % 2))
    return rows


def sources(page: str, name: str) -> list[np.ndarray]:
    """The pictures of this kind, as pixels."""
    found = re.findall(rf'src="data:image/\w+;base64,([^"]+)" alt="{name} of', page)
    return [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(each)))) for each in found]


def test_the_worst_images_come_first_with_label_and_prediction_side_by_side(scored, tmp_path):
    images = out_of_fold.images(tmp_path)
    shown = [*crossvalidation_page.examples(scored, images)]
    page = crossvalidation_page.render(CONTENT, "toy", shown, tiny.CLASSES)

    assert ["worst"] * 4 + ["median"] * 3 == [example.pick.kind for example in shown]
    assert [f"test{number}" for number in range(4)] == [example.score.stem for example in shown[:4]]
    assert [13, 12, 11, 10, 6, 7, 8] == [example.pick.rank for example in shown]
    assert "fold 1, mIoU 0.0 %, accuracy 0.0 %, rank 13 of 15" in page.replace("\xa0", " ")
    labels, predictions, errors = (sources(page, name) for name in ("Label", "Prediction", "Errors"))
    assert 7 == len(labels) == len(sources(page, "Image"))
    differ = [(one != other)[:90].any() for one, other in zip(labels, predictions, strict=True)]
    assert [True] * 4 + [False] * 3 == differ
    assert np.abs(errors[0][20, 20].astype(int) - drawing.WRONG).max() < 12
    assert max(labels[0].shape) <= drawing.PANEL_SIDE


def test_of_several_seeds_the_scores_are_those_of_the_predictions_that_are_kept(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("seed,fold,image,group,accuracy,miou,tp\n3,1,a,,0.5,,7\n3,2,b,,0.25,0.5,8\n4,1,a,,1,1,9\n")

    assert [("a", 3, 1, None), ("b", 3, 2, 0.5)] == [
        (row.stem, row.seed, row.fold, row.miou) for row in crossvalidation_page.scores(path)
    ]


def test_files_that_changed_during_a_cross_validation_cost_the_pictures_alone(scored, tmp_path, capsys):
    images = out_of_fold.images(tmp_path)
    lines = [f"1,{row.fold},{row.stem},,{row.accuracy},{row.miou}" for row in scored]
    Path("metrics").mkdir(exist_ok=True)
    crossvalidation.PER_IMAGE.write_text("\n".join(["seed,fold,image,group,accuracy,miou", *lines, ""]))
    crossvalidation._write_page(tmp_path, CONTENT, images)
    whole = crossvalidation.PAGE.read_text()
    cv2.imwrite(str(tmp_path / "data/raw/test/masks/test1.png"), np.zeros(tiny.SIZE, np.uint8))
    crossvalidation._write_page(tmp_path, CONTENT, images)

    assert "test0" in whole
    assert "test0" not in crossvalidation.PAGE.read_text()
    assert "metrics/crossvalidation.html has no pictures: " in capsys.readouterr().err


def test_the_page_asks_for_nothing_and_no_stem_is_markup(scored, tmp_path):
    images = out_of_fold.images(tmp_path)
    (example, *_) = crossvalidation_page.examples(scored, images)
    odd = crossvalidation_page.Example(example.pick, example.score.model_copy(update={"stem": "<i>a"}), example.panels)
    page = crossvalidation_page.render(CONTENT, "toy", [odd], tiny.CLASSES)

    assert "<i>a" not in page
    assert {"data:", "#mean", "#fold", "#wors"} == set(re.findall(r'(?:src|href)="(.{5})', page))
    assert "url(" not in page


@pytest.mark.parametrize("seeds", [1, 2, 12])
def test_the_chart_has_a_point_for_each_score_of_a_fold(seeds):
    """A score of another fold moves its point: nothing else in the picture changes outside its column."""
    fold = {"scores": [{"accuracy": 0.6, "miou": 0.4, "interval": {"miou": BOUND}}] * seeds}
    other = {"scores": [{**fold["scores"][0], "accuracy": 0.9}, *fold["scores"][1:]]}
    charts = [
        cv2.imdecode(np.frombuffer(crossvalidation_page._chart({**CONTENT, "folds": each}), np.uint8), 1)
        for each in ([fold, fold, fold], [fold, other, fold])
    ]
    columns = np.flatnonzero((charts[0] != charts[1]).any(axis=(0, 2))) / charts[0].shape[1]

    assert 0.36 < columns.min() < columns.max() < 0.7
