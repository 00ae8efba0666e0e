"""The sweep of docs/scale.md with Ray Tune, as it is written there."""

import json
import re

import pytest

from tests.cluster.conftest import ROOT
from tests.e2e.conftest import unproduced  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow


def documented() -> str:
    """The only Python of docs/scale.md."""
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    [program] = re.findall(r"^```python\n(.+?)^```$", page, re.DOTALL | re.MULTILINE)
    return program


def test_each_trial_is_an_experiment_of_dvc(nodes, unproduced, tmp_path):  # noqa: F811
    """They share what is the same for all. In plain letters: DVC 3.67 writes no others into its configuration."""
    project = unproduced.copy(tmp_path / "my project")
    project.dvc("repro", "preprocess")
    project.commit("Preprocess")
    (tmp_path / "sweep.py").write_text(documented(), encoding="utf-8")
    ray = {name: value for name, value in nodes.environment.items() if name.startswith("RAY_")}
    output = project.run("python", str(tmp_path / "sweep.py"), **ray)
    shown = json.loads(project.dvc("exp", "show", "--json"))
    rows = [row for entry in shown for group in entry["experiments"] or [] for row in group["revs"]]
    rates = {row["name"]: row["data"]["params"]["params.yaml"]["data"]["train"]["learning_rate"] for row in rows}
    scores = {row["name"]: row["data"]["metrics"]["metrics/eval.json"]["data"]["miou"] for row in rows}
    best = max(scores, key=scores.__getitem__)

    assert {"rate-0.0003": 0.0003, "rate-0.003": 0.003} == rates
    assert f"{{'learning_rate': {rates[best]}}} {scores[best]}" in output.splitlines()
    assert "" == project.git("status", "--porcelain")
