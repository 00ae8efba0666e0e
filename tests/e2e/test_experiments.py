"""`dvc exp`, and the comparison of two revisions: parameters, scores, plots."""

import csv
import io
import json

import pytest

from tests.e2e.project import Project, stages_run
from tests.e2e.test_mlflow import Store

pytestmark = pytest.mark.slow


def names(shown: object) -> set[str]:
    """The experiments in what `dvc exp show --json` printed."""
    assert isinstance(shown, list)
    return {row["name"] for baseline in shown for found in baseline["experiments"] or [] for row in found["revs"]}


def test_an_experiment_runs_the_edited_module_of_its_own_copy(ascii_project):
    """In `.dvc/tmp/exps` it must not import the package of this checkout, be it installed as editable or not."""
    ascii_project.append(
        "segline/scoring/evaluation.py",
        "\n\n_means = means\n\n\ndef means(counts):\n    return {**_means(counts), 'accuracy': 0.123456}\n",
    )
    before = ascii_project.read("metrics/eval.json")
    assert ["evaluate", "plot"] == stages_run(ascii_project.dvc("exp", "run", "--temp", "--name", "edited"))

    assert before == ascii_project.read("metrics/eval.json")
    difference = ascii_project.dvc_json("metrics", "diff", "HEAD", "edited", "--json")
    assert 0.123456 == difference["metrics/eval.json"]["accuracy"]["new"]
    assert {"edited"} == names(ascii_project.dvc_json("exp", "show", "--json"))


@pytest.mark.filterwarnings("ignore")  # importing MLflow and reading SQLite through it warns of things not ours
def test_an_experiment_in_a_copy_is_logged_in_the_project_itself(ascii_project):
    """The copy in `.dvc/tmp/exps` is gone afterwards, and what lay in it with it."""
    arguments = ("--temp", "--name", "elsewhere", "-S", "train.learning_rate=1e-5")
    output = ascii_project.dvc("exp", "run", *arguments, SEGLINE_TRACKING="on")
    store = Store(ascii_project)
    [run] = store.runs
    artifacts = ascii_project.root / "mlruns" / run.info.run_id / "artifacts"

    assert ["train", "evaluate", "plot"] == stages_run(output)
    assert "warning" not in output
    assert ["elsewhere"] * 3 == [run.data.tags[f"{of}dvc.exp_name"] for of in ("", "evaluate.", "plot.")]
    assert ascii_project.git("rev-parse", "HEAD").strip() == run.data.tags["dvc.exp_baseline_rev"]
    assert "unet elsewhere" == run.info.run_name
    assert ("FINISHED", "FINISHED") == (run.info.status, run.data.tags["plot.status"])
    assert "1e-05" == run.data.params["train.learning_rate"]
    assert {"params.yaml", "history.csv", "eval.json", "report.html"} <= {path.name for path in artifacts.iterdir()}
    assert "learning_rate: 1e-05" in (artifacts / "params.yaml").read_text(encoding="utf-8")


def test_a_parameter_of_an_experiment_arrives_in_training(project):
    """`-S train.learning_rate=1e-5` writes `1e-05`, which plain PyYAML reads as text."""
    output = project.dvc("exp", "run", "-S", "train.learning_rate=1e-5", "--name", "slow")

    assert ["train", "evaluate", "plot"] == stages_run(output)
    rates = {row["learning_rate"] for row in csv.DictReader(io.StringIO(project.read("metrics/history.csv")))}
    assert {1e-5} == {float(rate) for rate in rates}
    assert {"slow"} == names(project.dvc_json("exp", "show", "--json"))


@pytest.fixture(scope="module")
def branched(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A fresh clone, on the branch `other`, which trains from another seed than `main`: both are reproduced.

    It has what is committed alone: no data, no cache, and no remote to get them from.
    """
    folder = tmp_path_factory.mktemp("branched")
    project = reproduced.copy(folder / "origin")
    project.git("switch", "--quiet", "--create", "other")
    project.set(train__seed=2)
    project.dvc("repro")
    project.commit("Train from another seed")
    clone = project.clone(folder / "my pr\u00f6ject")
    clone.git("fetch", "--quiet", "origin", "main:main")
    return clone


def test_parameters_of_two_branches_are_compared(branched):
    difference = branched.dvc_json("params", "diff", "main", "--json")

    assert {"params.yaml": {"train.seed": {"old": 1, "new": 2, "diff": 1}}} == difference


def test_a_clone_has_no_data(branched):
    """So what the tests below read lies in git."""
    assert not (branched.root / ".dvc/cache").exists()
    assert not (branched.root / "data/raw").exists()
    assert "" == branched.dvc("remote", "list")


def test_scores_of_two_branches_are_compared(branched):
    old, new = (json.loads(branched.git("show", f"{branch}:metrics/train.json")) for branch in ("main", "other"))
    difference = branched.dvc_json("metrics", "diff", "main", "--json")

    assert old["train_loss"] != new["train_loss"]
    found = difference["metrics/train.json"]["train_loss"]
    assert (old["train_loss"], new["train_loss"]) == (found["old"], found["new"])
    assert "metrics/eval.json" in difference


def test_plots_of_two_branches_are_in_one_page(branched):
    output = branched.dvc("plots", "diff", "main", "--out", "dvc_plots")
    page = branched.read("dvc_plots/index.html")
    pictures = {path.name for path in (branched.root / "dvc_plots/static").iterdir()}

    assert "failed" not in output.lower()
    for name in ("history_csv", "per_class_csv", "per_image_csv", "confusion_json"):
        assert f'"metrics_{name}"' in page
    assert all(f'"rev": "{revision}"' in page for revision in ("main", "workspace"))
    assert all(any(name.startswith(revision) for name in pictures) for revision in ("main", "workspace"))
    assert "" == branched.git("status", "--short")


def test_the_graph_shows_every_stage_in_order(branched):
    output = branched.dvc("dag", "--md")

    for stage in ("download", "preprocess", "train", "evaluate", "plot"):
        assert f'["{stage}"]' in output


@pytest.mark.parametrize("command", [("plots", "show"), ("metrics", "show"), ("exp", "show"), ("status",)])
def test_a_command_warns_of_nothing(branched, command):
    output = branched.dvc(*command)

    assert not [word for word in ("warning", "failed", "error") if word in output.lower()]
