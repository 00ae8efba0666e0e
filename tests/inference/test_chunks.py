"""Images that are predicted in chunks give the files, the warnings and the problems of one process."""

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from segline import __main__ as command
from segline.core import records
from segline.core.errors import DataError
from segline.inference import annotation_files, chunks
from segline.inference.input_files import InputImage
from segline.inference.input_rows import Row
from segline.inference.sliding_window import Predictor
from segline.model import checkpoint
from segline.scheduling import places, tasks
from segline.scheduling.places import Place
from tests import tiny
from tests.contract.closure import ROOT
from tests.inference.test_predict import picture, project, trained  # noqa: F401 - fixtures

FORMS = {"stretch": {}, "tile": {"fit": "tile", "overlap": 0.25, "height": 32, "width": 32}}
OPTIONS = {
    "coco": ("--annotations", "coco", "--instances", "bright", "--rank", "--probabilities"),
    "cvat": ("--annotations", "cvat", "--flip"),
    "labelme": ("--annotations", "labelme", "--scales", "1", "1.5"),
}


def predict(trained_in: Path, form: str, out: str, *options: str) -> dict[str, bytes]:
    """The files of a prediction of seven images, among two files that are no images."""
    network, description = checkpoint.read(trained_in / "models/model.safetensors")
    prepared = replace(description, preparation=replace(description.preparation, **FORMS[form]))
    checkpoint.write(Path("model.safetensors"), network.state_dict(), prepared)
    for number in range(7):
        picture(f"in/{number}.png", 20 + 9 * number, 61 - 5 * number)
    Path("in/1b.png").write_bytes(b"no image")
    Path("in/4b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="2 of 9 images could not be predicted"):
        command.main(["predict", "--model", "model.safetensors", "--out", out, *options, "--batch-size", "3", "in"])
    return files(out)


def files(out: str) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}


@contextmanager
def backwards(_: int) -> Iterator[tasks.Compute]:
    """The tasks one after another in this process, the last one first; each twice, as if a node died."""

    def compute(function, items):
        for number in reversed(range(len(items))):
            function(items[number], Place())
            yield number, function(items[number], Place())

    yield compute


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_the_files_and_the_words_are_those_of_the_whole(project, monkeypatch, capsys, form, options):  # noqa: F811
    """Chunks of one batch or less."""
    monkeypatch.setattr(chunks, "IMAGES", 3)
    expected, said = predict(project, form, "out", *OPTIONS[options]), capsys.readouterr()
    Path("out").rename("whole")
    chunks._opened.cache_clear()
    monkeypatch.setattr(tasks, "are_shared", lambda _: True)
    monkeypatch.setattr(tasks, "computing", backwards)

    assert expected == predict(project, form, "out", *OPTIONS[options])
    assert said == capsys.readouterr()
    assert {"masks/0.png", "overlays/6.png", "summary.csv"} < expected.keys()
    assert not any("partial" in name for name in expected)


def test_two_processes_write_the_files_of_one(project, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(chunks, "IMAGES", 3)
    expected, said = predict(project, "tile", "out", *OPTIONS["coco"]), capsys.readouterr()
    Path("out").rename("whole")
    monkeypatch.setenv(places.WORKERS, "2")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    assert expected == predict(project, "tile", "out", *OPTIONS["coco"])
    assert said == capsys.readouterr()


def test_a_disk_that_is_full_when_a_chunk_is_joined_leaves_no_mask_without_a_row(project, monkeypatch):  # noqa: F811
    join, joined = annotation_files.Annotations.join, []

    def full(self, spool: Path, found: annotation_files.Places) -> None:
        if joined:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(spool))
        joined.append(sorted(found))
        join(self, spool, found)

    monkeypatch.setattr(chunks, "IMAGES", 3)
    monkeypatch.setattr(tasks, "are_shared", lambda _: True)
    monkeypatch.setattr(tasks, "computing", backwards)
    monkeypatch.setattr(annotation_files.Annotations, "join", full)
    with pytest.raises(OSError, match="No space left"):
        predict(project, "stretch", "out", *OPTIONS["coco"])
    with Path("out/summary.csv").open(newline="") as stream:
        rows = sorted(row["image"] for row in csv.DictReader(stream))

    assert joined == [rows]
    for kind in ("masks", "overlays", "instances", "probabilities"):
        assert rows == sorted(path.stem for path in Path("out", kind).iterdir())


def test_batches_end_with_their_chunk_wherever_it_is_predicted(project, monkeypatch):  # noqa: F811
    """Otherwise a failure would move all images that follow into other batches, whose logits differ in the last bit."""
    sizes, own = [], Predictor._batch

    def batch(self, waiting):
        sizes.append(sum(isinstance(row, Row) for row in waiting))
        return own(self, waiting)

    monkeypatch.setattr(Predictor, "_batch", batch)
    monkeypatch.setattr(chunks, "IMAGES", 3)
    predict(project, "stretch", "out")

    assert [2, 3, 2] == [size for size in sizes if size]


def test_chunks_are_whole_batches_and_large_files_are_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "BYTES", 3200)
    form = tiny.stretched(8, 8)
    sources = [InputImage(tmp_path / f"{number}", f"{number}") for number in range(70)]

    assert [(0, 32), (32, 64), (64, 70)] == list(chunks.cut(sources, form, 8))
    assert [(0, 33), (33, 66), (66, 70)] == list(chunks.cut(sources, form, 11))
    assert [(0, 50), (50, 70)] == list(chunks.cut(sources, form, 50))
    (tmp_path / "40").write_bytes(bytes(4000))
    assert [(0, 32), (32, 40), (40, 41), (41, 70)] == list(chunks.cut(sources, replace(form, fit="tile"), 50))


@pytest.mark.slow
def test_ctrl_c_leaves_the_chunks_that_are_complete_and_a_summary_of_them(project):  # noqa: F811
    picture("in/0000.png", 90, 120)
    for number in range(1, 3000):
        os.link("in/0000.png", f"in/{number:04}.png")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", places.WORKERS: "2"}
    model = str(project / "models/model.safetensors")
    start = [sys.executable, "-m", "segline", "predict", "--model", model, "--out", "predictions"]
    start += ["--annotations", "labelme", "in"]
    process = subprocess.Popen(start, env=environment, stderr=subprocess.PIPE, text=True)
    while len(list(Path("predictions").glob("overlays/[0-9]*.png"))) < 70:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()

    assert (130, "error: stopped by Ctrl-C\n") == (process.returncode, said)
    listed = {row["image"] for row in records.read_csv(Path("predictions/summary.csv"))}
    assert 32 <= len(listed) < 3000
    assert not len(listed) % 32
    for kind, suffix in (("masks", ".png"), ("overlays", ".png"), ("annotations", ".json")):
        assert {f"{name}{suffix}" for name in listed} == {path.name for path in Path("predictions", kind).iterdir()}
    assert {"annotations", "masks", "overlays", "summary.csv"} == {path.name for path in Path("predictions").iterdir()}
