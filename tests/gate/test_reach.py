"""How small a loss can be found: warned of before anybody relies on it."""

import numpy as np
import pytest

from segline.core import records
from segline.gate import reach
from segline.gate.bootstrap import Noise
from segline.gate.rules import Criterion, parse_noise
from tests.gate import sides

PROTOCOL = sides.protocol(sides.predicted(sides.truth(24), 0.85))
NOISE = Noise(np.sqrt(2) * 0.0125, 5)


def test_one_run_a_side_shows_what_the_documentation_says():
    """3.9 s at 0.05, 4.9 s at the 0.025 of the first of two criteria."""
    assert reach.of_seeds(NOISE, 1, 1) == pytest.approx(3.93 * 0.0125, rel=0.01)
    assert reach.of_seeds(NOISE, 2, 1) == pytest.approx(4.94 * 0.0125, rel=0.01)


def test_the_number_of_pairs_is_the_first_that_shows_the_loss():
    needed = reach.pairs_for(NOISE, 2, 0.01)

    assert reach.of_seeds(NOISE, 2, needed) <= 0.01 < reach.of_seeds(NOISE, 2, needed - 1)
    assert reach.pairs_for(NOISE, 2, 0.0001) is None


def test_of_many_criteria_too_almost_as_many_pairs_as_are_thought_of_are_found():
    loss = reach.of_seeds(NOISE, 8, 19)

    assert 19 == reach.pairs_for(NOISE, 8, loss)


def project(folder, deviation: float, rules: str = sides.RULES):
    (folder / "metrics").mkdir()
    (folder / "gate.yaml").write_text(rules)
    sides.write_noise(folder / "metrics/noise.json", PROTOCOL, deviation)
    return folder


def test_margins_below_the_reach_are_named_with_the_seeds_that_would_do(tmp_path):
    [said] = reach.doubts(project(tmp_path, 0.01))

    assert said.startswith(
        "gate.yaml: one run a side cannot show a loss of accuracy below 0.0494 (margin 0.01) or of miou"
    )
    assert said.endswith("at the seed noise of metrics/noise.json; `segline gate --seeds N` can with N = 11")


def test_a_margin_within_reach_is_not_mentioned(tmp_path):
    assert [] == reach.doubts(project(tmp_path, 0.001))


@pytest.mark.parametrize(("data", "count"), [(PROTOCOL["data"], 1), ("0123456789abcdef", 0)])
def test_noise_of_other_data_than_the_last_evaluation_says_nothing(tmp_path, data, count):
    folder = project(tmp_path, 0.01)
    records.write_json(folder / "metrics/eval.json", {"protocol": PROTOCOL | {"data": data}})

    assert count == len(reach.doubts(folder))


LOCK = """schema: '2.0'
stages:
  download:
    cmd: python -m stages.download
    params: {params.yaml: {data.input: segline/sources/streets, data.source: synthetic, data.synthetic: {seed: 2}}}
"""
OF_EXAMPLE = "data: {source: synthetic, input: segline/sources/streets, synthetic: {seed: 2}}"
OWN = "data: {source: folder, input: data/source/mine, folder: {images: '*.png'}}"


@pytest.mark.parametrize(("parameters", "count"), [(OF_EXAMPLE, 1), (OWN, 0), (OF_EXAMPLE.replace("2", "3"), 0)])
def test_noise_of_the_example_says_nothing_once_a_user_names_other_data(tmp_path, parameters, count):
    """Before these were evaluated: metrics/ still has the example's."""
    folder = project(tmp_path, 0.01)
    (folder / "dvc.lock").write_text(LOCK)
    (folder / "params.yaml").write_text(parameters)

    assert count == len(reach.doubts(folder))


@pytest.mark.parametrize("broken", ["margins: {", "", None])
def test_rules_that_cannot_be_read_are_left_to_the_gate(tmp_path, broken):
    folder = project(tmp_path, 0.01)
    (folder / "gate.yaml").unlink() if broken is None else (folder / "gate.yaml").write_text(broken)

    assert [] == reach.doubts(folder)


def test_the_budget_is_judged_too(tmp_path):
    folder = project(tmp_path, 0.01)
    noise = parse_noise((folder / "metrics/noise.json").read_bytes(), "noise.json")
    claims = [Criterion("miou", 0.01)]

    assert "5 seeds a side cannot show a loss of miou below 0.01" in reach.doubt(claims, noise, "noise.json", 5)
    assert reach.doubt(claims, noise, "noise.json", 20) is None
