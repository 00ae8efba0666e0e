"""The committed dvc.lock belongs to the committed code and parameters: published metrics are those of this code.

Needs no data. After a change of code or parameters, `make repro` writes the lock anew.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline import params, records
from tests.contract.closure import ROOT

LOCK: dict[str, Any] = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]
STAGES = sorted(LOCK)


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in document.items():
        nested = isinstance(value, dict) and value  # an empty mapping is a value
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_of_a_stage_is_that_of_the_lock(stage):
    code = {dep["path"]: dep["md5"] for dep in LOCK[stage]["deps"] if (ROOT / dep["path"]).suffix in {".py", ".sha256"}}

    assert code
    assert code == {path: md5(ROOT / path) for path in code}


@pytest.mark.parametrize("stage", STAGES)
def test_the_parameters_of_a_stage_are_those_of_the_lock(stage):
    here = leaves(params.load(ROOT / "params.yaml"))
    locked = leaves(LOCK[stage].get("params", {}).get("params.yaml", {}))

    assert locked
    assert locked == {key: here.get(key) for key in locked}


def test_the_committed_metrics_are_those_of_the_lock():
    outputs = {out["path"]: out["md5"] for stage in STAGES for out in LOCK[stage]["outs"]}
    kept_in_git = {
        path: digest for path, digest in outputs.items() if path.startswith("metrics/") and "html" not in path
    }

    assert kept_in_git
    assert kept_in_git == {path: md5(ROOT / path) for path in kept_in_git}


def test_the_synthetic_scenes_are_hard_but_can_be_learnt():
    """A trained network must not reach mIoU 0.95, and the pipeline's default must be well above chance."""
    assert 0.4 < records.read_json(ROOT / "metrics/eval.json")["miou"] < 0.95
