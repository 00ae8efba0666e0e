"""The committed dvc.lock belongs to the committed code and parameters: published metrics are those of this code.

Needs no data. After a change of code or parameters, `make repro` writes the lock anew.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline.core import params, records
from tests.contract.closure import ROOT
from tests.contract.test_dependencies import PIPELINE, STAGES, declared, outputs
from tests.contract.test_parameters import declared as declared_parameters
from tests.contract.test_parameters import filled

LOCK: dict[str, Any] = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))["stages"]
PARAMETERS = params.load(ROOT / "params.yaml")


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in document.items():
        nested = isinstance(value, dict) and value  # an empty mapping is a value
        found |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return found


def md5(path: Path) -> str:
    """As DVC has it: that of a folder is over the list of its files, of which .dvcignore leaves out compiled Python."""
    if path.is_file():
        return digest(path.read_bytes())
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")
    listed = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    return digest(json.dumps(listed).encode()) + ".dir"


def digest(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def locked(stage: str, kind: str) -> dict[str, str]:
    """md5 by path of what a stage read (`deps`) or wrote (`outs`)."""
    return {entry["path"]: entry["md5"] for entry in LOCK[stage].get(kind, [])}


def in_git(path: str) -> bool:
    """Whether it is no result, or one that DVC does not keep: what a clone has without a cache."""
    cached = [out for stage in STAGES for out in PIPELINE["stages"][stage].get("outs", [])]
    return not any(Path(path).is_relative_to(out) for out in cached)


def test_the_lock_has_every_stage_and_no_other():
    assert STAGES == sorted(LOCK)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_the_lock_has_all_that_dvc_yaml_says(stage):
    """The command, and every dependency and output: one that the lock lacks was added later."""
    assert filled(PIPELINE["stages"][stage]["cmd"], PARAMETERS) == LOCK[stage]["cmd"]
    assert {filled(path, PARAMETERS) for path in declared(stage)} == locked(stage, "deps").keys()
    assert set(outputs(stage)) == locked(stage, "outs").keys()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_reads_is_that_of_the_lock(stage):
    """Code, folders of code, hashes, style sheets, templates and scores; of data and models git has no bytes."""
    read = {path: checksum for path, checksum in locked(stage, "deps").items() if in_git(path)}

    assert f"stages/{stage}.py" in read
    assert read == {path: md5(ROOT / path) for path in read}


@pytest.mark.parametrize("stage", STAGES)
def test_the_parameters_of_a_stage_are_those_of_the_lock(stage):
    here = leaves(PARAMETERS)

    expected = {key: here[key] for key in declared_parameters(stage, PARAMETERS)}
    assert expected == leaves(LOCK[stage].get("params", {}).get("params.yaml", {}))


def test_the_committed_metrics_are_those_of_the_lock():
    written = {path: checksum for stage in STAGES for path, checksum in locked(stage, "outs").items() if in_git(path)}

    assert {"metrics/eval.json", "metrics/history.csv", "metrics/plots/sheet.png"} <= written.keys()
    assert written == {path: md5(ROOT / path) for path in written}


def test_what_one_stage_reads_is_what_another_wrote():
    """Data and models too: git has no bytes of them, but the lock has their hash on both sides."""
    checksums = defaultdict(set)
    for stage in STAGES:
        for path, checksum in [*locked(stage, "deps").items(), *locked(stage, "outs").items()]:
            checksums[path].add(checksum)

    assert {"data/raw", "data/processed/test", "models/model.safetensors"} <= checksums.keys()
    assert {} == {path: found for path, found in checksums.items() if len(found) > 1}


def test_the_synthetic_scenes_are_hard_but_can_be_learnt():
    """A trained network must not reach mIoU 0.95, and the pipeline's default must be well above chance."""
    assert 0.4 < records.read_json(ROOT / "metrics/eval.json")["miou"] < 0.95
