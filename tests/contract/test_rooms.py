"""What import-linter's contracts in pyproject.toml cannot say of the folders, and that they can fail."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.contract.closure import ROOT, modules


@pytest.mark.parametrize("bag", ["utils", "helpers", "common", "misc", "base", "manager"])
def test_no_module_is_a_bag(bag):
    assert not [name for name in modules() if name.split(".")[-1] == bag]


def linted(root: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("segline/dataset/onehot.py", "from segline.preprocessing import images", "Imports go down"),
        ("segline/core/records.py", "import torch", "no torch"),
        ("stages/plot.py", "from stages import train", "No stage imports a stage"),
        ("segline/training/loop.py", "import cv2", "Pictures are decoded"),
        ("segline/sources/voc.py", "import mlflow", "MLflow is imported"),
        ("segline/inference/predict.py", "import requests", "The network is used"),
    ],
)
def test_a_planted_import_breaks_its_contract(tmp_path, file, line, broken):
    """The meta-test: `make lint` fails on each of these lines and names the contract."""
    for name in ("segline", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")
    done = linted(tmp_path)

    assert done.returncode == 1
    assert any(broken in text for text in done.stdout.splitlines() if " BROKEN" in text)


@pytest.mark.parametrize(
    "module", ["stages.download", "stages.preprocess", "stages.plot", "segline.preprocessing.images"]
)
def test_what_needs_no_tensors_imports_neither_torch_nor_mlflow(module):
    code = f"import sys, {module}; print({{'torch', 'mlflow', 'matplotlib'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize("backwards", [False, True])
def test_importing_a_module_prints_nothing_and_touches_no_file(tmp_path, backwards):
    """All of them in one process, each after a line with its name; both ways, lest one leans on those before it."""
    needs_an_extra = set() if find_spec("keras") else {"benchmarks.keras_seed"}
    names = sorted(modules().keys() - needs_an_extra, reverse=backwards)
    program = "import importlib, sys\nfor name in sys.argv[1:]: print(name, flush=True); importlib.import_module(name)"
    command, environment = [sys.executable, "-B", "-c", program, *names], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (0, names, "")
    assert list(tmp_path.iterdir()) == []
