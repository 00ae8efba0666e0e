"""What makes a dispute suspicious, one thing at a time."""

from dataclasses import replace

import numpy as np
import pytest

from segline.labels import ranking
from segline.labels.quality import Dispute

BUILDING, POLE = 0, 1
USUAL = np.array([0.25, 2.0])  # losses: a pole's label is often improbable
DISPUTE = Dispute(BUILDING, POLE, area=64, share=1, loss=4, box=(0, 0, 8, 8), number=1)


def scores(*disputes: Dispute, groups: tuple[str | None, ...] = ()) -> list[float]:
    """Of disputes that are each in an image of its own."""
    found = ranking.scores([[each] for each in disputes], groups or (None,) * len(disputes), USUAL)
    return [score for (score,) in found]


def test_the_score_is_the_loss_times_the_sixth_root_of_the_area_over_the_usual_loss():
    assert [4 * (64 / 0.25) ** (1 / 6)] == pytest.approx(scores(DISPUTE))


def test_a_speck_is_less_suspicious_than_an_object_and_a_probable_label_than_an_improbable_one():
    object_, speck, probable = scores(DISPUTE, replace(DISPUTE, area=2), replace(DISPUTE, loss=1.5))

    assert object_ > speck
    assert object_ > probable


def test_a_label_that_is_often_improbable_is_less_suspicious():
    building, pole = scores(DISPUTE, replace(DISPUTE, label=POLE, prediction=BUILDING))

    assert building == pytest.approx(pole * 8 ** (1 / 6))


def test_what_is_in_dispute_in_the_other_images_of_a_group_is_less_suspicious():
    alone = scores(DISPUTE)[0]
    first, second, elsewhere = scores(DISPUTE, replace(DISPUTE, area=192), DISPUTE, groups=("a", "a", "b"))

    assert alone / 4 == pytest.approx(first)  # 64 of 64 + 192 pixels
    assert alone * 3 ** (1 / 6) * 3 / 4 == pytest.approx(second)
    assert alone == pytest.approx(elsewhere)


def test_another_pair_of_classes_in_the_group_changes_nothing():
    first, _ = scores(DISPUTE, replace(DISPUTE, label=POLE, prediction=BUILDING), groups=("a", "a"))

    assert scores(DISPUTE) == pytest.approx([first])


def test_all_disputes_of_the_same_classes_in_an_image_count_together_against_its_group():
    two = [DISPUTE, replace(DISPUTE, area=32, number=2)]
    found = ranking.scores([two, two, []], ["a"] * 3, USUAL)
    beside = (64 + 32 + 0) / 2

    assert scores(DISPUTE)[0] * 64 / (64 + beside) == pytest.approx(found[0][0])
    assert [2, 2, 0] == [len(each) for each in found]
