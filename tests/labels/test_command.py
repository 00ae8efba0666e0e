"""`segline labels` on a small data set whose out-of-fold predictions are right where some labels are not."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline import __main__ as cli
from segline.core.errors import DataError, ParameterError
from segline.inference import mask_files
from segline.labels import command
from segline.reproducibility import out_of_fold
from tests import tiny

WRONG = "val1"  # the image that gets a wrong label
NAMES = [label.name for label in tiny.CLASSES]


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project whose models are sure of what the labels say, but for a block of an image."""
    tiny.begin(tmp_path, monkeypatch)
    for image in out_of_fold.images(tmp_path):
        truth = image.labels()
        truth[truth == 255] = 0
        if image.name == WRONG:
            truth[3:9, 4:14] = (truth[3:9, 4:14] + 1) % 3
        predict(image.name, truth)
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    Path("metrics").mkdir(exist_ok=True)
    Path("metrics/crossvalidation.json").write_text('{"recipe": null}')
    return tmp_path


def predict(name: str, classes: np.ndarray) -> None:
    """The probabilities of a model that is sure of these classes."""
    planes = np.where(classes[..., None] == np.arange(3), 201, 27).astype(np.uint8)
    path = Path(f"predictions/crossvalidation/probabilities/{name}.tif").absolute()
    with mask_files.written(path, *classes.shape, None, NAMES) as append:
        append(planes)


def rows(project: Path, name: str) -> list[dict[str, str]]:
    with (project / command.FOLDER / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_image_and_the_objects_with_wrong_labels_come_first(project, capsys):
    cli.main(["labels"])
    images, objects, pairs = (rows(project, f"{name}.csv") for name in ("images", "objects", "class_pairs"))

    assert 13 == len(images)
    assert (WRONG, "val") == (images[0]["image"], images[0]["split"])
    assert ["0.000000"] * 12 == [row["disputed"] for row in images[1:]]
    assert {WRONG} == {row["image"] for row in objects}
    assert 60 == sum(int(row["area"]) for row in objects) == sum(int(row["pixels"]) for row in pairs)
    assert sorted(objects, key=lambda row: -float(row["score"])) == objects
    assert objects[0]["score"] == images[0]["score"]
    assert f"13 images, {len(objects)} disputed objects" in capsys.readouterr().out


def test_the_page_shows_the_pictures_and_asks_for_nothing(project):
    cli.main(["labels"])
    page = (project / command.FOLDER / command.PAGE).read_text(encoding="utf-8")

    assert page.index(WRONG) < page.index("test0")
    assert page.index('id="images"') < page.index('id="objects"') < page.index('id="pairs"')
    assert (13 + len(rows(project, "objects.csv"))) * 3 == page.count("data:image/png;base64,")
    assert {"data:", "#obje", "#imag", "#pair"} == set(re.findall(r'(?:src|href)="(.{5})', page))
    assert "url(" not in page


def test_the_commands_of_the_page_run(project):
    page = (Path(__file__).parents[2] / "docs/crossvalidation.md").read_text(encoding="utf-8")
    commands = re.findall(r"^segline (labels.*)$", page, re.MULTILINE)
    for line in commands:
        cli.main(line.split())

    assert ["labels", "labels --annotations labelme"] == commands
    assert 13 == len([*(project / command.FOLDER / "annotations").iterdir()])


def test_annotations_are_the_labels_as_they_are_and_are_never_replaced(project):
    cli.main(["labels", "--annotations", "coco", "--tolerance", "0"])
    content = json.loads((project / command.FOLDER / "annotations.json").read_text(encoding="utf-8"))
    size = {(each["height"], each["width"]) for each in content["images"]}
    labelled = sum(each["area"] for each in content["annotations"])

    assert f"{WRONG}.png" == content["images"][0]["file_name"]
    assert 13 == len(content["images"])
    assert {tiny.SIZE} == size
    assert 13 * (tiny.SIZE[0] - 2) * tiny.SIZE[1] == labelled  # the two lowest lines are void
    with pytest.raises(ParameterError, match=r"has annotations\.json of an earlier ranking.*Move it away"):
        cli.main(["labels"])


def test_predictions_that_are_missing_or_of_another_image_are_refused_and_the_last_ranking_stays(project):
    cli.main(["labels"])
    before = rows(project, "images.csv")
    path = project / "predictions/crossvalidation/probabilities/test0.tif"
    with mask_files.written(path, 4, 5, None, NAMES) as append:
        append(np.zeros((4, 5, 3), np.uint8))

    with pytest.raises(DataError, match=r"test0\.tif: .* \(3, 4, 5\), expected \(3, 18, 30\)\. Run `segline cross"):
        cli.main(["labels"])
    path.write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"test0\.tif: cannot be read"):
        cli.main(["labels"])
    path.unlink()
    with pytest.raises(DataError, match=r"test0\.tif: missing\. Run `segline crossvalidate`"):
        cli.main(["labels"])
    assert before == rows(project, "images.csv")


def test_without_a_cross_validation_it_is_named(project):
    Path("metrics/crossvalidation.json").unlink()

    with pytest.raises(DataError, match=r"crossvalidation\.json: missing\. Run `segline crossvalidate`"):
        cli.main(["labels"])


def test_models_that_are_wrong_more_often_than_labels_are_told(project, capsys):
    cli.main(["labels"])
    assert "" == capsys.readouterr().err

    for image in out_of_fold.images(project):
        predict(image.name, (image.labels() + 1) % 3)
    cli.main(["labels"])

    assert "warning: 100 % of the labelled pixels are in dispute: models as weak" in capsys.readouterr().err


def test_predictions_of_another_recipe_are_told(project, capsys):
    Path("metrics/crossvalidation.json").write_text('{"recipe": "0123456789abcdef"}')
    cli.main(["labels"])

    assert "warning: metrics/crossvalidation.json is of other labels or parameters" in capsys.readouterr().err


def test_a_mask_that_has_changed_is_refused(project):
    path = project / "data/raw/test/masks/test0.png"
    cv2.imwrite(str(path), np.zeros(tiny.SIZE, np.uint8))

    with pytest.raises(DataError.__base__, match=r"test0\.png"):
        cli.main(["labels"])
