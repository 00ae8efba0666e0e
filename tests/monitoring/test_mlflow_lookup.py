"""The tags of the run that trained a model: read from real SQLite stores and asked of servers. Nothing is changed."""

import json
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from segline.monitoring import mlflow_lookup, mlflow_run
from tests import servers

MODEL = "a" * 64
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder without a store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", mlflow_run.SWITCH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # what it cached from TMPDIR
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two trainings of one model and one of another."""
    root = tmp_path_factory.mktemp("st\u00f6re 1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", mlflow_run.SWITCH):
            patch.delenv(name, raising=False)
        for model, threads in ((MODEL, "1"), (MODEL, "2"), ("b" * 64, "3")):
            with mlflow_run.run(stage="train", inputs={}, params={}) as run:
                run.tags({"model.sha256": model, "threads": threads})
    return root / "mlflow.db"


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_the_newest_run_of_the_model_is_found_and_its_store_stays_as_it_is(folder, template, monkeypatch):
    shutil.copy(template, folder / "mlflow.db")
    before = state(folder)

    assert "2" == mlflow_lookup.tags(MODEL)["threads"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert "3" == mlflow_lookup.tags("b" * 64)["threads"]
    assert {} == mlflow_lookup.tags("c" * 64)
    assert before == state(folder)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["UPDATE alembic_version SET version_num = 'another'", "DROP TABLE scorer_versions"])
def test_a_store_of_another_version_of_mlflow_is_not_upgraded(folder, template, change):
    """MLflow would create the missing tables."""
    shutil.copy(template, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as store:
        store.execute(change)
        store.commit()
    before = state(folder)

    mlflow_lookup.tags(MODEL)  # whether it can be read or not
    assert before == state(folder)


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but quite some text in its place" * 99])
def test_without_a_store_nothing_is_known_and_nothing_is_made(folder, content):
    if content is not None:
        (folder / "mlflow.db").write_bytes(content)
    before = state(folder)

    assert {} == mlflow_lookup.tags(MODEL)
    assert before == state(folder)
    assert len(before) == len(list(folder.iterdir()))


@pytest.mark.parametrize("uri", ["runs", "file:runs", "postgresql://localhost:9/mlflow"])
def test_stores_that_mlflow_would_create_are_not_asked(folder, monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    assert {} == mlflow_lookup.tags(MODEL)
    assert [] == list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [servers.SILENT, servers.LOG_IN])
def test_a_server_that_does_not_answer_costs_less_than_10_seconds(folder, kind, monkeypatch):
    """More than one that refuses the connection: importing MLflow takes seconds of its own."""
    seconds = []
    for outage in (servers.DOWN, kind):
        with servers.outage(outage) as address:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{address}")
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "100")  # what a user may set
            start = time.monotonic()
            assert {} == mlflow_lookup.tags(MODEL)
            seconds.append(time.monotonic() - start)

    assert seconds[1] - seconds[0] < 10


ANSWERS = {
    "experiments/get-by-name": {"experiment": {"experiment_id": "7", "name": "segline", "lifecycle_stage": "active"}},
    "runs/search": {
        "runs": [
            {
                "info": {"run_id": "r", "run_uuid": "r", "experiment_id": "7", "status": "FINISHED", "start_time": 1},
                "data": {"tags": [{"key": "model.sha256", "value": MODEL}, {"key": "threads", "value": "4"}]},
            }
        ]
    },
}


@pytest.mark.slow
def test_a_server_is_asked_and_gets_nothing_but_questions(folder, monkeypatch):
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path.partition("?")[0].partition("/mlflow/")[2])
            answer = json.dumps(ANSWERS.get(asked[-1], {})).encode()
            self.send_response(200 if asked[-1] in ANSWERS else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")

            assert {"model.sha256": MODEL, "threads": "4"} == mlflow_lookup.tags(MODEL)
        finally:
            server.shutdown()
            thread.join()
    assert set(asked) - set(ANSWERS) <= {"", "server-info"}
    assert [] == list(folder.iterdir())
