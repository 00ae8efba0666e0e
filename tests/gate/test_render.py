"""What the gate says: the verdict in words, tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from segline.gate import decision, judgement, messages, render
from segline.gate.bootstrap import Interval
from segline.gate.decision import Finding, Verdict
from segline.gate.judgement import Judgement
from segline.gate.rules import Criterion
from tests.gate import sides

TRUE = sides.truth(24)
GROUPS = [f"street {row // 4}" for row in range(24)]


def judged(
    folder: Path,
    base: float,
    candidate: float,
    rules: str = sides.RULES,
    *,
    groups: Sequence[str] | None = GROUPS,
    names: Sequence[str] = sides.NAMES,
    deviation: float | None = None,
) -> Judgement:
    """Two models that find pixels with these probabilities."""
    sides.save(folder / "base", sides.predicted(TRUE, base, 1), names, groups)
    sides.save(folder / "metrics", sides.predicted(TRUE, candidate, 2), names, groups, {**sides.COST, "parameters": 90})
    for place in (folder, folder / "base"):
        (place / "gate.yaml").write_text(rules, encoding="utf-8")
    if deviation is not None:
        protocol = sides.protocol(sides.predicted(TRUE, base, 1), groups)
        for place in ("metrics", "base"):
            sides.write_noise(folder / place / "noise.json", protocol, deviation)
    return judgement.judge("base", folder)


def finding(difference: float, low: float, high: float, images: float, seeds: float) -> Finding:
    margin = 0.01
    interval = Interval(low, high)
    said = decision.rule(difference, interval, margin)
    return Finding(
        Criterion("miou", margin), 0.5, 0.5 + difference, difference, 0.05, interval, said, images, seeds, None
    )


def test_a_regression_is_named_in_the_title_and_explained(tmp_path):
    said = render.as_text(judged(tmp_path, 0.9, 0.8))

    assert said.startswith("Gate: REGRESSION against base\n\nmetric")
    assert "more than the margin of 0.01, and at best still a loss (-0.0" in said


def test_classes_and_images_are_sorted_by_what_they_lost(tmp_path):
    result = judged(tmp_path, 0.9, 0.8)
    lost = [change.difference for change in result.classes]

    assert sorted(lost) == lost
    assert set(sides.NAMES) == {change.name for change in result.classes}
    assert judgement.WORST == len(result.images)
    assert all(change.difference < 0 for change in result.images)
    assert result.images[0].difference == min(change.difference for change in result.images)


def test_images_that_gained_are_not_among_those_that_lost(tmp_path):
    result = judged(tmp_path, 0.8, 0.95)

    assert [] == result.images
    assert "image, by loss" not in render.as_text(result)


def test_cost_is_shown(tmp_path):
    said = render.as_text(judged(tmp_path, 0.9, 0.9))

    assert "parameters 100 90 -10.0%" in " ".join(said.split())


def test_the_interval_over_groups_is_shown_only_if_there_are_groups(tmp_path):
    assert "by group" in render.as_text(judged(tmp_path / "a", 0.9, 0.8))
    assert "by group" not in render.as_text(judged(tmp_path / "b", 0.9, 0.8, groups=None))


def test_another_verdict_by_groups_is_mentioned():
    one = finding(-0.02, -0.03, -0.001, 0.01, 0.0)
    assert Verdict.REGRESSION is one.verdict

    assert "with whole groups resampled instead of images, the verdict would be inconclusive" in messages.by_group(
        one, Verdict.INCONCLUSIVE
    )


def test_known_and_unknown_seed_noise_are_mentioned(tmp_path):
    unknown = "Seed noise is unknown (metrics/noise.json is missing, or of other data)"
    assert unknown in render.as_text(judged(tmp_path / "a", 0.9, 0.8))
    assert "standard deviation over 5 seeds" in render.as_text(judged(tmp_path / "b", 0.9, 0.8, deviation=0.001))


def test_noise_turns_a_regression_into_doubt(tmp_path):
    rates = (0.9, 0.88)

    assert Verdict.REGRESSION is judged(tmp_path / "a", *rates).verdict
    assert Verdict.REGRESSION is judged(tmp_path / "b", *rates, deviation=0.001).verdict
    assert Verdict.INCONCLUSIVE is judged(tmp_path / "c", *rates, deviation=0.02).verdict


def test_between_equal_predictions_there_is_no_noise(tmp_path):
    result = judged(tmp_path, 0.9, 0.9, deviation=0.02)
    assert Verdict.INCONCLUSIVE is result.verdict
    sides.save(tmp_path / "metrics", sides.predicted(TRUE, 0.9, 1), groups=GROUPS)
    result = judgement.judge("base", tmp_path)

    assert Verdict.OK is result.verdict
    assert {0.0} == {one.difference for one in result.findings}
    assert messages.SAME in result.notes


def test_a_floor_that_is_broken_is_a_regression(tmp_path):
    rules = sides.RULES.replace("floors: {}", "floors: {car: 0.9}")
    result = judged(tmp_path, 0.9, 0.9, rules)

    assert [Verdict.REGRESSION] == [one.verdict for one in result.findings if one.criterion.floor]
    assert "iou.car >= 0.9: 0.0" in render.as_text(result)


def test_few_images_give_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.gate.test_render.TRUE", TRUE[:6])

    assert "There are only 6 images with labelled pixels" in render.as_text(judged(tmp_path, 0.9, 0.8, groups=None))


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        (["one"] * 24, "All images belong to one group: the interval is too narrow, by an unknown amount."),
        (GROUPS, "There are only 6 groups of images: an interval from so few is too narrow"),
        ([f"street {row % 9}" for row in range(24)], "There are only 9 groups of images"),
    ],
)
def test_few_groups_give_a_warning(tmp_path, groups, sentence):
    assert sentence in render.as_text(judged(tmp_path, 0.9, 0.8, groups=groups))


@pytest.mark.parametrize("groups", [None, [f"street {row % 10}" for row in range(24)], [*map(str, range(24))]])
def test_enough_groups_or_none_give_no_warning(tmp_path, groups):
    assert "group" not in " ".join(judged(tmp_path, 0.9, 0.8, groups=groups).notes)


def test_images_that_are_void_throughout_make_no_group(tmp_path, monkeypatch):
    true = TRUE.copy()
    true[20:] = 0
    monkeypatch.setattr("tests.gate.test_render.TRUE", true)

    assert "There are only 5 groups of images" in render.as_text(judged(tmp_path, 0.9, 0.8))


def test_a_class_in_few_images_gives_a_warning(tmp_path, monkeypatch):
    true = TRUE.copy()
    true[4:, 2] = 0
    monkeypatch.setattr("tests.gate.test_render.TRUE", true)
    rules = sides.RULES.replace("miou", "iou.car")

    assert "car has pixels in only 4 images" in render.as_text(judged(tmp_path, 0.9, 0.8, rules))


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (finding(0.0, -0.02, 0.02, 0.02, 0.0), "about 4.0 times as many test images"),
        (finding(-0.02, -0.05, 0.01, 0.03, 0.0), "about 2.3 times as many test images"),
        (finding(0.0, -0.0101, 0.0101, 0.0101, 0.0), "about 1.1 times as many test images"),
        (finding(0.0, -0.02, 0.02, 0.01, 0.0175), "which no number of images can give"),
        (finding(0.0, -0.02, 0.02, 0.01, 0.0175), "a recipe that varies less between seeds, or a wider margin."),
        (
            finding(-0.02, -0.05, 0.01, 0.01, 0.029),
            "more seeds in `segline noise`, or a recipe that varies less between seeds.",
        ),
    ],
)
def test_an_inconclusive_finding_says_what_would_settle_it(one, sentence):
    assert Verdict.INCONCLUSIVE is one.verdict
    assert sentence in messages.summary(one)


@pytest.mark.parametrize(
    ("findings", "strict", "code"),
    [("pp", False, 0), ("pp", True, 0), ("pi", False, 0), ("pi", True, 2), ("ri", False, 1), ("ri", True, 1)],
)
def test_exit_codes(findings, strict, code):
    kinds = {
        "p": finding(0.0, -0.005, 0.005, 0.005, 0.0),
        "i": finding(0.0, -0.02, 0.02, 0.02, 0.0),
        "r": finding(-0.02, -0.03, -0.01, 0.01, 0.0),
    }
    result = Judgement("main", None, [kinds[kind] for kind in findings], [], [], [], [], [], [], strict=False)

    assert code == result.exit_code(strict)


def test_a_class_with_the_name_of_a_metric_gives_no_warning_of_few_images(tmp_path, monkeypatch):
    true = TRUE.copy()
    true[4:, 2] = 0
    monkeypatch.setattr("tests.gate.test_render.TRUE", true)

    said = render.as_text(judged(tmp_path, 0.9, 0.8, names=("sky", "road", "miou")))
    assert "pixels in only" not in said


def test_json_contains_what_the_page_shows(tmp_path):
    result = judged(tmp_path, 0.9, 0.8)
    content = json.loads(render.as_json(result))

    assert ("regression", "base", None) == (content["verdict"], content["base"], content["commit"])
    assert ["accuracy", "miou"] == [metric["name"] for metric in content["metrics"]]
    for metric, one in zip(content["metrics"], result.findings, strict=True):
        assert metric["interval"]["low"] <= metric["difference"] <= metric["interval"]["high"] < 0
        assert metric["difference"] == pytest.approx(one.candidate - one.base, abs=1e-6)
        assert metric["margin"] == 0.01
        assert metric["reach"] == pytest.approx(max(0.01, metric["interval"]["high"] - metric["difference"]), abs=2e-6)
    assert result.notes == content["notes"]


def test_markdown_is_a_title_tables_and_a_list(tmp_path):
    lines = render.as_markdown(judged(tmp_path, 0.9, 0.8)).splitlines()
    tables = [line for line in lines if line.startswith("|")]

    assert "### Gate: REGRESSION against base" == lines[0]
    assert (
        "| metric | base | candidate | difference | interval | by group | margin | reach | verdict | confidence |"
        == tables[0]
    )
    assert all(line == "" or line[0] in "#|-" for line in lines)


def test_names_from_files_cannot_format_or_control_the_terminal(tmp_path):
    names = ("a|b", "<img src=x>", "c\x1b[31m")
    result = judged(tmp_path, 0.9, 0.8, names=names)
    text, markdown = render.as_text(result), render.as_markdown(result)

    assert "\x1b" not in text + markdown
    assert "<img" not in markdown
    assert "a\\|b" in markdown
    widths = {line.replace("\\|", "").count("|") for line in markdown.splitlines() if "a\\" in line}
    assert {5} == widths


def test_a_refusal_has_every_form():
    assert {"verdict": "cannot judge", "reason": "x <y>"} == json.loads(render.refusal_as_json("x <y>"))
    assert "CANNOT JUDGE\n\nx &lt;y&gt;" in render.refusal_as_markdown("x <y>")


def test_the_verdict_does_not_depend_on_the_order_of_the_rules(tmp_path):
    result = judged(tmp_path, 0.9, 0.885, deviation=0.002)
    for place in (tmp_path, tmp_path / "base"):
        (place / "gate.yaml").write_text(
            sides.RULES.replace("accuracy", "x").replace("miou", "accuracy").replace("x", "miou")
        )
    other = judgement.judge("base", tmp_path)

    by_name = {one.criterion.metric: one for one in result.findings}
    assert by_name == {one.criterion.metric: one for one in other.findings}
    assert [one.criterion.metric for one in result.findings] != [one.criterion.metric for one in other.findings]
