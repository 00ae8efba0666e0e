"""The sweeps of `make sweep`, short and always with the same draws; and that each would notice a fault."""

import os
import shutil
from pathlib import Path

import pytest

from segline.core.errors import DataError
from tests.sweeps import disk, flips, inputs, kills, mlflow
from tests.sweeps.tally import Clock, Random, Tally

pytestmark = pytest.mark.slow
UNBOUNDED = Clock(float("inf"))


def all_well(tally: Tally, count: int) -> bool:
    return (tally.tried, tally.faults) == (count, [])


def test_flipped_bits_are_found(reproduced, tmp_path):
    assert all_well(flips.sweep(reproduced.root, Random(1), 200, UNBOUNDED, tmp_path), 200)


def test_mutated_inputs_are_read_or_refused(tmp_path):
    assert all_well(inputs.sweep(Random(1), 40, UNBOUNDED, tmp_path), 40 * len(inputs.READERS))


def test_failing_disks_are_told_and_recovered_from(reproduced, tmp_path):
    assert all_well(disk.sweep(reproduced, Random(1), 4, UNBOUNDED, tmp_path), 4)


def test_an_outage_changes_no_byte(reproduced, tmp_path):
    assert all_well(mlflow.sweep(reproduced, Random(1), 1, UNBOUNDED, tmp_path), 1)


def test_make_repro_recovers_from_kills(reproduced, tmp_path):
    assert all_well(kills.sweep(reproduced, Random(1), 2, UNBOUNDED, tmp_path), 2)


def test_a_bit_that_nobody_compares_would_be_noticed(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")

    assert "used in silence" == flips.unnoticed(tmp_path / "a", 9, Path.read_bytes, tmp_path / "a")
    assert b"abc" == (tmp_path / "a").read_bytes()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ValueError("unforeseen"), "ValueError: unforeseen"),
        (DataError("a", "x " * 3000, "Fix it."), "an unreadable message"),
        (DataError("a", "broken", "Fix it."), None),
    ],
)
def test_a_reader_that_fails_would_be_noticed(error, fault):
    def read(_: Random) -> None:
        raise error

    assert (fault or "") == (inputs.fault(read, Random(1)) or "")[: len(fault or "")]


def test_a_reader_that_hangs_or_crashes_would_be_noticed(tmp_path, monkeypatch):
    """It ends its process: the parent says where, and continues after that input."""
    monkeypatch.setattr(inputs.sys, "executable", shutil.which("false"))
    tally = Tally("mutated inputs", 3, "read")

    assert 1 == inputs._batch(tally, "png", 1, range(3), UNBOUNDED, tmp_path)
    assert ["mutated inputs: input 0 of png with seed 1: ended with 1 near here: ''"] == tally.faults


@pytest.mark.parametrize(
    ("status", "said", "complaint"),
    [
        (0, "warning: slow", None),
        (1, "error: metrics/eval.json: No space left on device. Free some.", None),
        (1, "error: [Errno 28] No space left on device", "names no file"),
        (1, "error: metrics/.eval.json.partial: No space left on device.", "names no file"),
        (1, "error: a: b. c.\nerror: d: e. f.", "2 lines of errors"),
        (1, "Traceback (most recent call last):\nOSError: no", "a traceback: OSError: no"),
        (-11, "", "exit code -11"),
    ],
)
def test_a_stage_that_ends_badly_would_be_noticed(status, said, complaint):
    assert (complaint or "") == (disk.complaint(status, said) or "")[: len(complaint or "")]


def test_other_bytes_and_leftovers_would_be_noticed(project):
    locked = project.locked()
    (project.root / "metrics/.eval.json.partial").touch()
    assert "left behind: metrics/.eval.json.partial" == disk.different(project.root, locked)

    os.truncate(project.root / "metrics/eval.json", 5)
    assert "metrics/eval.json differs from the reference" == disk.different(project.root, locked)


def test_the_last_line_counts_what_was_tried_and_what_went_well():
    tally = Tally("kills", 20, "recovered")
    tally.note("train", None)
    tally.note("plot", "dvc.lock differs")

    assert "kills 2 of 20 (the time was up): 1 recovered" == tally.line
    assert ["kills: plot: dvc.lock differs"] == tally.faults
