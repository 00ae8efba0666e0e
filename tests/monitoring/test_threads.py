"""Threads of a training that share their cores with other programs."""

import os
import subprocess
import sys

import pytest

CODE = "from segline.monitoring import console; import os; print(os.environ.get('GOMP_SPINCOUNT'))"


def spins(**variables: str) -> str:
    ours = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    answer = subprocess.run(
        [sys.executable, "-c", CODE], env=ours | variables, capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def test_threads_spin_briefly_by_default() -> None:
    assert int(spins()) == 10_000


@pytest.mark.parametrize(
    ("variable", "value", "left"), [("GOMP_SPINCOUNT", "7", "7"), ("OMP_WAIT_POLICY", "passive", "None")]
)
def test_what_the_user_sets_stays(variable: str, value: str, left: str) -> None:
    assert spins(**{variable: value}) == left


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_stage_sets_it_before_torch_is_there(stage: str) -> None:
    command = [sys.executable, "-X", "importtime", "-c", f"import stages.{stage}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    imported = [line.rpartition("|")[2].strip() for line in lines]
    assert imported.index("segline.monitoring.threads") < imported.index("torch.torch_version")
