"""How `segline replay` compares machines. How it runs stages: tests/e2e/test_replay.py."""

import pytest

from segline.model import device
from segline.monitoring import mlflow_lookup
from segline.reproducibility import replay

HERE = {"device": "cpu", "torch": "2.11", "threads": "2", "cpu_capability": "AVX2"}


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (
            {},
            "this machine: device cpu, torch 2.11, threads 2, cpu_capability AVX2; "
            "no MLflow run says which machine trained the model",
        ),
        (
            HERE | {"git.commit": "abc"},
            "this machine matches the one that trained the model (device, torch, threads, CPU capability)",
        ),
        (
            HERE | {"threads": "1"},
            "this machine differs from the one that trained the model: threads 2 instead of 1",
        ),
        (
            {"device": "cuda", "torch": "2.11", "threads": "2", "cuda": "13.0"},
            "this machine differs from the one that trained the model: "
            "device cpu instead of cuda, cuda unknown instead of 13.0, cpu_capability AVX2 instead of unknown",
        ),
    ],
)
def test_machines_are_compared_by_what_mlflow_recorded(monkeypatch, there, expected):
    monkeypatch.setattr(mlflow_lookup, "tags", lambda _: there)
    monkeypatch.setattr(device, "description", lambda _: HERE)

    assert expected == replay.machine_difference("0" * 64)
