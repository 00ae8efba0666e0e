"""The whole pipeline on two Ray nodes, as DVC sees it: like on one machine."""

import sqlite3
from contextlib import closing

import pytest

from tests.e2e import reruns
from tests.e2e.conftest import fresh, unproduced  # noqa: F401 - fixtures
from tests.e2e.project import stages_run

pytestmark = pytest.mark.slow


def test_a_repro_on_two_nodes_gives_the_lock_and_the_runs_of_one_machine(nodes, fresh):  # noqa: F811
    fresh.set(train__shards=2)
    fresh.dvc("repro")
    expected = fresh.locked()
    ray = {name: value for name, value in nodes.environment.items() if name.startswith("RAY_")}
    output = fresh.dvc("repro", "--force", SEGLINE_TRACKING="on", **ray)
    with closing(sqlite3.connect(fresh.root / "mlflow.db")) as database:
        [runs] = database.execute("select count(*) from runs").fetchone()

    assert list(reruns.STAGES) == stages_run(output)
    assert "train: 2 workers on Ray" in output
    assert "warning" not in output
    assert 1 == runs
    assert expected == fresh.locked()
