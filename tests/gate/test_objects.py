"""Objects in the gate: read as evaluate wrote them, resampled as they would be scored anew, and refused if altered."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segline.core import records
from segline.core.errors import DataError, ParameterError
from segline.dataset import processed, raw
from segline.dataset.objects import Objects, table
from segline.dataset.origins import Origin
from segline.gate import bootstrap, decision, judgement, pairing, rules, saved_metrics
from segline.gate.decision import Verdict
from segline.gate.rules import Criterion
from segline.scoring import evaluation
from segline.scoring import objects as scores
from segline.scoring.objects import Matched
from tests import tiny
from tests.gate import sides

CLASSES = (raw.Label("ground", (0, 0, 0)), raw.Label("cell", (9, 9, 9)), raw.Label("dot", (7, 7, 7)))
CRITERIA = [Criterion("pq", 0.01), Criterion("ap50", 0.01), Criterion("miou", 0.01)]
SIZE = (12, 12)


def images(quality: float, count: int = 12, seed: int = 3) -> list[list[Matched]]:
    """Cells and dots of an image, some of them predicted as they are, the others not at all or in two halves."""
    rng, luck = np.random.default_rng(seed), np.random.default_rng(int(1000 * quality))
    found = []
    for _ in range(count):
        truth = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((3, 3), int)) * (rng.random(SIZE) < 0.8)
        own = []
        for chosen in (rng.permutation(16)[:6] + 1, rng.permutation(16)[:3] + 1):
            true = np.where(np.isin(truth, chosen), truth, 0).astype(np.uint16)
            right = [number for number in chosen if luck.random() < quality]
            halves = np.where(np.arange(12) % 3 < 1, 20, 0)[None]
            predicted = np.where(np.isin(truth, right), truth, np.where(true > 0, true + halves, 0)).astype(np.uint16)
            own.append(scores.match(true, predicted, np.ones(SIZE, bool), luck.random(40)))
        found.append(own)
    return found


def index(matched: list[list[Matched]], groups: list[str | None] | None = None) -> processed.Index:
    objects = Objects(("cell", "dot"), 1)
    sha256 = "0" * 64
    numbered = {"objects": "o.png", "sha256_objects": sha256}
    origins = tuple(
        Origin(f"i{row:02d}", group, 8, 8, "i.png", "m.png", sha256, sha256, **numbered)
        for row, group in enumerate(groups or [None] * len(matched))
    )
    form = tiny.stretched(8, 8)
    values, name = ((0, 0), (1, 1), (2, 2)), ("toy", "test")
    labels = table(CLASSES, objects)
    return processed.Index(*name, labels, None, False, "index", values, form, objects=objects, origins=origins)


def save(
    folder: Path, matched: list[list[Matched]], groups: list[str | None] | None = None, *, scored: bool = True
) -> saved_metrics.Saved:
    """What evaluate writes; the pixels are the same whatever the objects."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = sides.predicted(sides.truth(len(matched)), 0.9)
    listed, section = index(matched, groups), {"split": "test", "batch_size": 1, "resamples": 100, "seed": 1}
    own = matched if scored else None
    options = evaluation.Section(**section, objects=None)
    content = evaluation.summary(counts, counts, 0.0, listed, options, matched=own)
    records.write_json(folder / "eval.json", content | {"cost": sides.COST})
    columns = evaluation.image_columns([label.name for label in CLASSES], ("cell", "dot") if scored else ())
    records.write_csv(folder / "per_image.csv", columns, evaluation.image_rows(counts, listed, own))
    return saved_metrics.in_folder(folder, folder.name, "Fix it.")


def pair(folder: Path, base: float, candidate: float, groups: list[str | None] | None = None) -> pairing.Pair:
    return pairing.pair(
        save(folder / "base", images(base), groups), save(folder / "candidate", images(candidate), groups)
    )


def judged(both: pairing.Pair) -> dict[str, decision.Finding]:
    findings = decision.decide(decision.gather(both, CRITERIA), CRITERIA, [None] * len(CRITERIA))
    return {finding.criterion.metric: finding for finding in findings}


def test_both_sides_score_as_evaluate_said(tmp_path):
    found = judged(pair(tmp_path, 0.9, 0.7))
    for side in ("base", "candidate"):
        section = records.read_json(tmp_path / side / "eval.json")["objects"]
        for metric in ("pq", "ap50"):
            assert section[metric] == pytest.approx(getattr(found[metric], side), abs=1.5e-6)


@pytest.mark.parametrize("groups", [None, [f"g{row // 2}" for row in range(12)]])
def test_resamples_are_images_scored_anew(tmp_path, monkeypatch, groups):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)
    both = pair(tmp_path, 0.9, 0.7, groups)
    evidence = decision.gather(both, CRITERIA[:2])
    replicates = evidence.by_group if groups else evidence.by_image
    assert replicates is not None
    units = 6 if groups else 12
    (drawn,) = bootstrap.draws(units, 40, 1)
    per_unit = 12 // units
    sides_of = [images(quality) for quality in (0.9, 0.7)]
    for weights, differences in zip(drawn.astype(int), replicates, strict=True):
        rows = [row for unit, times in enumerate(weights) for _ in range(times) for row in _of(unit, per_unit)]
        anew = [_scored([matched[row] for row in rows]) for matched in sides_of]

        assert differences == pytest.approx([anew[1][metric] - anew[0][metric] for metric in ("pq", "ap50")], abs=1e-5)


def _of(unit: int, per_unit: int) -> range:
    return range(unit * per_unit, (unit + 1) * per_unit)


def _scored(matched: list[list[Matched]]) -> dict[str, float]:
    """Without the intervals, which take long."""
    return scores.summary([*matched], ["cell", "dot"], 1, 1)


def test_a_planted_loss_is_a_regression_of_both_and_of_nothing_else(tmp_path):
    found = judged(pair(tmp_path, 0.95, 0.4))

    assert Verdict.REGRESSION == found["pq"].verdict == found["ap50"].verdict
    assert found["pq"].difference < -0.2
    assert Verdict.OK == found["miou"].verdict


def test_objects_that_differ_in_their_scores_alone_are_not_the_same_predictions(tmp_path):
    """All counts are equal, and AP50 is not: the spread of seeds counts."""
    matched = images(0.6)
    turned = [
        [
            replace(each, predicted=replace(each.predicted, scores=np.round(1 - each.predicted.scores, 4)))
            for each in image
        ]
        for image in matched
    ]
    base, same, other = (
        save(tmp_path / name, each) for name, each in (("base", matched), ("same", matched), ("other", turned))
    )

    assert judgement.same(pairing.pair(base, same))
    assert not judgement.same(pairing.pair(base, other))


def test_equal_objects_pass(tmp_path):
    assert {Verdict.OK} == {finding.verdict for finding in judged(pair(tmp_path, 0.8, 0.8)).values()}


def changed(column: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Changes a field of the first image."""

    def alter(folder: Path) -> None:
        path = folder / "per_image.csv"
        header, first, *others = csv.reader(io.StringIO(path.read_text(), newline=""))
        place = header.index(column)
        first[place] = change(first[place])
        records.write_csv(path, header, [first, *others])

    return alter


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (changed("cell_objects_tp", lambda count: str(int(count) + 1)), "objects that contradict themselves"),
        (changed("cell_objects_fn", lambda _: "-1"), "objects that contradict themselves"),
        (changed("dot_objects_iou", lambda _: "nan"), "objects that contradict themselves"),
        (changed("dot_objects_iou", lambda _: "99.000000"), "objects that contradict themselves"),
        (changed("cell_objects_scores", lambda text: f"{text} 0.5"), "objects that contradict themselves"),
        (changed("cell_objects_scores", lambda text: " ".join(reversed(text.split()))), "contradict themselves"),
        (changed("cell_objects_scores", lambda text: text.replace("+0", "+7", 1)), "contradict themselves"),
        (
            changed("cell_objects_fn", lambda count: str(int(count) + 1)),
            r"objects\.(pq|ap50) is 0\.\d+, but",
        ),
        (lambda folder: sides.edit(folder, lambda one: one["objects"].update(pq=0.5)), r"objects\.pq is 0\.5, but"),
        (lambda folder: sides.edit(folder, lambda one: one["objects"].update(ap50="high")), r"objects\.ap50 is high"),
        (lambda folder: sides.edit(folder, lambda one: one["objects"].pop("ap50")), r"objects\.ap50 is None"),
        (lambda folder: sides.edit(folder, lambda one: one.pop("objects")), "objects are scored in one of it and"),
    ],
)
def test_files_that_contradict_themselves_or_each_other_are_refused(tmp_path, alter, sentence):
    base, candidate = save(tmp_path / "base", images(0.9)), tmp_path / "candidate"
    save(candidate, images(0.8))
    alter(candidate)

    with pytest.raises(DataError, match=sentence):
        pairing.pair(base, saved_metrics.in_folder(candidate, "candidate", "Fix it."))


def test_other_true_objects_are_refused(tmp_path):
    first, *rest = images(0.9)
    base, other = save(tmp_path / "base", [first, *rest]), save(tmp_path / "candidate", [first[::-1], *rest])

    with pytest.raises(DataError, match="different numbers of true objects in"):
        pairing.pair(base, other)


def test_without_objects_on_a_side_they_cannot_be_held(tmp_path):
    both = pairing.pair(save(tmp_path / "base", images(0.9)), save(tmp_path / "other", images(0.9), scored=False))
    claims = rules.Rules(margins={"pq": 0.01}, floors={}, noise="noise.json")

    assert both.images_with_objects is None
    with pytest.raises(ParameterError, match="margins: pq: no such metric"):
        rules.criteria(claims, both.images_by_class, both.images_with_objects, rules.FILE)


def test_other_numbers_are_refused(tmp_path):
    base, folder = save(tmp_path / "base", images(0.9)), tmp_path / "candidate"
    save(folder, images(0.9))
    sides.edit(folder, lambda one: one["objects"].update(data="0123"))

    with pytest.raises(DataError, match=r"objects\.data: '\w{16}' and '0123' \(fingerprint of true objects\)"):
        pairing.pair(base, saved_metrics.in_folder(folder, "candidate", "Fix it."))


def test_the_fingerprint_of_objects_is_of_their_numbers_and_classes_alone():
    listed = index([[]] * 3)
    first, *rest = listed.origins
    other = replace(listed, origins=(replace(first, sha256_objects="1" * 64), *rest))
    fewer = replace(listed, classes=listed.classes[:-1], objects=Objects(("cell",), 1))
    plain = replace(listed, classes=CLASSES, objects=None)

    assert evaluation.objects_hash(listed) == evaluation.objects_hash(
        replace(listed, objects=Objects(("cell", "dot"), 3))
    )
    assert 3 == len({evaluation.objects_hash(one) for one in (listed, other, fewer)})
    assert 1 == len({evaluation.data_hash(one) for one in (listed, other, fewer, plain)})


def test_objects_in_one_image_are_too_few(tmp_path):
    claims = rules.Rules(margins={"ap50": 0.01}, floors={}, noise="noise.json")

    assert [Criterion("ap50", 0.01)] == rules.criteria(claims, {}, 2, rules.FILE)
    with pytest.raises(ParameterError, match="there are objects in 1 image of the split, at least two are needed"):
        rules.criteria(claims, {}, 1, rules.FILE)


def test_noise_of_objects_is_that_of_noise_json():
    content = {"accuracy": 0.1, "miou": 0.1, "iou": {}, "objects": {"pq": 0.02}}
    noise = rules.SeedNoise(commit=None, metrics=content, protocol={}, seeds=[1, 2, 3])

    found = rules.of_criterion(noise, Criterion("pq", 0.01), Path("noise.json"))

    assert pytest.approx(0.02 * 2**0.5) == found.deviation
    with pytest.raises(DataError, match=r"metrics\.ap50: missing"):
        rules.of_criterion(noise, Criterion("ap50", 0.01), Path("noise.json"))
