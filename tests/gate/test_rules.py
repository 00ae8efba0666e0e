"""gate.yaml and noise.json: what they may contain; anything else is refused."""

import json
import math
from pathlib import Path

import pytest

from segline.core.errors import PipelineError
from segline.gate.rules import FILE, Criterion, Rules, criteria, of_criterion, parse_noise, read_rules
from segline.reproducibility.seed_noise import FEWEST
from tests.gate import sides

ROOT = Path(__file__).parents[2]
NOISE = "metrics/noise.json"
CLASSES = {"sky": 20, "road": 20, "car": 1, "bus": 0}
PROTOCOL = sides.protocol(sides.predicted(sides.truth(), 0.8))


def rules(folder: Path, text: str) -> Rules:
    path = folder / "gate.yaml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def refused(call, *arguments) -> str:
    with pytest.raises(PipelineError) as caught:
        call(*arguments)
    return str(caught.value)


def test_the_committed_rules_are_valid():
    committed = read_rules(ROOT / "gate.yaml")

    assert {"accuracy", "miou"} == committed.margins.keys()
    assert "metrics/noise.json" == committed.noise


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("margins", "margin", "margin: unknown key. Did you mean margins?"),
        ("margins", "margin", "margins: missing."),
        ("accuracy: 0.01", "accuracy: -0.01", "margins.accuracy: input should be greater than or equal to 0"),
        ("accuracy: 0.01", "accuracy: 1.0", "margins.accuracy: input should be less than 1"),
        ("accuracy: 0.01", "accuracy: 1.0", "A margin is the loss that you accept, as a fraction"),
        ("accuracy: 0.01", "accuracy: '0.01'", "margins.accuracy: input should be a valid number"),
        ("accuracy: 0.01", "accuracy: .nan", "margins.accuracy: input should be"),
        ("floors: {}", "floors: {}\ninconclusive: maybe", "inconclusive: input should be 'pass' or 'fail'"),
        ("floors: {}", "floors: [car]", "floors: input should be a valid dictionary"),
        ("floors: {}", "floors: {car: 0}", "floors.car: input should be greater than 0"),
        ("floors: {}", "floors: {car: 1.5}", "A floor is the score that must be kept"),
        ("  miou", "  accuracy", "duplicate key 'accuracy'"),
        ("margins:", "<<<<<<< HEAD\nmargins:", "gate.yaml:"),
    ],
)
def test_what_gate_yaml_may_not_contain(tmp_path, old, new, sentence):
    said = refused(rules, tmp_path, sides.RULES.replace(old, new))

    assert sentence in said
    assert "params.yaml" not in said


def test_without_margins_and_floors_nothing_is_judged(tmp_path):
    assert "nothing can be judged" in refused(rules, tmp_path, "margins: {}\nfloors: {}\nnoise: x.json\n")


@pytest.mark.parametrize("text", ["", "- a\n", "text\n", "a: b: c\n", "\0"])
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path, text):
    said = refused(rules, tmp_path, text)

    assert "gate.yaml" in said
    assert "presets" not in said


def test_a_missing_file_names_the_command_that_brings_it_back(tmp_path):
    assert "git checkout HEAD gate.yaml" in refused(read_rules, tmp_path / "gate.yaml")


def test_margins_and_floors_become_criteria(tmp_path):
    text = sides.RULES.replace("  miou", "  iou.road").replace("floors: {}", "floors: {sky: 0.4}")
    claims = criteria(rules(tmp_path, text), CLASSES, None, FILE)

    assert [
        Criterion("accuracy", 0.01),
        Criterion("iou.road", 0.01),
        Criterion("iou.sky", 0.0, 0.4),
    ] == claims


def test_a_floor_holds_a_score_that_is_no_class_s_and_a_class_goes_first(tmp_path):
    text = sides.RULES.replace("floors: {}", "floors: {pq: 0.4, ap50: 0.5, miou: 0.3, sky: 0.4}")
    metrics = [claim.metric for claim in criteria(rules(tmp_path, text), CLASSES, 5, FILE)]

    assert ["pq", "ap50", "miou", "iou.sky"] == metrics[2:]
    metrics = [claim.metric for claim in criteria(rules(tmp_path, text), CLASSES | {"pq": 9}, 5, FILE)]
    assert "iou.pq" == metrics[2]


@pytest.mark.parametrize(
    ("margin", "floor", "sentence"),
    [
        ("miuo", "sky", "margins: miuo: no such metric. Did you mean miou?"),
        ("iou.skye", "sky", "margins: iou.skye: no such metric. Did you mean iou.sky?"),
        ("miou", "train", "floors: iou.train: no such metric."),
        ("iou.car", "sky", "margins: iou.car: the class has pixels in 1 image of the split, at least two are needed"),
        ("miou", "bus", "floors: iou.bus: the class has pixels in 0 images of the split, at least two are needed"),
    ],
)
def test_metrics_that_cannot_be_judged_are_refused(tmp_path, margin, floor, sentence):
    text = sides.RULES.replace("miou", margin).replace("floors: {}", f"floors: {{{floor}: 0.4}}")

    assert sentence in refused(criteria, rules(tmp_path, text), CLASSES, None, FILE)


def test_a_class_with_the_name_of_a_metric_is_not_mistaken_for_it(tmp_path):
    classes = {"accuracy": 0, "miou": 1}

    assert ["accuracy", "miou"] == [
        claim.metric for claim in criteria(rules(tmp_path, sides.RULES), classes, None, FILE)
    ]
    text = sides.RULES.replace("miou", "iou.accuracy")
    said = refused(criteria, rules(tmp_path, text), classes, None, FILE)
    assert "iou.accuracy: the class has pixels in 0 images" in said


def metrics(deviation: float) -> dict:
    return {"accuracy": deviation, "miou": deviation, "iou": dict.fromkeys(sides.NAMES, deviation)}


def noise(**changes) -> bytes:
    content = {"commit": None, "metrics": metrics(0.002), "protocol": PROTOCOL, "seeds": [1, 2, 3, 4, 5]}
    return json.dumps(content | changes).encode()


def test_a_difference_has_the_noise_of_two_runs_and_a_floor_that_of_one():
    known = parse_noise(noise(metrics=metrics(0.003), seeds=[*range(7)]), NOISE)
    two, one = (of_criterion(known, claim, NOISE) for claim in (Criterion("miou", 0), Criterion("miou", 0, 0.5)))

    assert 2 * 0.003**2 == pytest.approx(two.deviation**2)
    assert 0.003 == pytest.approx(one.deviation)
    assert (7, 7) == (two.seeds, one.seeds)
    assert two.half_width(0.05) == pytest.approx(2.4469 * 0.003 * math.sqrt(2), rel=1e-4)  # t of 6 degrees of freedom


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": [1, 2]}, "seeds: list should have at least 3 items"),
        ({"seeds": []}, "seeds: list should have at least 3 items"),
        ({"metrics": {"accuracy": 0.1, "miou": -0.1, "iou": {}}}, "metrics.miou: input should be greater than"),
        ({"metrics": metrics(0.51)}, "metrics.accuracy: input should be less than or equal to 0.5. It is the standard"),
        ({"metrics": {"accuracy": 0.1, "miou": 0.1, "iou": {"car": 100.0}}}, "metrics.iou.car: input should be less"),
        ({"metrics": {"miou": 0.1, "iou": {}}}, "metrics.accuracy: field required"),
        ({"metrics": metrics(math.nan)}, "metrics.accuracy: input should be"),
        ({"protocol": {"split": 1}}, "protocol.split: input should be a valid string"),
        ({"seeds": [1, 1, 2]}, "duplicate seed"),
    ],
)
def test_noise_that_is_broken_is_refused(changes, sentence):
    assert f"{NOISE}: {sentence}" in refused(parse_noise, noise(**changes), NOISE)


def test_the_fewest_seeds_of_segline_noise_are_enough():
    assert FEWEST == len(parse_noise(noise(seeds=[*range(FEWEST)]), NOISE).seeds)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", b"[]", b"NaN", b'{"metrics": 1}'])
def test_garbage_is_refused(content):
    assert NOISE in refused(parse_noise, content, NOISE)


def test_a_criterion_without_noise_in_the_file_is_refused():
    known = parse_noise(noise(), NOISE)

    assert "metrics.iou.tram: missing" in refused(of_criterion, known, Criterion("iou.tram", 0.01), NOISE)
