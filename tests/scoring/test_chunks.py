"""A split that is scored in chunks gives the bytes of the whole, whatever the chunks and the batches are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from segline.dataset import processed
from segline.scheduling import places, tasks
from segline.scheduling.places import Place
from segline.scoring import chunks
from stages import evaluate, train
from tests import tiny, tiny_objects
from tests.contract.closure import ROOT

TEST = Path("data/processed/test")


def outputs() -> dict[str, bytes]:
    """Every file that evaluate writes."""
    files = [*Path("metrics").rglob("*"), *Path("data/predictions").rglob("*")]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


@contextmanager
def backwards(_: int) -> Iterator[tasks.Compute]:
    """The tasks one after another in this process, the last one first."""

    def compute(function: Any, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for number in reversed(range(len(items))):
            yield number, function(items[number], Place())

    yield compute


def score_in_chunks(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """The stage, as with a cluster, but with the tasks here and chunks of so many bytes of images."""
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "BYTES", limit)
        patch.setattr(tasks, "are_shared", lambda _: True)
        patch.setattr(tasks, "computing", backwards)
        chunks._opened.cache_clear()
        evaluate.main(tiny.EVALUATE)


TILES = {"preprocess__fit": "tile", "preprocess__height": 32, "preprocess__width": 64}


@pytest.mark.parametrize("form", [{}, TILES], ids=["stretch", "tile"])
def test_the_files_are_those_of_the_whole(tmp_path, monkeypatch, form):
    """Batches of three rows, which chunks of one image and of two cut across; they end in any order."""
    monkeypatch.setattr(tiny, "SIZE", (70, 90))
    tiny.begin(tmp_path, monkeypatch, train__epochs=1, **form)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    whole = outputs()
    split = processed.read(TEST)
    two = 2 * split.images.nbytes // len(split.index.origins)
    for limit in (1, two, 2 * two):
        score_in_chunks(monkeypatch, limit)

        assert whole == outputs()


def test_two_processes_write_the_files_of_one(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch, train__epochs=1)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    whole = outputs()
    monkeypatch.setattr(chunks, "BYTES", 1)
    monkeypatch.setenv(places.WORKERS, "2")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    evaluate.main(tiny.EVALUATE)

    assert whole == outputs()


def test_objects_are_those_of_the_whole(tmp_path, monkeypatch):
    tiny_objects.begin(tmp_path, monkeypatch)
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    whole = outputs()
    score_in_chunks(monkeypatch, 1)

    assert "data/predictions/test-outlines.npy" in whole
    assert whole == outputs()


def test_chunks_are_cut_between_images_and_hold_all_of_them(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch)
    split = processed.read(TEST)

    assert [(0, 1), (1, 2), (2, 3), (3, 4)] == list(chunks.cut(split, 1))
    assert [(0, 3), (3, 4)] == list(chunks.cut(split, 3 * split.images[0].nbytes))
    assert [(0, 4)] == list(chunks.cut(split))
