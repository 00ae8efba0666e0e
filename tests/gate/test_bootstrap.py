"""The arithmetic of the gate against brute force, by its laws, and on data with a known truth."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segline.gate import bootstrap, decision
from segline.gate.bootstrap import Interval, Noise
from segline.gate.counts import Side
from segline.gate.decision import Verdict, gather
from segline.gate.pairing import Pair
from segline.gate.rules import Criterion
from segline.scoring import confusion
from tests.gate import sides

CRITERIA = [Criterion("accuracy", 0.01), Criterion("miou", 0.01)]
FEW = settings(max_examples=20)  # each draws thousands of resamples
MATRICES = st.lists(st.lists(st.integers(0, 9), min_size=9, max_size=9), min_size=2, max_size=6)


def triples(matrices: confusion.Counts) -> bootstrap.Counts:
    """(N, K, K) -> (N, K, 3): tp, fp, fn."""
    hit = np.diagonal(matrices, axis1=1, axis2=2)
    return np.stack([hit, matrices.sum(axis=1) - hit, matrices.sum(axis=2) - hit], axis=2)


def side(matrices: confusion.Counts, groups: list[str | None] | None = None) -> Side:
    stems = tuple(f"{row:02d}" for row in range(len(matrices)))
    names = tuple(f"c{k}" for k in range(matrices.shape[1]))
    return Side("x", None, names, stems, tuple(groups or [None] * len(stems)), triples(matrices), {})


def pair(base: confusion.Counts, candidate: confusion.Counts, groups: list[str | None] | None = None) -> Pair:
    return Pair(side(base, groups), side(candidate, groups), {})


def judged(both: Pair, criteria: list[Criterion] = CRITERIA, noise: Noise | None = None) -> list[decision.Finding]:
    return decision.decide(gather(both, criteria), criteria, [noise] * len(criteria))


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Two predictions of the same small truth; no image is empty."""
    base = np.array(draw(MATRICES), np.int64).reshape(-1, 3, 3)
    base[:, 0, 0] += 1
    turns = draw(st.lists(st.integers(0, 2), min_size=len(base), max_size=len(base)))
    candidate = np.stack([np.roll(matrix, turn, axis=1) for matrix, turn in zip(base, turns, strict=True)])
    return pair(base, candidate)


@given(MATRICES)
def test_scores_equal_those_that_evaluate_reports(cells):
    matrices = np.array(cells, np.int64).reshape(-1, 3, 3)
    matrices[0, 0, 0] += 1
    expected = confusion.scores(matrices.sum(axis=0))
    counts = triples(matrices)
    total = counts.sum(axis=0)

    names = ("c0", "c1", "c2")
    for metric, value in {"accuracy": expected.accuracy, "miou": expected.miou}.items():
        assert float(bootstrap.score(metric, total, names)) == pytest.approx(value)
    iou = [float(bootstrap.score(f"iou.{name}", total, names)) for name in names]
    assert iou == pytest.approx(np.where(expected.present, expected.iou, np.nan), nan_ok=True)


def test_the_bootstrap_is_that_of_every_possible_resample():
    """Four images have 256 resamples; the percentiles of the exact distribution are those of the drawn one."""
    true = sides.truth(4)
    base, candidate = sides.predicted(true, 0.9, 1), sides.predicted(true, 0.7, 2)
    both = pair(base, candidate)
    exact = []
    for rows in itertools.product(range(4), repeat=4):
        scores = [confusion.scores(matrices[list(rows)].sum(axis=0)) for matrices in (base, candidate)]
        exact.append([scores[1].accuracy - scores[0].accuracy, scores[1].miou - scores[0].miou])
    evidence = gather(both, CRITERIA)

    assert np.mean(evidence.by_image, axis=0) == pytest.approx(np.mean(exact, axis=0), abs=0.002)
    for share in (0.05, 0.5, 0.95):
        expected = np.quantile(exact, share, axis=0)
        assert np.quantile(evidence.by_image, share, axis=0) == pytest.approx(expected, abs=0.004)


def test_there_are_100_resamples_beyond_each_end_for_any_number_of_criteria():
    true = sides.truth(4)
    units = pair(sides.predicted(true, 0.9), sides.predicted(true, 0.8), ["a", "a", "b", "b"])
    for criteria in (CRITERIA[:1], CRITERIA, [*CRITERIA, Criterion("iou.c0", 0.01)]):
        evidence = gather(units, criteria)
        count = len(criteria)

        assert (4000 * count, count) == evidence.by_image.shape == evidence.by_group.shape
        assert 100 == len(evidence.by_image) * 0.05 / count / 2


def test_draws_do_not_depend_on_the_size_of_batches(monkeypatch):
    whole = np.concatenate(list(bootstrap.draws(5, 50, 9)))
    monkeypatch.setattr(bootstrap, "CELLS", 20)
    parts = list(bootstrap.draws(5, 50, 9))

    assert len(parts) > 5
    assert np.array_equal(whole, np.concatenate(parts))
    assert {5} == {*whole.sum(axis=1)}


@FEW
@given(pairs())
def test_a_side_against_itself_passes_with_a_difference_of_0(both):
    for finding in judged(Pair(both.base, both.base, {})):
        assert (0.0, Interval(0.0, 0.0), Verdict.OK) == (finding.difference, finding.interval, finding.verdict)


@FEW
@given(pairs(), st.sampled_from([None, Noise(0.01, 5)]))
def test_swapping_the_sides_negates_the_estimate_and_mirrors_the_interval(both, noise):
    there = gather(both, CRITERIA)
    back = gather(Pair(both.candidate, both.base, {}), CRITERIA)
    for place in range(2):
        one = bootstrap.interval(there.differences[place], there.by_image[:, place], 0.05, noise)
        other = bootstrap.interval(back.differences[place], back.by_image[:, place], 0.05, noise)

        assert there.differences[place] == -back.differences[place]
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


@FEW
@given(pairs(), st.floats(0.0001, 1), st.integers(2, 30), st.floats(0.001, 0.5))
def test_noise_widens_both_ends_and_the_estimate_stays_inside(both, deviation, seeds, level):
    evidence = gather(both, CRITERIA)
    for place, estimate in enumerate(evidence.differences):
        quiet = bootstrap.interval(estimate, evidence.by_image[:, place], level, None)
        noisy = bootstrap.interval(estimate, evidence.by_image[:, place], level, Noise(deviation, seeds))

        assert noisy.low < quiet.low <= estimate + 1e-9
        assert noisy.high > quiet.high >= estimate - 1e-9


@FEW
@given(pairs(), st.floats(0.001, 0.4), st.floats(0.001, 0.4))
def test_a_lower_level_gives_a_wider_interval(both, level, other):
    level, other = sorted([level, other])
    evidence = gather(both, CRITERIA)
    wide, narrow = (
        bootstrap.interval(evidence.differences[1], evidence.by_image[:, 1], alpha, Noise(0.01, 4))
        for alpha in (level, other)
    )

    assert wide.low <= narrow.low <= narrow.high <= wide.high


def test_images_and_seeds_are_combined_by_pythagoras():
    """3 from the images and 4 from the seeds give 5."""
    replicates = np.array([-3.0, 3.0] * 50)
    deviation = 4 / stats.t.ppf(0.975, 6)

    interval = bootstrap.interval(0.0, replicates, 0.05, Noise(float(deviation), 7))

    assert (interval.low, interval.high) == pytest.approx((-5, 5))


def test_an_estimate_outside_its_percentiles_is_still_in_the_interval():
    interval = bootstrap.interval(1.0, np.array([-0.5, 0.0, 0.5]), 0.05, None)

    assert 1.0 == interval.high
    assert interval.low < -0.4


def test_units_are_groups_and_images_without_one():
    counts = np.arange(5 * 3 * 3).reshape(5, 3, 3)
    unit = bootstrap.unit_of(("b", None, "a", "b", None))
    summed = bootstrap.summed(counts, unit)

    assert np.array_equal(np.stack([counts[2], counts[0] + counts[3], counts[1], counts[4]]), summed)


def test_groups_of_one_image_do_not_count_as_groups():
    assert bootstrap.unit_of(("a", "b", None)) is None


def test_similar_frames_make_the_interval_over_groups_wider():
    """Each image four times: four times as many images, but no more information."""
    true = sides.truth(8)
    base, candidate = (
        np.repeat(sides.predicted(true, rates[:, None], 1), 4, axis=0)
        for rates in (np.full(8, 0.8), np.linspace(0.6, 0.9, 8))
    )
    finding = judged(pair(base, candidate, [f"street {row // 4}" for row in range(32)]))[0]
    alone = judged(pair(base[::4], candidate[::4]))[0]
    widths = [each.high - each.low for each in (finding.interval, finding.by_group, alone.interval)]

    assert widths[1] == pytest.approx(2 * widths[0], rel=0.15)
    assert widths[1] == pytest.approx(widths[2], rel=0.05)
    assert finding.criterion == alone.criterion
    assert alone.by_group is None


def test_a_single_group_has_no_interval():
    true = sides.truth(4)
    both = pair(sides.predicted(true, 0.8), sides.predicted(true, 0.7), ["one"] * 4)

    assert judged(both)[0].by_group is None


def test_images_that_are_void_throughout_change_nothing():
    true = sides.truth(6)
    base, candidate = sides.predicted(true, 0.8), sides.predicted(true, 0.75, 2)
    void = np.zeros((3, 3, 3), np.int64)

    plain = judged(pair(base, candidate))
    padded = judged(pair(np.concatenate([base, void]), np.concatenate([candidate, void])))

    assert plain == padded


@pytest.mark.parametrize("loss", [0.03, 0.1, 0.3])
def test_a_planted_drop_is_a_regression(loss):
    true = sides.truth(40)
    base, candidate = sides.predicted(true, 0.85, 1), sides.predicted(true, 0.85 - loss, 2)

    assert {Verdict.REGRESSION} == {finding.verdict for finding in judged(pair(base, candidate))}
    assert {Verdict.OK} == {finding.verdict for finding in judged(pair(candidate, base))}


def test_a_drop_within_the_noise_is_inconclusive():
    true = sides.truth(40)
    base, candidate = sides.predicted(true, 0.85, 1), sides.predicted(true, 0.82, 2)

    assert {Verdict.INCONCLUSIVE} == {
        finding.verdict for finding in judged(pair(base, candidate), noise=Noise(0.03, 10))
    }


def test_a_floor_looks_at_the_candidate_alone():
    true = sides.truth(40)
    base, candidate = sides.predicted(true, 0.9, 1), sides.predicted(true, 0.8, 2)
    criteria = [Criterion("iou.c0", 0.0, floor) for floor in (0.3, 0.99)]
    passed, broken = judged(pair(base, candidate), criteria)

    assert (Verdict.OK, Verdict.REGRESSION) == (passed.verdict, broken.verdict)
    assert broken.difference == pytest.approx(broken.candidate - 0.99)
    assert "iou.c0 >= 0.99" == broken.criterion.name


def test_resamples_without_a_class_do_not_stop_the_bootstrap():
    """Two of six images have it, so some resamples do not."""
    true = sides.truth(6)
    true[2:, 2] = 0
    criteria = [Criterion("iou.c2", 0.01), Criterion("miou", 0.01)]
    both = pair(sides.predicted(true, 0.9, 1), sides.predicted(true, 0.5, 2))
    wrong = both.base.counts[2:, 2].sum()

    assert wrong > 0  # other classes are taken for it there, and still such a resample says nothing of it
    evidence = gather(both, criteria)
    assert 0 < np.isnan(evidence.by_image[:, 0]).sum() < 0.2 * len(evidence.by_image)
    assert not np.isnan(evidence.by_image[:, 1]).any()
    for finding in judged(both, criteria):
        assert math.isfinite(finding.interval.low)
        assert math.isfinite(finding.interval.high)


def rare(images: int = 60) -> tuple[confusion.Counts, confusion.Counts]:
    """A class in 2 of 60 images. The first side predicts 3 pixels of it in each image; the second none, but is worse.

    A resample without the class would be a mean over three classes on the first side, one of them 0, and over two on
    the second.
    """
    counts = np.zeros((2, images, 3, 3), np.int64)
    for side, rates in enumerate(([0.9] * images, np.linspace(0.8, 0.92, images))):
        right = np.round(500 * np.asarray(rates)).astype(np.int64)
        for k in (0, 1):
            counts[side, :, k, k], counts[side, :, k, 1 - k] = right, 500 - right
    counts[:, :2, 2, 2] = 5000
    counts[0, :, 0, 0] -= 3
    counts[0, :, 0, 2] += 3
    return counts[0], counts[1]


def test_a_rare_class_does_not_hide_a_loss_in_the_others():
    """Both sides of a resample are means over the same classes: those present in its truth."""
    base, candidate = rare()
    there, back = (judged(pair(*both), [Criterion("miou", 0.01)])[0] for both in ((base, candidate), (candidate, base)))

    assert Verdict.REGRESSION is there.verdict
    assert Verdict.OK is back.verdict
    assert there.interval.high < 0 < back.interval.low
    assert (there.interval.low, there.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))


def test_the_iou_of_a_rare_class_comes_from_resamples_that_have_it():
    """In others, a side that predicts it would have IoU 0, and the other side no IoU."""
    base, candidate = rare()
    for both in ((base, candidate), (candidate, base)):
        evidence = gather(pair(*both), [Criterion("iou.c2", 0.01), Criterion("iou.c2", 0.0, 0.4)])
        lost = np.isnan(evidence.by_image)

        assert np.array_equal(lost[:, 0], lost[:, 1])
        assert lost.mean() == pytest.approx((1 - 2 / 60) ** 60, abs=0.02)


def test_one_labelled_image_is_refused():
    counts = sides.predicted(sides.truth(1), 0.9)
    void = np.zeros_like(counts)

    with pytest.raises(Exception, match="only one image with labelled pixels"):
        judged(pair(np.concatenate([counts, void]), np.concatenate([counts, void])))


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_intervals_contain_the_true_difference_19_times_in_20(spread):
    """Images differ in difficulty, seeds move each run, and s is estimated from five others."""
    hits, rounds = 0, 200
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        true = np.full((40, 3), 2000)
        level = rng.normal(0.75, 0.06, (40, 1))
        runs = rng.normal(0, spread, 7)
        base, candidate = (
            sides.predicted(true, np.clip(level + shift + run + rng.normal(0, 0.03, (40, 1)), 0, 1), seed + 1000 * one)
            for one, (shift, run) in enumerate([(0.0, runs[0]), (-0.02, runs[1])])
        )
        noise = Noise(math.sqrt(2) * float(np.std(runs[2:], ddof=1)), 5) if spread else None
        evidence = gather(pair(base, candidate), [CRITERIA[0]])
        interval = bootstrap.interval(evidence.differences[0], evidence.by_image[:, 0], 0.05, noise)
        hits += interval.low <= -0.02 <= interval.high

    assert 0.91 * rounds <= hits <= 0.995 * rounds
