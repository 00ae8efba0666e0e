"""The measurements of the gate run end to end, on data small enough to train on in a second."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gate_broken, gate_drops, gate_power, gate_runs, gate_sequential
from segline.dataset import onehot
from segline.scoring import confusion
from tests import tiny
from tests.gate import sides

ROOT = Path(__file__).parents[2]
TRUE = sides.truth(12)


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    """Six saved runs that differ by chance, and the rules."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.yaml").write_text(sides.RULES)
    for n in range(1, 7):
        sides.save(tmp_path / "runs" / f"seed-{n}", sides.predicted(TRUE, 0.8 + 0.01 * n, n))
    return tmp_path / "runs"


def table(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ][2:]


def test_noise_of_runs_is_their_standard_deviation(runs):
    paths = sorted(runs.iterdir())
    scores = [confusion.accuracy(gate_runs.paired(path, path).base.counts.sum(axis=0)) for path in paths]
    measured = gate_runs.noise(paths)

    assert measured.metrics.accuracy == pytest.approx(np.std(scores, ddof=1), abs=1e-6)
    assert set(sides.NAMES) == measured.metrics.iou.keys()
    assert 6 == len(measured.seeds)


@pytest.mark.parametrize("drop", [0.005, 0.01, 0.05, -0.02])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_drop_is_exactly_as_large_as_asked_and_leaves_the_truth(runs, drop, seed):
    """To 0.01 points, in images of the pipeline's size."""
    large = sides.save(runs / "large", sides.predicted(50 * TRUE, 0.8))
    pair = gate_runs.paired(large, large)
    counts = gate_drops.planted(pair, drop, np.random.default_rng(seed))
    before, after = (float(confusion.miou(one.sum(axis=0))) for one in (pair.base.counts, counts))

    assert before - after == pytest.approx(drop, abs=1e-4)
    assert np.array_equal(confusion.truth(pair.base.counts), confusion.truth(counts))
    assert np.array_equal(counts[..., 1].sum(axis=1), counts[..., 2].sum(axis=1))
    assert counts.min() >= 0


def test_accuracy_moves_in_proportion_to_miou(runs):
    """Classes of about equal size, confused with each other: IoU = r / (2 - r), with slope 2 / (2 - r)^2."""
    pair = gate_runs.paired(runs / "seed-1", runs / "seed-1")

    assert gate_drops.accuracy_of_miou(pair) == pytest.approx((2 - 0.81) ** 2 / 2, rel=0.1)


def test_the_table_of_drops(runs, capsys, monkeypatch):
    monkeypatch.setattr(gate_drops, "DEVIATIONS", (0.0, 0.005))
    monkeypatch.setattr(gate_drops, "DROPS", (0.0, 0.1))
    gate_power.main(["drops", "--folder", str(runs), "--trials", "2"])
    quiet, _ = table(capsys.readouterr().out)

    assert ["0 points", "0% (100%)", "100% (0%)"] == quiet


def test_the_table_of_several_seeds_a_side(runs, capsys, monkeypatch):
    monkeypatch.setattr(gate_sequential, "DROPS", (0.0, 0.2))
    monkeypatch.setattr(gate_sequential, "DEVIATIONS", (0.005,))
    gate_power.main(["sequential", "--folder", str(runs), "--trials", "50"])
    rows = table(capsys.readouterr().out)

    assert [["0 points", "50"], ["20 points", "10"]] * 2 == [row[2:4] for row in rows]
    assert ["100.0%", "100.0%"] == [row[4].strip("*") for row in rows if row[3] == "10"]
    assert ["2.0", "4.0"] == [row[-1] for row in rows if row[3] == "10"]


@pytest.mark.parametrize("deviation", [0.003, 0.02])
def test_simulated_runs_vary_by_the_wanted_deviation_and_plants_lose_the_wanted_drop(runs, deviation):
    large = [sides.save(runs / f"large-{n}", sides.predicted(50 * TRUE, 0.8 + 0.01 * n, n)) for n in range(5)]
    pairs = [gate_runs.paired(path, path) for path in large]
    here = gate_sequential.world(pairs, deviation, 0.02, np.random.default_rng(1))
    drawn = confusion.miou(here.runs(2000, np.random.default_rng(2)).sum(axis=1))
    planted = confusion.miou((here.mean + here.plants).sum(axis=1))

    assert drawn.std() == pytest.approx(deviation, rel=0.1)
    assert float(confusion.miou(here.mean.sum(axis=0))) - planted == pytest.approx(0.02, abs=2e-4)


def test_shifted_labels_are_those_of_one_image_in_twenty():
    labels = np.arange(40 * 2 * 16, dtype=np.uint32).astype(np.uint8).reshape(40, 2, 16)
    changed = gate_power.shifted(labels, 3)
    rows = (changed != labels).any(axis=(1, 2))

    assert 2 == rows.sum()
    assert np.array_equal(changed[rows], np.roll(labels[rows], 2, axis=2))


def test_swapped_classes_are_those_in_the_middle_and_void_stays():
    labels = np.repeat(np.array([0, 1, 2, 3, onehot.VOID], np.uint8), [9, 1, 4, 3, 5]).reshape(1, 1, -1)
    expected = np.repeat(np.array([0, 1, 3, 2, onehot.VOID], np.uint8), [9, 1, 4, 3, 5]).reshape(1, 1, -1)

    assert np.array_equal(expected, gate_power.swapped(labels, 4))


def test_no_broken_baseline_is_green(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.yaml").write_text(sides.RULES)
    sides.save(tmp_path / "metrics", sides.predicted(TRUE, 0.8))

    assert 0 == gate_power.main(["broken"])
    rows = table(capsys.readouterr().out)
    assert len(gate_broken.kinds()) + 2 == len(rows) >= 12
    assert {"2"} == {code for _, code in rows}


@pytest.mark.slow
def test_seeds_and_faults_train_judge_and_resume(tmp_path, monkeypatch, capsys):
    tiny.begin(tmp_path, monkeypatch)
    shutil.copy2(ROOT / "gate.yaml", tmp_path)
    gate_power.main(["seeds", "--folder", "runs", "--runs", "5"])
    rows = table(capsys.readouterr().out)
    made = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.csv")}

    assert {"none", "3 others", "all others"} == {source for source, *_ in rows}
    assert {"20", "2"} == {number for _, _, number, *_ in rows}

    gate_power.main(["faults", "--folder", "runs"])
    faults = table(capsys.readouterr().out)
    assert 4 == len(faults)
    assert {"regression", "inconclusive", "pass"} >= {said for _, said, *_ in faults}

    gate_power.main(["seeds", "--folder", "runs", "--runs", "5"])
    assert rows == table(capsys.readouterr().out)
    assert all(path.stat().st_mtime_ns == time for path, time in made.items())
    assert not list(Path("runs").glob(".*"))
