"""Which images are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.reporting import results, selection
from segline.reporting.selection import Pick


def scores(*pairs):
    rows = [{"image": str(row), "group": "", "miou": miou, "accuracy": acc} for row, (miou, acc) in enumerate(pairs)]
    return [results.ImageScore.model_validate(row) for row in rows]


def test_images_are_ordered_by_miou_then_accuracy_then_row():
    images = scores((0.5, 0.9), (0.7, 0.1), (0.5, 0.95), (0.5, 0.9))

    assert [1, 2, 0, 3] == selection.order(images)


def test_images_without_a_score_come_last_after_a_score_of_zero():
    images = scores((None, None), (0.0, 0.0), (1.0, 1.0))

    assert [2, 1, 0] == selection.order(images)


def test_nine_images_and_two_of_each_kind():
    images = scores(*((1 - row / 10, 1.0) for row in range(9)))

    expected = [("best", 1), ("best", 2), ("median", 4), ("median", 5), ("worst", 8), ("worst", 9)]
    assert expected == [(pick.kind, pick.rank) for pick in selection.picks(images, 2)]


@pytest.mark.parametrize(("count", "kinds"), [(1, ["best"]), (2, ["best", "worst"]), (3, ["best", "median", "worst"])])
def test_few_images_are_not_shown_twice(count, kinds):
    picks = selection.picks(scores(*[(0.5, 0.5)] * count), 5)

    assert kinds == [pick.kind for pick in picks]


def test_an_image_without_a_score_is_not_the_worst():
    picks = selection.picks(scores((None, None), (0.9, 0.9), (0.1, 0.1)), 3)

    assert [Pick("best", 1, 1), Pick("worst", 2, 2)] == picks


def test_where_no_image_has_a_score_some_are_shown_all_the_same():
    assert 2 == len(selection.picks(scores((None, None), (None, None)), 3))


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40), st.integers(1, 20))
def test_picks_are_distinct_and_in_order_and_no_kind_is_shown_more_than_asked(values, count):
    picks = selection.picks(scores(*((value, value) for value in values)), count)

    ranks = [pick.rank for pick in picks]
    assert sorted(set(ranks)) == ranks
    assert all(1 <= [pick.kind for pick in picks].count(kind) <= count for kind in {pick.kind for pick in picks})
    assert "best" == picks[0].kind
    assert 1 == ranks[0]


def test_one_of_a_kind_is_the_very_best_the_middle_and_the_very_worst():
    picks = selection.picks(scores(*((1 - row / 20, 1.0) for row in range(15))), 3)

    assert [1, 8, 15] == [pick.rank for pick in selection.one_a_kind(picks)]
