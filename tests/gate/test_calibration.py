"""The gate holds the calibration error: a rise is a loss, judged over resampled images like the other scores."""

from pathlib import Path

import numpy as np
import pytest

from segline.core import records
from segline.core.errors import DataError, ParameterError
from segline.gate import bootstrap, decision, judgement, pairing, rules, saved_metrics
from segline.gate.decision import Verdict
from segline.gate.rules import Criterion
from segline.scoring import calibration, confusion, evaluation
from segline.scoring.calibration import BINS, ONE, Calibrated
from tests.gate import sides

CRITERIA = [Criterion("ece", 0.01), Criterion("miou", 0.01)]


def confidences(counts: confusion.Counts, excess: float) -> calibration.Counts:
    """Counts (N, B, 3) of pixels that say to be right by `excess` more often than they are, in two bins."""
    pixels, right = counts.sum(axis=(1, 2)), np.trace(counts, axis1=1, axis2=2)
    found = np.zeros((len(counts), BINS, 3), np.int64)
    for place, share in ((12, 0.25), (14, 0.75)):
        own = (pixels * share).astype(int)
        hits = (right * share).astype(int)
        found[:, place] = np.stack([own, hits, hits * ONE + (own * excess * ONE).astype(int)], axis=-1)
    rest = pixels - found[..., 0].sum(axis=-1), right - found[..., 1].sum(axis=-1)
    found[:, 14, 0] += rest[0]
    found[:, 14, 1] += rest[1]
    found[:, 14, 2] += rest[1] * ONE
    return found


def save(folder: Path, excess: float | None, seed: int = 1) -> Path:
    counts = sides.predicted(sides.truth(), 0.9, seed)
    sides.save(folder, counts)
    if excess is not None:
        names, index = list(sides.NAMES), sides._index(counts, sides.NAMES, None)
        found = Calibrated(confidences(counts, excess), 1.2)
        section = evaluation.Section(split="test", batch_size=1, resamples=100, seed=1, objects=None)
        content = evaluation.summary(counts, counts, 0.0, index, section, calibrated=found)
        records.write_json(folder / "eval.json", content | {"cost": sides.COST})
        rows = evaluation.image_rows(counts, index, calibrated=found)
        records.write_csv(folder / "per_image.csv", evaluation.image_columns(names, calibrated=True), rows)
    return folder


def pair(folder: Path, base: float | None, candidate: float | None) -> pairing.Pair:
    both = (save(folder / name, excess) for name, excess in (("base", base), ("candidate", candidate)))
    return pairing.pair(*(saved_metrics.in_folder(side, side.name, "Fix it.") for side in both))


def judged(both: pairing.Pair) -> dict[str, decision.Finding]:
    return {finding.criterion.metric: finding for finding in judgement.findings(both, CRITERIA, None, Path("n"))}


def test_a_model_that_is_surer_than_it_should_be_is_a_regression_of_the_error_alone(tmp_path):
    found = judged(pair(tmp_path, 0.01, 0.06))

    assert Verdict.REGRESSION is found["ece"].verdict
    assert (found["ece"].base, found["ece"].candidate) == pytest.approx((0.01, 0.06), abs=1e-3)
    assert found["ece"].difference == pytest.approx(-0.05, abs=1e-3)
    assert Verdict.OK is found["miou"].verdict


def test_a_fall_of_the_error_passes(tmp_path):
    assert Verdict.OK is judged(pair(tmp_path, 0.06, 0.01))["ece"].verdict


def test_resamples_are_the_errors_of_the_images_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    both = pair(tmp_path, 0.01, 0.06)
    evidence = decision.gather(both, CRITERIA[:1])
    (drawn,) = bootstrap.draws(20, 20, 1)
    for weights, (difference,) in zip(drawn.astype(int), evidence.by_image, strict=True):
        rows = np.repeat(np.arange(20), weights)
        errors = [
            calibration.ece(side.gaps[rows].sum(axis=0), confusion.truth(side.counts[rows]).sum())
            for side in (both.base, both.candidate)
        ]

        assert difference == pytest.approx(errors[0] - errors[1])


def test_equal_predictions_of_other_confidence_are_not_the_same(tmp_path):
    assert not judgement.same(pair(tmp_path / "a", 0.01, 0.06))
    assert judgement.same(pair(tmp_path / "b", 0.06, 0.06))


@pytest.mark.parametrize("sides_with", [(None, 0.01), (0.01, None)])
def test_metrics_of_an_older_version_are_judged_without_it_and_refused_where_it_is_held(tmp_path, sides_with):
    both = pair(tmp_path, *sides_with)
    own = rules.parse_rules(sides.RULES.replace("  miou", "  ece: 0.01\n  miou").encode(), "gate.yaml")

    assert Verdict.OK is judgement.findings(both, CRITERIA[1:], None, Path("n"))[0].verdict
    with pytest.raises(ParameterError, match=r"margins: ece: an older version evaluated one of the sides"):
        rules.criteria(own, both.images_by_class, None, "gate.yaml", calibrated=both.calibrated)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (" 0 0", " 0", "expected 15 whole numbers"),
        (" 0 0", " 0 0.5", "expected 15 whole numbers"),
        (" 0 0", " 0 99999999", r"ece is 0\.\d+, but the counts of per_image.csv give"),
        ("confidence_gaps", "gaps", "expected image, group"),
    ],
)
def test_confidences_that_contradict_the_scores_are_refused(tmp_path, old, new, sentence):
    path = save(tmp_path / "base", 0.05) / "per_image.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(DataError, match=sentence):
        pairing.pair(*[saved_metrics.in_folder(path.parent, "base", "Fix it.")] * 2)


def test_an_error_without_the_images_it_comes_from_is_refused(tmp_path):
    folder = save(tmp_path / "base", 0.05)
    sides.edit(folder, lambda content: content.pop("ece"))

    with pytest.raises(DataError, match=r"ece is in one of it and per_image\.csv, not in both"):
        pairing.pair(*[saved_metrics.in_folder(folder, "base", "Fix it.")] * 2)
