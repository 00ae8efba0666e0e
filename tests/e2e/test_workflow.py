"""The workflow for GitHub Actions: what it may do, and that its gate stops a branch that regresses, and no other."""

import json
import re
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from tests.e2e import reruns
from tests.e2e.project import Project
from tests.e2e.test_make import install

TEXT = (reruns.ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
WORKFLOW: dict[str, Any] = YAML(typ="safe", pure=True).load(TEXT)  # YAML 1.2, where `on` is no truth value
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
RUNS = [step["run"] for step in STEPS if "run" in step]


def using(action: str) -> list[dict[str, Any]]:
    """The inputs of every step that uses this action."""
    return [step["with"] for step in STEPS if step.get("uses", "").startswith(f"actions/{action}@")]


def test_it_runs_for_main_and_for_pull_requests():
    """`pull_request_target` would run a fork's code with this repository's rights."""
    assert {"push": {"branches": ["main"]}, "pull_request": None} == WORKFLOW["on"]


def test_it_may_only_read_and_knows_no_secret():
    assert {"contents": "read"} == WORKFLOW["permissions"]
    assert not any("permissions" in job for job in JOBS.values())
    assert not re.search(r"secrets|github\.token|GITHUB_TOKEN", TEXT)
    assert [False] * len(JOBS) == [checkout["persist-credentials"] for checkout in using("checkout")]


def test_every_action_is_pinned_to_a_commit_and_says_which_version_that_is():
    uses = re.findall(r"uses: *(.*)", TEXT)

    assert len(uses) == sum("uses" in step for step in STEPS)
    assert [] == [use for use in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)]


def test_a_newer_push_ends_the_run_of_an_older_one_and_no_job_hangs():
    assert WORKFLOW["concurrency"]["cancel-in-progress"] is True
    assert "github.ref" in WORKFLOW["concurrency"]["group"]
    assert all(0 < job["timeout-minutes"] <= 120 for job in JOBS.values())


def test_every_command_is_a_make_target():
    """Nothing is substituted into a command: a branch may have any name."""
    targets = set(re.findall(r"^([a-z-]+):", (reruns.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {"lint", "verify", "test", "repro", "gate"} <= {run.split()[1] for run in RUNS}
    assert [] == [run for run in RUNS if not re.fullmatch(r'make [a-z-]+( [A-Z]+="\$[A-Z]+")*', run)]
    assert set() == {run.split()[1] for run in RUNS} - targets


def test_the_gate_has_the_history_and_comes_after_the_results():
    steps = JOBS["reproduce"]["steps"]
    order = [step.get("run", step.get("uses", "")).partition("@")[0] for step in steps]

    assert steps[0]["with"]["fetch-depth"] == 0
    assert order.index("actions/cache") < order.index("make repro") < order.index(gate()["run"])
    assert "github.event_name == 'pull_request'" == gate()["if"]
    assert {"BASE": "origin/${{ github.base_ref }}", "SEEDS": ""} == gate()["env"]


def test_the_cache_of_dvc_is_kept_by_the_lock():
    (cache,) = [cache for cache in using("cache") if cache["path"] == ".dvc/cache"]

    assert cache["key"] == cache["restore-keys"] + "${{ hashFiles('dvc.lock') }}"


def test_the_cache_of_uv_is_kept_by_the_constraints_in_every_job():
    caches = [cache for cache in using("cache") if cache["path"] == "~/.cache/uv"]

    assert caches
    assert {"uv-${{ runner.os }}-${{ hashFiles('constraints.txt') }}"} == {cache["key"] for cache in caches}


def test_what_is_uploaded_is_what_the_plot_stage_writes():
    """Also where the gate said no: that is when one wants to look."""
    (upload,) = using("upload-artifact")
    outputs = yaml.safe_load((reruns.ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["plot"]["outs"]
    (step,) = [step for step in STEPS if "upload-artifact" in step.get("uses", "")]

    assert outputs == upload["path"].split()
    assert "${{ !cancelled() }}" == step["if"]


def gate() -> dict[str, Any]:
    """The step that runs the gate."""
    (step,) = [step for step in STEPS if step.get("run", "").startswith("make gate")]
    return step


def verify() -> dict[str, Any]:
    """The step of the other job that looks whether dvc.lock is that of the code."""
    (step,) = [step for step in JOBS["check"]["steps"] if step.get("run") == "make verify"]
    return step


def write_noise(project: Project, deviation: float) -> None:
    """A noise file in which every metric has this deviation."""
    scores = json.loads(project.read("metrics/eval.json"))
    metrics = {"accuracy": deviation, "miou": deviation, "iou": dict.fromkeys(scores["iou"], deviation)}
    content = {"commit": None, "metrics": metrics, "protocol": scores["protocol"], "seeds": [2, 3, 4]}
    project.write("metrics/noise.json", json.dumps(content))


SCENES = {"seed": 1, "height": 96, "width": 128, "train": 12, "val": 2, "test": 16}


@pytest.fixture(scope="module")
def upstream(unproduced: Project) -> Project:
    """A project that learnt enough, and is scored on enough images, to have something to lose. Not to be changed."""
    project = unproduced.copy(unproduced.root.with_name("upstream"))
    size = {**project.parameters()["preprocess"], "height": 32, "width": 48}
    project.set(data__synthetic=SCENES, preprocess=size, train__epochs=12, train__learning_rate=0.02)
    project.dvc("repro")
    project.commit("Reproduce")
    return project


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [
        pytest.param({"train__epochs": 1, "train__learning_rate": 1e-5}, 1, "REGRESSION", id="a branch that regresses"),
        pytest.param({"train__epochs": 30}, 0, "PASS", id="a branch that does not"),
        pytest.param({"train__seed": 2}, 0, "INCONCLUSIVE", id="a branch in doubt"),
        pytest.param(
            {"data__synthetic": {**SCENES, "seed": 2}}, 2, "CANNOT JUDGE", id="a branch with another test set"
        ),
    ],
)
def test_the_run_lines_stop_a_branch_that_regresses_and_no_other(upstream, tmp_path, change, code, verdict):
    """In a clone without data or cache, as on a runner. make's own exit code is always 2; it says that of the gate."""
    clone = install(upstream.clone(tmp_path / "cl\u00f6ne"))
    clone.git("checkout", "--quiet", "-b", "branch")
    clone.set(**change)
    if "INCONCLUSIVE" in verdict:
        write_noise(clone, 0.1)
    clone.commit("Change a parameter")
    summary = tmp_path / "summary.md"
    *before, last = [step for step in JOBS["reproduce"]["steps"] if "run" in step]
    assert last is gate()

    for step in before:
        clone.run("bash", "-e", "-c", step["run"])
    clone.run("bash", "-e", "-c", verify()["run"])
    environment = {"BASE": "origin/main", "SEEDS": "", "GITHUB_STEP_SUMMARY": str(summary)}
    said = clone.run("bash", "-e", "-c", last["run"], fails=code != 0, **environment)

    assert (code != 0) is said.endswith(f"Error {code}\n")
    shown, is_doubt = summary.read_text(encoding="utf-8"), verdict == "INCONCLUSIVE"
    assert f"### Gate: {verdict}" in shown
    assert is_doubt is shown.startswith("> [!WARNING]\n> Inconclusive")
    assert is_doubt is ("\n::warning title=Gate inconclusive::" in said)


@pytest.mark.slow
def test_the_check_job_stops_a_branch_whose_lock_is_of_other_parameters(upstream, tmp_path):
    clone = install(upstream.clone(tmp_path / "clone"))
    clone.run("bash", "-e", "-c", verify()["run"])
    clone.set(train__epochs=3)
    clone.commit("Change a parameter, and do not reproduce")

    assert "train would run" in clone.run("bash", "-e", "-c", verify()["run"], fails=True)
