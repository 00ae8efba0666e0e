"""The sweep of docs/scale.md: DVC's queue, as it is written there."""

import json
import re
import shlex

import pytest

from tests.contract.closure import ROOT

pytestmark = pytest.mark.slow


def documented() -> list[list[str]]:
    """The words of the lines of docs/scale.md that begin with `dvc exp`."""
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    return [shlex.split(line) for line in re.findall(r"^dvc exp .+$", page, re.MULTILINE)]


def test_the_queue_of_the_documents_trains_each_experiment(ascii_project):
    """Those run in copies of their own: their scores are in git, under their names."""
    *commands, show = documented()
    for words in commands:
        ascii_project.run("python", "-m", *words)
    shown = json.loads(ascii_project.run("python", "-m", *show, "--json"))
    rows = [row for entry in shown for group in entry["experiments"] or [] for row in group["revs"]]
    rates = {row["name"]: row["data"]["params"]["params.yaml"]["data"]["train"]["learning_rate"] for row in rows}
    scores = {row["name"]: row["data"]["metrics"]["metrics/eval.json"]["data"] for row in rows}

    assert {"slow": 0.0003, "fast": 0.003} == rates
    assert {"slow", "fast"} == {name for name, score in scores.items() if 0 <= score["accuracy"] <= 1}
