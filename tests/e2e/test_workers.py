"""A training by several workers, as DVC and MLflow see it: like any other."""

import sqlite3
from contextlib import closing

import pytest

from tests.e2e.project import Project, stages_run

pytestmark = pytest.mark.slow


def test_neither_the_lock_nor_the_runs_tell_how_many_workers_trained(project: Project):
    project.set(train__shards=2, model__unet__norm="batch", model__unet__dropout=0.2)
    output = project.dvc("repro", SEGLINE_WORKERS="3", SEGLINE_TRACKING="on")
    lock = project.read("dvc.lock")
    with closing(sqlite3.connect(project.root / "mlflow.db")) as database:
        [runs] = database.execute("select count(*) from runs").fetchone()

    assert "train: SEGLINE_WORKERS is 3 and train.shards 2: 2 train " in output
    assert ["train", "evaluate", "plot"] == stages_run(output)
    assert 1 == runs
    assert set() == project.changed()
    project.dvc("repro", "--force", "--single-item", "train", SEGLINE_WORKERS="1")
    assert lock == project.read("dvc.lock")
