"""Where nothing is known of the machine that trained a model. Where something is: tests/e2e/test_replay.py."""

import pytest

from segline.reproducibility import provenance


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but quite some text in its place" * 99])
def test_without_a_store_nothing_is_known_and_nothing_is_made(tmp_path, monkeypatch, content):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    if content is not None:
        (tmp_path / "mlflow.db").write_bytes(content)
    before = list(tmp_path.iterdir())

    assert {} == provenance.machine_of("0" * 64)
    assert "no local MLflow run says on which one the model was trained" in provenance.comparison("0" * 64)
    assert before == list(tmp_path.iterdir())


def test_a_server_is_not_asked(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    assert {} == provenance.machine_of("0" * 64)
