"""`segline gate --crossvalidation`: all images are compared, out of fold, and only equal cross-validations."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from segline.__main__ import main
from segline.core import records
from segline.gate import crossvalidated
from segline.reproducibility import crossvalidation
from tests.gate import sides

FOLDS = 4
TRUE = [sides.truth(10, seed=fold) for fold in range(FOLDS)]


def save(
    root: Path, rate: float, seeds: tuple[int, ...] = (1, 2), folds: int = FOLDS, luck: float = 0.001, *, true=TRUE
) -> Path:
    """The files that `segline crossvalidate` leaves, of models that are right with about this probability."""
    draw = np.random.default_rng(round(1e6 * rate))
    content, rows = {"folds": [], "recipe": "0123456789abcdef"}, []
    for number, labelled in enumerate(true[:folds], 1):
        scores = []
        for seed in seeds:
            counts = sides.predicted(20 * labelled, rate + luck * draw.normal(), int(draw.integers(1 << 30)))
            folder = sides.save(root / "scratch" / f"{number}-{seed}", counts)
            own = json.loads((folder / "eval.json").read_text())
            scores.append({"seed": seed} | {key: own[key] for key in ("accuracy", "miou", "iou", "cost")})
            with (folder / "per_image.csv").open(newline="") as stream:
                header, *lines = csv.reader(stream)
            rows += [[seed, number, f"fold-{number}-{line[0]}", *line[1:]] for line in lines]
        content["folds"].append({"images": 10, "protocol": own["protocol"], "scores": scores})
    records.write_json(root / "crossvalidation.json", content)
    records.write_csv(root / "crossvalidation_per_image.csv", [*crossvalidation.OF_RUN, *header], rows)
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A project with a cross-validation, and its base; not to be changed."""
    folder = tmp_path_factory.mktemp("folds")
    save(folder / "metrics", 0.85)
    save(folder / "base", 0.851)
    return folder


@pytest.fixture
def project(saved, tmp_path, monkeypatch) -> Path:
    """The same as a working tree."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("scratch"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for folder in (".", "base"):
        (tmp_path / folder / "gate.yaml").write_text(sides.RULES)
    (tmp_path / "dvc.yaml").touch()
    return tmp_path


def gate(*arguments: str) -> int:
    return main(["gate", "--base", "base", "--crossvalidation", *arguments]) or 0


def test_equal_recipes_pass_and_a_loss_is_a_regression(project, capsys):
    assert 0 == gate()
    assert "Gate: PASS against base after 2 of 2 seeds a side" in capsys.readouterr().out

    save(project / "metrics", 0.8)
    assert 1 == gate()
    said = capsys.readouterr().out
    assert "accuracy: lost 0.05" in said
    assert "Cross-validation: 40 images in 4 folds, each predicted from 2 seeds a side" in said
    assert "Intervals are over folds and seeds." in said


def test_scores_are_those_of_all_images_together(project):
    [finding, _] = crossvalidated.judge("base", project).findings
    with (project / "metrics/crossvalidation_per_image.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    right = sum(int(row[f"{name}_tp"]) for row in rows for name in sides.NAMES)

    assert finding.candidate == pytest.approx(right / (2 * 20 * sum(true.sum() for true in TRUE)))


def test_a_floor_is_judged_on_all_images(project, capsys):
    for folder in (".", "base"):
        (project / folder / "gate.yaml").write_text(sides.RULES.replace("floors: {}", "floors: {accuracy: 0.9}"))

    assert 1 == gate()
    assert "accuracy >= 0.9: 0.0" in capsys.readouterr().out


def test_the_iou_of_a_class_in_one_fold_alone_is_refused(project, capsys):
    rare = [true * (1, 1, number == 0) for number, true in enumerate(TRUE)]
    for folder in (".", "base"):
        (project / folder / "gate.yaml").write_text(sides.RULES.replace("miou: 0.01", "miou: 0.01\n  iou.car: 0.05"))
    for folder in ("metrics", "base"):
        save(project / folder, 0.85, true=rare)

    assert 2 == gate()
    sentence = "error: gate.yaml: iou.car: labelled in one fold alone, so what it varies with is unknown. Leave it out"
    assert sentence in capsys.readouterr().err


def test_an_inconclusive_comparison_says_what_differs_between_folds(project, capsys):
    save(project / "metrics", 0.845, luck=0.02)

    assert 0 == gate()
    said = capsys.readouterr().out
    assert "What differs from fold to fold leaves +-" in said
    assert "test images" not in said


@pytest.mark.parametrize("side", ["metrics/..", "base"])
def test_a_lock_that_lacks_a_stage_is_noted(project, capsys, side):
    stage = {"cmd": "x", "deps": [{"path": "a", "md5": 32 * "b"}], "outs": []}
    (project / side / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"train": stage}}))

    assert 0 == gate()
    assert "Nothing ties one side's cross-validation to its code" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"folds": 3}, "base and the working tree: 4 folds from seeds 1, 2 and 3 folds from seeds 1, 2. Run"),
        ({"seeds": (1, 2, 3)}, "4 folds from seeds 1, 2 and 4 folds from seeds 1, 2, 3. Run"),
        ({"seeds": (2, 3)}, "4 folds from seeds 1, 2 and 4 folds from seeds 2, 3. Run"),
    ],
)
def test_other_folds_or_seeds_are_refused(project, capsys, change, sentence):
    save(project / "metrics", 0.85, **change)

    assert 2 == gate()
    assert sentence in capsys.readouterr().err


def test_other_images_in_a_fold_are_refused(project, capsys):
    content = json.loads((project / "metrics/crossvalidation.json").read_text())
    content["folds"][1]["protocol"]["data"] = "0" * 16
    records.write_json(project / "metrics/crossvalidation.json", content)

    assert 2 == gate()
    assert "base, fold 2 and the working tree, fold 2: protocol.data: " in capsys.readouterr().err


def test_one_seed_a_side_is_refused(project, capsys):
    for folder in ("metrics", "base"):
        save(project / folder, 0.85, seeds=(1,))

    assert 2 == gate()
    assert "one seed, so what seeds change is unknown. Run `segline crossvalidate --seeds 2`" in capsys.readouterr().err


def test_a_side_without_a_cross_validation_is_one_line(project, capsys):
    (project / "base/crossvalidation.json").unlink()

    assert 2 == gate()
    assert "base/crossvalidation.json: missing" in capsys.readouterr().err.replace(f"{project}/", "")


def test_a_cross_validation_of_an_earlier_recipe_is_refused(project, capsys):
    """Else a branch would be judged by what the base was."""
    stage = {"cmd": "x", "deps": [{"path": "a", "md5": 32 * "b"}], "outs": []}
    (project / "dvc.lock").write_text(
        json.dumps({"schema": "2.0", "stages": dict.fromkeys(crossvalidation.STAGES, stage)})
    )

    assert 2 == gate()
    assert "crossvalidation.json: of another recipe than dvc.lock records there." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"seed": 2', '"seed": 7', "other folds or seeds than in crossvalidation_per_image.csv"),
        ('"protocol"', '"protocols"', "crossvalidation.json: not as this version writes it"),
        ('"miou": 0.', '"miou": 0.1', "fold 1, seed 1: crossvalidation.json: miou is 0.1"),
    ],
)
def test_scores_that_the_images_do_not_give_are_refused(project, capsys, old, new, sentence):
    edit(project / "metrics/crossvalidation.json", old, new)

    assert 2 == gate()
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("seed,fold,", "fold,seed,", "columns 'fold, seed, image, group"),
        ("fold-2-frame-03", "fold-1-frame-03", "different images: only the base has 1 image: fold-2-frame-03"),
        ("\n1,", "\n", "other folds or seeds than in crossvalidation_per_image.csv"),
    ],
)
def test_images_that_were_edited_are_refused(project, capsys, old, new, sentence):
    edit(project / "metrics/crossvalidation_per_image.csv", old, new)

    assert 2 == gate()
    assert sentence in capsys.readouterr().err


def test_a_fold_that_lacks_a_seed_is_refused(project, capsys):
    path = project / "metrics/crossvalidation.json"
    document = json.loads(path.read_text())
    document["folds"][3]["scores"].pop()
    records.write_json(path, document)
    per_image = project / "metrics/crossvalidation_per_image.csv"
    lines = per_image.read_text().splitlines(keepends=True)
    per_image.write_text("".join(line for line in lines if not line.startswith("2,4,")))

    assert 2 == gate()
    assert "crossvalidation.json: a fold without one of the seeds" in capsys.readouterr().err


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_it_is_not_combined_with_seeds(project):
    with pytest.raises(SystemExit):
        gate("--seeds", "5")
