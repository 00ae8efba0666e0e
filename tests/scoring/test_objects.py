"""Matches, qualities and kinds of objects, compared with pycocotools and with their definitions."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from segline.scoring import objects
from segline.scoring.objects import INVENTED, KINDS, MATCHED, MERGED, MISSED, SPLIT

SHAPE = (5, 6)
NUMBERS = arrays.arrays(np.uint16, SHAPE, elements=st.integers(0, 3))


@st.composite
def pictures(draw):
    """True and predicted numbers that often agree, what is known of the truth, and scores with ties."""
    truth = draw(NUMBERS)
    predicted = np.where(
        draw(arrays.arrays(np.bool_, SHAPE, elements=st.integers(0, 9).map(bool))), truth, draw(NUMBERS)
    )
    known = draw(arrays.arrays(np.bool_, SHAPE, elements=st.integers(0, 7).map(bool)))
    count = int(predicted.max(initial=0))
    scores = draw(arrays.arrays(np.float64, count, elements=st.sampled_from([0.25, 0.5, 0.75, 1.0])))
    return np.where(known, truth, 0).astype(np.uint16), predicted.astype(np.uint16), known, scores


def iou(truth: np.ndarray, t: int, predicted: np.ndarray, p: int, known: np.ndarray) -> float:
    one, other = truth == t, (predicted == p) & known
    return (one & other).sum() / (one | other).sum()


def mostly_unknown(predicted: np.ndarray, known: np.ndarray, p: int) -> bool:
    return 2 * (~known & (predicted == p)).sum() > (predicted == p).sum()


def judged(truth: np.ndarray, predicted: np.ndarray, known: np.ndarray) -> list[int]:
    """Those that match, and of the others those that are not mostly where the truth is unknown."""
    true, numbers = ([n for n in np.unique(image).tolist() if n] for image in (truth, predicted))
    matched = {p for p in numbers for t in true if iou(truth, t, predicted, p, known) > 0.5}
    return [p for p in numbers if p in matched or not mostly_unknown(predicted, known, p)]


def coco(images: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]):
    """pycocotools itself, from run lengths of every object, evaluated and accumulated.

    It ignores what matches none and has an area out of its range: that of objects mostly where the truth is unknown.
    """
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    true, predicted, unknown = [], [], []
    for image, (truth, numbers, known, scores) in enumerate(images, start=1):
        for t in np.unique(truth[truth > 0]):
            runs = coco_mask.encode(np.asfortranarray(truth == t))
            place = {"id": len(true) + 1, "image_id": image, "category_id": 1, "iscrowd": 0}
            true.append({**place, "segmentation": runs, "area": int((truth == t).sum())})
        for p in judged(truth, numbers, known):
            runs = coco_mask.encode(np.asfortranarray((numbers == p) & known))
            score = round(float(scores[p - 1]), 4)
            predicted.append({"image_id": image, "category_id": 1, "segmentation": runs, "score": score})
            unknown.append(mostly_unknown(numbers, known, p))
    with redirect_stdout(io.StringIO()):
        reference = COCO()
        listed = [{"id": number, "height": SHAPE[0], "width": SHAPE[1]} for number in range(1, len(images) + 1)]
        reference.dataset = {"images": listed, "categories": [{"id": 1}], "annotations": true}
        reference.createIndex()
        if not (true and predicted):
            return None
        results = reference.loadRes(predicted)
        for one, is_unknown in zip(results.anns.values(), unknown, strict=True):
            one["area"] = 1e11 if is_unknown else one["area"]
        evaluation = COCOeval(reference, results, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


@given(picture=pictures())
def test_overlaps_are_those_counted_pixel_by_pixel(picture):
    truth, predicted, known, _ = picture
    found = objects.overlaps(truth, predicted, known)

    assert [n for n in np.unique(truth).tolist() if n] == found.true.tolist()
    assert judged(truth, predicted, known) == found.predicted.tolist()
    assert [(truth == t).sum() for t in found.true] == found.true_areas.tolist()
    assert [((predicted == p) & known).sum() for p in found.predicted] == found.predicted_areas.tolist()
    expected = {
        (i, j): iou(truth, t, predicted, p, known)
        for i, t in enumerate(found.true)
        for j, p in enumerate(found.predicted)
    }
    assert {pair: value for pair, value in expected.items() if value} == dict(
        zip(map(tuple, found.pairs.tolist()), found.iou.tolist(), strict=True)
    )


@given(images=st.lists(pictures(), min_size=1, max_size=4))
def test_average_precision_is_that_of_pycocotools_from_run_lengths(images):
    evaluation = coco(images)
    matches = [[objects.match(*picture)] for picture in images]
    summary = objects.summary(matches, ["cell"], 100, 1)
    if evaluation is None:
        rates = [each[0].predicted for each in matches]
        assert ("ap" in summary) == any(rate.truths for rate in rates)
        assert summary.get("ap", 0) == 0
        return
    precision = evaluation.eval["precision"][:, :, 0, 0, 2].mean(axis=1)

    assert precision.mean() == pytest.approx(summary["ap"], abs=1e-12)
    assert precision[0] == pytest.approx(summary["ap50"], abs=1e-12)
    assert precision[5] == pytest.approx(summary["ap75"], abs=1e-12)


@given(picture=pictures())
def test_panoptic_quality_is_its_definition(picture):
    truth, predicted, known, _ = picture
    match = objects.match(*picture)
    numbers = [n for n in np.unique(truth).tolist() if n], judged(truth, predicted, known)
    ious = [iou(truth, t, predicted, p, known) for t in numbers[0] for p in numbers[1]]
    matched = [value for value in ious if value > 0.5]
    fp, fn = (len(each) - len(matched) for each in (numbers[1], numbers[0]))

    assert (len(matched), fp, fn) == (match.tp, match.fp, match.fn)
    quality = objects.panoptic(match.cells)
    if not numbers[0]:
        assert np.isnan(quality).all()
    else:
        assert sum(matched) / (len(matched) + fp / 2 + fn / 2) == pytest.approx(quality[0])
        assert quality[0] == pytest.approx(quality[1] * quality[2] if matched else 0)


@given(picture=pictures())
def test_kinds_are_those_of_their_definitions(picture):
    truth, predicted, known, _ = picture
    found = objects.overlaps(truth, predicted, known)
    true, other = objects.kinds(found)
    pixels = {(t, p): ((truth == t) & (predicted == p)).sum() for t in found.true for p in found.predicted}
    areas = dict(zip(found.true.tolist(), found.true_areas.tolist(), strict=True))
    own = dict(zip(found.predicted.tolist(), found.predicted_areas.tolist(), strict=True))
    merging = {p for p in own if sum(2 * pixels[t, p] > areas[t] for t in areas) > 1}
    parted = {t for t in areas if sum(2 * pixels[t, p] > own[p] for p in own) > 1}
    same = {pair for pair in pixels if iou(truth, pair[0], predicted, pair[1], known) > 0.5}
    for t, kind in zip(areas, true.tolist(), strict=True):
        swallowed = any(2 * pixels[t, p] > areas[t] for p in merging)
        expected = MERGED if swallowed else SPLIT if t in parted else MISSED
        assert KINDS[MATCHED if t in {t for t, _ in same} else expected] == KINDS[kind]
    for p, kind in zip(own, other.tolist(), strict=True):
        part = any(2 * pixels[t, p] > own[p] for t in parted)
        expected = MERGED if p in merging else SPLIT if part else INVENTED
        assert KINDS[MATCHED if p in {p for _, p in same} else expected] == KINDS[kind]


def row(*numbers: int) -> np.ndarray:
    return np.array([numbers], np.uint16)


@pytest.mark.parametrize(
    ("truth", "predicted", "true", "other"),
    [
        ("1111", "1111", ["matched"], ["matched"]),
        ("1111", "1122", ["split"], ["split", "split"]),
        ("1122", "1111", ["merged", "merged"], ["merged"]),
        ("1100", "0011", ["missed"], ["invented"]),
        ("1111", "1000", ["missed"], ["invented"]),
        ("111112", "111111", ["matched", "merged"], ["matched"]),
        ("111111", "111112", ["matched"], ["matched", "split"]),
        ("0000", "0000", [], []),
    ],
)
def test_what_became_of_an_object_and_what_a_predicted_one_is(truth, predicted, true, other):
    match = objects.match(row(*map(int, truth)), row(*map(int, predicted)), np.ones((1, len(truth)), bool), np.ones(3))

    assert true == [KINDS[kind] for kind in match.true_kinds]
    assert other == [KINDS[kind] for kind in match.predicted_kinds]


def test_an_object_that_lies_where_the_truth_is_unknown_is_not_judged():
    known = np.array([[True, False, False, True, True, False]])
    match = objects.match(row(0, 0, 0, 2, 2, 0), row(1, 1, 1, 2, 2, 2), known, np.array([0.9, 0.8]))

    assert [2] == match.overlaps.predicted.tolist()
    assert (1, 0, 0, 1.0) == match.cells
    assert [0.8] == match.predicted.scores.tolist()


def test_an_object_that_matches_is_found_even_if_most_of_it_lies_where_the_truth_is_unknown():
    truth, predicted, known = np.zeros((3, 1, 25), np.uint16)
    truth[:, :10], predicted[:, :22], known[:, :10] = 1, 1, 1
    match = objects.match(truth, predicted, known > 0, np.array([0.9]))

    assert (1, 0, 0, 1.0) == match.cells
    assert match.predicted.hits.all()


def test_such_an_object_counts_for_nothing_at_a_threshold_that_it_misses():
    """Its IoU of 0.6 is a match up to there; above, a true object is missed, and nothing is wrong."""
    known = np.arange(20) < 10
    match = objects.match(row(*[1] * 10, *[0] * 10), row(*[1] * 6, *[0] * 4, *[1] * 10), known[None], np.array([0.9]))

    assert [True] * 3 + [False] * 7 == match.predicted.hits[0].tolist()
    np.testing.assert_array_equal(~match.predicted.hits, match.predicted.ignored)


def test_a_true_object_that_two_claim_goes_to_the_one_with_the_higher_score():
    """Both have an IoU of exactly 0.5, which pycocotools counts as a match and panoptic quality does not."""
    match = objects.match(row(1, 1), row(1, 2), np.ones((1, 2), bool), np.array([0.3, 0.6]))

    assert [False, True] == match.predicted.hits[:, 0].tolist()
    assert not match.predicted.hits[:, 1:].any()
    assert (0, 2, 1, 0.0) == match.cells


def pictured(seed: int, count: int) -> list[list[objects.Matched]]:
    """Images of two classes that differ in how well they are predicted."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        truth = rng.integers(0, 4, SHAPE).astype(np.uint16)
        predicted = np.where(rng.random(SHAPE) < number / count, truth, rng.integers(0, 4, SHAPE)).astype(np.uint16)
        images.append([objects.match(truth, predicted, np.ones(SHAPE, bool), rng.random(3)) for _ in range(2)])
    return images


def test_intervals_are_those_of_images_scored_anew_in_each_resample():
    images = pictured(2, 5)
    intervals = objects.intervals(images, 200, 7)

    drawn = np.random.default_rng(7).integers(0, 5, (200, 5))
    scored = [objects.summary([images[place] for place in rows], ["a", "b"], 100, 1) for rows in drawn]
    for name in ("ap", "ap50", "ap75", "pq", "sq", "rq"):
        values = [each[name] for each in scored if name in each]
        low, high = np.percentile(values, [2.5, 97.5])
        assert (low, high) == pytest.approx((intervals[name]["low"], intervals[name]["high"]), abs=1e-9)


def test_without_a_true_object_rates_are_undefined_and_counts_are_there():
    empty, some = np.zeros(SHAPE, np.uint16), np.ones(SHAPE, np.uint16)
    known = np.ones(SHAPE, bool)
    images = [[objects.match(empty, some, known, np.ones(1)), objects.match(some, some, known, np.ones(1))]] * 2

    summary = objects.summary(images, ["none", "cell"], 100, 1)
    nothing = objects.summary([image[:1] for image in images], ["none"], 100, 1)

    assert {"tp": 0, "fp": 2, "fn": 0} == summary["classes"]["none"]
    assert {"ap": 1, "ap50": 1, "ap75": 1, "pq": 1, "sq": 1, "rq": 1} == {
        name: summary[name] for name in ("ap", "ap50", "ap75", "pq", "sq", "rq")
    }
    assert {"classes": {"none": {"tp": 0, "fp": 2, "fn": 0}}, "interval": {}} == nothing


def test_one_image_has_no_interval():
    assert {} == objects.intervals(pictured(1, 1), 100, 1)


def test_averages_leave_out_what_is_undefined():
    values = objects.mean(np.array([[0.5, np.nan], [np.nan, np.nan], [0.25, 0.75]]))

    assert (0.5, 0.5) == (values[0], values[2])
    assert np.isnan(values[1])
