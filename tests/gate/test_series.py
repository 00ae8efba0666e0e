"""Several seeds a side: seeds and images crossed, their two variances, and what follows for the verdict."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks import gate_folds, gate_normal
from segline.gate import decision, series
from segline.gate.bootstrap import Noise
from segline.gate.decision import Verdict
from segline.gate.rules import Criterion
from segline.gate.samples import Sample
from tests.gate import sides

TRUE = sides.truth(24)
CLAIMS = [Criterion("accuracy", 0.01), Criterion("miou", 0.01)]
PLAN = series.plan(5, 5)


def pairs_of(folder, drop: float, count: int, deviation: float = 0.003, groups=None) -> list:
    """Runs of both sides, of which the candidate's are worse by `drop`, with luck of this deviation."""
    draw = np.random.default_rng(3)
    made = []
    for number in range(count):
        rates = [0.8 - loss + deviation * draw.normal() for loss in (0.0, drop)]
        counts = [sides.predicted(100 * TRUE, rate, int(draw.integers(1 << 30))) for rate in rates]
        made.append(sides.pair(folder / str(number), *counts, groups))
    return made


def judged(pairs, noise: Noise | None = None, claims=CLAIMS, plan=PLAN):
    evidence = series.gather(pairs, claims, same=False)
    return series.decide(evidence, claims, [noise] * len(claims), plan)


def test_two_pairs_catch_a_large_loss_and_more_a_smaller_one(tmp_path):
    known = Noise(np.sqrt(2) * 0.005, 5)
    large, small = pairs_of(tmp_path / "large", 0.1, 2), pairs_of(tmp_path / "small", 0.025, 5, 0.005)

    assert Verdict.REGRESSION is decision.overall(judged(large, known))
    assert Verdict.INCONCLUSIVE is decision.overall(judged(small[:2], known))
    assert Verdict.REGRESSION is decision.overall(judged(small, known))


def test_equal_recipes_do_not_alarm_and_pass_in_time(tmp_path):
    pairs = pairs_of(tmp_path, 0.0, 5, 0.002)
    verdicts = [decision.overall(judged(pairs[:count], Noise(np.sqrt(2) * 0.002, 5))) for count in (2, 3, 4, 5)]

    assert Verdict.REGRESSION not in verdicts
    assert Verdict.OK is verdicts[-1]


def test_scores_are_means_over_the_seeds_and_the_reach_is_what_a_loss_must_exceed(tmp_path):
    pairs = pairs_of(tmp_path, 0.02, 3)
    finding = judged(pairs)[0]
    scores = [[side.counts[..., 0].sum() / TRUE.sum() / 100 for side in (pair.base, pair.candidate)] for pair in pairs]

    assert [finding.base, finding.candidate] == pytest.approx(np.mean(scores, axis=0))
    assert finding.reach == max(0.01, finding.interval.high - finding.difference)
    assert 3 == finding.runs


def test_the_variance_over_seeds_is_pooled_by_degrees_of_freedom():
    base, candidate = np.array([0.5, 0.7]), np.array([0.4, 0.5, 0.6])
    within = 0.02 + 0.02

    assert series.pooled([base, candidate], None) == pytest.approx((2 * within / 3, 3))
    assert series.pooled([base, candidate], Noise(0.3, 5)) == pytest.approx(((2 * within + 4 * 0.09) / 7, 7))
    assert series.pooled([candidate], None) == pytest.approx((0.01, 2))
    assert (0.0, 0) == series.pooled([], Noise(0.3, 5))


@pytest.mark.parametrize(("shared", "own"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_the_covariance_is_that_which_images_give_all_pairs_in_common(shared, own):
    """Means of images: an effect of the image alone, and one of image and seed. Only the first is in common."""
    draw = np.random.default_rng(1)
    found = []
    for _ in range(300):
        values = shared * draw.normal(size=(1, 40)) + own * draw.normal(size=(3, 40))
        left = (values.sum(axis=1, keepdims=True) - values) / 39
        found.append(series.shared(left[..., None]).covariance[0])

    assert np.mean(found) == pytest.approx(shared / 40, rel=0.1, abs=0.0025)


@pytest.mark.parametrize(("shared", "own", "pairs"), [(1.0, 0.0, 2), (1.0, 0.5, 2), (1.0, 1.0, 4)])
def test_the_doubt_of_the_covariance_is_half_its_variance(shared, own, pairs):
    draw = np.random.default_rng(1)
    values = shared * draw.normal(size=(1, 10, 20_000)) + own * draw.normal(size=(pairs, 10, 20_000))
    found = series.shared((values.sum(axis=1, keepdims=True) - values) / 9)

    assert np.var(found.covariance) == pytest.approx(2 * np.mean(found.doubt) * 9 / 11, rel=0.12)


def test_many_images_are_left_out_in_parts():
    """The weights of all at once would be 288 MB."""
    counts = np.random.default_rng(1).integers(1, 9, (6000, 3, 3))
    sample = Sample(sides.NAMES, counts, None, None)
    tracemalloc.start()
    left = series._left_out(sample, CLAIMS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 8 * 6000**2 / 2
    last = sample.scores(CLAIMS, 1.0 - np.eye(1, 6000, 5999))
    assert left[-1] == pytest.approx(last[0], abs=1e-12)


def test_without_a_difference_in_any_image_nothing_is_doubtful(tmp_path):
    """Equal sides, whose seeds differ: no seed lies between them."""
    pairs = [replace(pair, candidate=pair.base) for pair in pairs_of(tmp_path, 0.0, 2, 0.05)]
    findings = series.decide(series.gather(pairs, CLAIMS, same=True), CLAIMS, [Noise(0.05, 5)] * 2, PLAN)

    assert {(0.0, 0.0)} == {(finding.interval.low, finding.interval.high) for finding in findings}
    assert Verdict.OK is decision.overall(findings)


def test_a_floor_is_about_the_candidate_alone(tmp_path):
    pairs = pairs_of(tmp_path, 0.0, 4)
    claims = [Criterion("accuracy", 0.0, 0.7), Criterion("accuracy", 0.0, 0.9)]
    kept, missed = judged(pairs, claims=claims)

    assert (Verdict.OK, Verdict.REGRESSION) == (kept.verdict, missed.verdict)
    assert kept.seeds < judged(pairs, claims=[Criterion("accuracy", 0.7)] * 2)[0].seeds


def test_without_doubt_from_seeds_folds_are_judged_by_the_t_test():
    by_fold = np.random.default_rng(1).normal(size=(6, 1))
    left = (by_fold.sum(axis=0) - by_fold) / 5
    over = series.over_units(left)
    half = series.half_width(0.025, (over.covariance, over.doubt))
    expected = stats.ttest_1samp(by_fold[:, 0], 0.0).confidence_interval(0.95)

    assert (expected.high - expected.low) / 2 == pytest.approx(half[0])


@pytest.mark.parametrize("kind", gate_folds.KINDS)
@pytest.mark.parametrize("seeds", [2, 5])
def test_cross_validations_of_equal_recipes_rarely_end_as_a_regression(kind, seeds):
    """Four standard errors above 5 %."""
    assert gate_folds.alarms(5, seeds, gate_folds.KINDS[kind], 4000) <= 4000 * 0.064


def test_what_images_and_seeds_leave_makes_up_the_interval(tmp_path):
    """A part alone has fewer degrees of freedom, and could look wider than both together."""
    for finding in judged(pairs_of(tmp_path, 0.02, 3), Noise(np.sqrt(2) * 0.005, 5)):
        half = (finding.interval.high - finding.interval.low) / 2

        assert np.hypot(finding.images, finding.seeds) == pytest.approx(half, abs=1e-6)


def test_groups_widen_what_images_alone_would_leave(tmp_path):
    groups = [f"video-{row // 6}" for row in range(24)]
    finding = judged(pairs_of(tmp_path, 0.02, 3, groups=groups))[0]

    assert finding.by_group is not None
    assert judged(pairs_of(tmp_path / "none", 0.02, 3))[0].by_group is None


@pytest.mark.parametrize(("kind", "images"), [("seeds", 10), ("images", 10), ("both", 60)])
def test_false_alarms_stay_below_the_error_and_losses_are_found(kind, images):
    """Gates of normal scores; the benchmark that this is a part of makes more of them."""
    world = gate_normal.World(budget=5, noise=5, images=images, kind=gate_normal.KINDS[kind])
    alarms, passes = (gate_normal.simulated(world, loss, 10_000) for loss in (0.0, gate_normal.MARGIN))
    found = gate_normal.simulated(world, 5 * gate_normal.MARGIN, 200)

    assert stats.binomtest(alarms.regressions, 10_000, 0.05, "greater").pvalue > 0.01 < alarms.regressions / 10_000
    assert stats.binomtest(passes.passes, 10_000, 0.05, "greater").pvalue > 0.01
    assert found.regressions > 190


def test_the_simulated_gates_are_judged_as_those_of_a_user():
    world = gate_normal.World(budget=5, noise=5, images=10, kind=gate_normal.KINDS["both"])
    scores, left, noise = gate_normal.drawn(world, 20, np.random.default_rng(1))
    difference, half = gate_normal.judged(scores[:, :3], left[:3], noise, PLAN)
    for gate in range(20):
        known = series.Evidence(*scores[:, :3, [gate]], series.shared(left[:3, :, [gate]]), None, same=False)
        [finding] = series.decide(known, CLAIMS[:1], [Noise(noise.deviation[gate], 5)], PLAN)

        assert finding.difference == pytest.approx(difference[gate])
        assert finding.interval.high - finding.difference == pytest.approx(half[gate])
