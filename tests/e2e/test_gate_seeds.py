"""`segline gate --seeds`: real branches, DVC and processes; only the learner is a stand-in, whose luck is known."""

import json
import re
import shutil

import pytest

from tests.e2e.project import Project, create
from tests.e2e.reruns import ROOT

pytestmark = pytest.mark.slow

TRAIN = '''"""A model that is nothing but its parameters."""
import json, sys
from pathlib import Path
from segline.core import params

section = params.load()["train"]
names = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for name in ("--model", "--history", "--metrics"):
    Path(names[name]).parent.mkdir(exist_ok=True)
    Path(names[name]).write_text(json.dumps({key: section[key] for key in ("seed", "weight_decay", "ema")}))
Path(names["--augmented"]).mkdir(parents=True)
'''
EVALUATE = '''"""Accuracy is 0.8 less `weight_decay`, and varies over seeds with the standard deviation `ema`."""
import json, sys
from pathlib import Path
import numpy as np
from tests.gate import sides

names = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = json.loads(Path(names["--model"]).read_text())
luck = np.random.default_rng([model["seed"], round(1e6 * model["weight_decay"])])
rate = 0.8 - model["weight_decay"] + model["ema"] * luck.normal()
sides.save(Path(names["--metrics"]).parent, sides.predicted(100 * sides.truth(24), rate, int(luck.integers(1 << 30))))
for name in ("--per-class", "--confusion"):
    Path(names[name]).write_text("{}")
Path(names["--predictions"]).mkdir(parents=True)
'''
LUCK = 0.005  # standard deviation of accuracy over seeds


def learning(project: Project) -> Project:
    """The same, seeing the tests' own modules too."""
    return Project(project.root, {**project.environment, "PYTHONPATH": str(ROOT)})


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """main, reproduced and committed, with seed noise; not to be changed."""
    folder = tmp_path_factory.mktemp("seeds")
    project = learning(create(folder / "project", folder / "home"))
    project.write("stages/train.py", TRAIN)
    project.write("stages/evaluate.py", EVALUATE)
    project.set(train__weight_decay=0.0, train__ema=LUCK)
    project.dvc("repro", "evaluate")
    project.run("python", "-m", "segline", "noise")
    project.commit("Reproduce")
    return project


@pytest.fixture
def project(measured: Project, tmp_path) -> Project:
    """On a branch of main."""
    copy = learning(measured.copy(tmp_path / "pr\u00f6ject"))
    copy.git("switch", "--quiet", "--create", "branch")
    return copy


def lose(project: Project, points: float) -> None:
    """The branch learns worse, and is reproduced and committed."""
    project.set(train__weight_decay=points / 100)
    project.dvc("repro", "evaluate")
    project.commit("Lose on purpose")


def gate(project: Project, *arguments: str, fails: bool = False) -> str:
    return project.run("python", "-m", "segline", "gate", "--base", "main", *arguments, fails=fails)


def test_a_branch_that_loses_two_points_is_a_regression_and_the_title_says_after_how_many_seeds(project):
    lose(project, 2)

    said = gate(project, "--seeds", "8", fails=True)
    title = re.search(r"^Gate: REGRESSION against main \(\w{10}\) after (\d) of 8 seeds a side$", said, re.MULTILINE)
    assert title, said
    assert 2 <= int(title[1]) <= 8
    assert "Seed noise is that of these runs and of the 5 seeds of metrics/noise.json, pooled." in said
    assert f"{2 * int(title[1])} of {2 * int(title[1])} runs were made now" in said


def test_two_pairs_show_a_large_loss_and_what_was_trained_once_is_not_trained_again(project, tmp_path):
    """The base's runs serve another branch, and come from a DVC remote as well."""
    lose(project, 20)
    assert "after 2 of 5 seeds a side" in gate(project, "--seeds", "5", fails=True)
    assert 2 == len(list((project.root / "gate-runs").iterdir()))

    again = gate(project, "--seeds", "5", fails=True)
    assert "trained and evaluated" not in again
    assert "0 of 4 runs were made now, the others kept in gate-runs" in again

    lose(project, 30)
    assert "2 of 4 runs were made now" in gate(project, "--seeds", "5", fails=True)

    project.dvc("remote", "add", "--default", "shared", str(tmp_path / "remote"))
    project.dvc("add", "gate-runs")
    project.dvc("push", "gate-runs.dvc")
    shutil.rmtree(project.root / "gate-runs")
    shutil.rmtree(project.root / ".dvc/cache/files")
    project.dvc("pull", "gate-runs.dvc")
    kept = sorted(path.name for path in (project.root / "gate-runs").rglob("*.csv"))
    assert ["per_image.csv"] * 6 == kept


def test_equal_recipes_are_trained_once_and_pass(project):
    said = gate(project, "--seeds", "5", "--json")
    answer = json.loads(said[said.index("{\n") :])

    assert "pass" == answer["verdict"]
    assert [7, 8] == answer["seeds"]  # neither the base's own nor those of its noise file
    assert 2 == said.count("trained and evaluated")
    assert {0.0} == {metric["difference"] for metric in answer["metrics"]}


def test_standard_output_has_the_judgement_alone(project):
    done = project.run("sh", "-c", "python -m segline gate --base main --seeds 2 --json 2>/dev/null")

    assert "pass" == json.loads(done)["verdict"]


def test_without_seed_noise_of_the_recipe_four_pairs_come_first(project):
    (project.root / "metrics/noise.json").unlink()
    project.commit("Forget the noise")
    project.git("branch", "--force", "main", "HEAD")
    lose(project, 20)

    assert "--seeds: expected at least 4, got 3, since no seed noise" in gate(project, "--seeds", "3", fails=True)
    said = gate(project, "--seeds", "5", fails=True)
    assert "after 4 of 5 seeds a side" in said
    assert "Seed noise is that of these runs alone" in said


@pytest.mark.parametrize("seeds", ["1", "0", "-3"])
def test_fewer_than_two_seeds_are_refused(project, seeds):
    said = gate(project, f"--seeds={seeds}", fails=True)

    assert f"error: --seeds: expected at least 2, got {seeds}. Leave it out to compare one run" in said


def test_a_base_whose_inputs_are_gone_is_one_line(project):
    """main was made from other images, which nobody has any more."""
    project.set(preprocess__height=32)
    project.dvc("repro", "evaluate")
    project.commit("See less")
    shutil.rmtree(project.root / ".dvc/cache/files")
    project.dvc("commit", "--force", "download", "preprocess", "train", "evaluate")
    done = gate(project, "--seeds", "2", fails=True)

    assert 1 == len([line for line in done.splitlines() if line.startswith("error: ")]) == len(done.splitlines())
    assert "error: main:dvc.lock: inputs are not in the cache: data/processed/" in done
    assert "Run `dvc fetch --all-commits`" in done


def test_a_base_that_was_committed_without_its_results_is_refused(project):
    project.git("switch", "--quiet", "main")
    project.append("stages/train.py", "# edited\n")
    project.commit("Edit, and forget make repro")
    project.git("switch", "--quiet", "branch")
    said = gate(project, "--seeds", "2", fails=True)

    assert "error: main:dvc.lock: does not match that commit: stages/train.py. Run `make repro` there" in said


def test_so_is_a_folder_of_saved_metrics(project):
    shutil.copytree(project.root / "metrics", project.root / "saved")
    done = project.run("python", "-m", "segline", "gate", "--base", "saved", "--seeds", "2", fails=True)

    assert "error: --base saved: a folder of saved metrics, which cannot be trained again. Name a revision" in done


def test_a_damaged_kept_run_is_one_line_and_names_the_folder(project):
    gate(project, "--seeds", "2")
    [first, *_] = sorted((project.root / "gate-runs").rglob("per_image.csv"))
    first.write_bytes(first.read_bytes()[:100])
    done = gate(project, "--seeds", "2", fails=True)

    assert f"error: {first.relative_to(project.root)}: " in done
    assert "Delete that folder: the run is then made again." in done
    assert "Traceback" not in done


def test_packages_that_a_side_pins_differently_are_said(project):
    pins = project.read("constraints.txt")
    project.write("constraints.txt", re.sub(r"^numpy==.*$", "numpy==0.0.1", pins, flags=re.MULTILINE))

    assert "but the working tree pins numpy 0.0.1 (here " in gate(project, "--seeds", "2")
