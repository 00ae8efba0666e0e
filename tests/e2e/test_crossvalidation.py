"""`segline crossvalidate`: every image is predicted by a model that has not seen it, and nothing else changes."""

import csv
import json
import re

import cv2
import pytest

from tests.e2e.project import Project
from tests.e2e.reruns import ROOT
from tests.e2e.test_replay import snapshot

pytestmark = pytest.mark.slow

FILES = {f"metrics/crossvalidation{end}" for end in (".json", ".html", "_per_image.csv")}


PAGE, GATE = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("crossvalidation.md", "gate.md"))


def run(project: Project, *arguments: str, fails: bool = False) -> str:
    return project.run("python", "-m", "segline", "crossvalidate", *arguments, fails=fails)


def test_each_image_is_tested_once_and_all_else_stays_as_it_was(project):
    """The command of the page, with as many folds as so few images allow."""
    (words,) = re.findall(r"^segline crossvalidate (--folds) 5$", PAGE, re.MULTILINE)
    before = snapshot(project)
    said = run(project, words, "3", "--seeds", "1")
    after = snapshot(project)
    content = json.loads(project.read("metrics/crossvalidation.json"))
    dataset = json.loads(project.read("data/raw/dataset.json"))
    stems = {pair["stem"]: (name, pair) for name, pairs in dataset["splits"].items() for pair in pairs}

    assert before == {name: entry for name, entry in after.items() if name in before}
    new = after.keys() - before.keys()
    assert FILES == {name for name in new if not name.startswith("predictions")}
    folder = project.root / "predictions/crossvalidation"
    assert stems.keys() == {path.stem for path in (folder / "masks").iterdir()}
    assert stems.keys() == {path.stem for path in (folder / "probabilities").iterdir()}
    for stem, (split, pair) in stems.items():
        mask = cv2.imread(str(folder / f"masks/{stem}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == cv2.imread(str(project.root / f"data/raw/{split}/{pair['image']}")).shape[:2]
    assert len(stems) == sum(fold["images"] for fold in content["folds"])
    assert 3 == len(content["folds"])
    assert {"accuracy", "miou", "ece"} == content["mean"].keys() == content["deviation"].keys()
    assert all("seed" not in each for each in content["deviation"].values())
    pooled = content["pooled"]["miou"]
    assert min(fold["scores"][0]["miou"] for fold in content["folds"]) > 0 < pooled < 1
    assert "to train: fold 1, seed 1; fold 2, seed 1; fold 3, seed 1" in said.splitlines()
    assert f"{len(stems)} out-of-fold predictions -> predictions/crossvalidation" in said
    with (project.root / "metrics/crossvalidation_per_image.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert stems.keys() == {row["image"] for row in rows}
    assert [fold["images"] for fold in content["folds"]] == [sum(row["fold"] == fold for row in rows) for fold in "123"]
    page = project.read("metrics/crossvalidation.html")
    worst = min((row for row in rows if row["miou"]), key=lambda row: (float(row["miou"]), float(row["accuracy"])))
    assert "Segline cross-validation" in page
    assert worst["image"] == re.findall(r'alt="Prediction of ([^"]+)"', page)[0]
    assert set() == project.changed()
    compare(project)

    (command,) = re.findall(r"^segline (labels --annotations labelme)$", PAGE, re.MULTILINE)
    said = project.run("python", "-m", "segline", *command.split())
    assert "warning" not in said
    assert f"{len(stems)} images" in said
    with (project.root / "predictions/labels/images.csv").open(encoding="utf-8") as stream:
        assert stems.keys() == {row["image"] for row in csv.DictReader(stream)}
    assert stems.keys() == {path.stem for path in (project.root / "predictions/labels/annotations").iterdir()}
    assert set() == project.changed()


def compare(project: Project) -> None:
    """The gate reads what was written; for it, the one seed counts as two."""
    content = json.loads(project.read("metrics/crossvalidation.json"))
    for fold in content["folds"]:
        fold["scores"].append({**fold["scores"][0], "seed": 2})
    header, *rows = project.read("metrics/crossvalidation_per_image.csv").splitlines()
    project.write("metrics/crossvalidation.json", json.dumps(content))
    project.write("metrics/crossvalidation_per_image.csv", "\n".join([header, *rows, *(f"2{row[1:]}" for row in rows)]))
    project.git("add", "--force", "metrics")
    project.commit("Cross-validate")
    (command,) = set(re.findall(r"^segline (gate --base \S+ --crossvalidation)", GATE, re.MULTILINE))
    said = project.run("python", "-m", "segline", *command.replace("origin/main", "HEAD").split())

    assert "Gate: PASS against HEAD" in said
    assert f"Cross-validation: {len(rows)} images in 3 folds, each predicted from 2 seeds a side" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--folds", "2"), "--folds: expected at least 3, got 2"),
        (("--folds", "3", "--seeds", "0"), "--seeds: expected at least 1, got 0"),
        (("--folds", "1000"), "groups of images, expected at least one for each of 1000 folds"),
    ],
)
def test_numbers_that_cannot_be_are_refused(project, arguments, sentence):
    said = run(project, *arguments, fails=True)

    assert sentence in said
    assert "Traceback" not in said
