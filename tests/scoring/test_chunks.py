"""A split that is scored in chunks gives the bytes of the whole, whatever the chunks and the batches are."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from segline.dataset import processed
from segline.scheduling import local
from segline.scoring import chunks
from stages import evaluate, train
from tests import tiny, tiny_objects

TEST = Path("data/processed/test")


def outputs() -> dict[str, bytes]:
    """Every file that evaluate writes."""
    files = [*Path("metrics").rglob("*"), *Path("data/predictions").rglob("*")]
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def score_in_chunks(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """The stage, as with a cluster, but with the tasks here and chunks of so many bytes of images."""
    monkeypatch.setattr(chunks, "BYTES", limit)
    monkeypatch.setattr(evaluate, "cluster", SimpleNamespace(is_named=lambda: True))
    monkeypatch.setattr(chunks, "tasks", SimpleNamespace(run=lambda task, items: local.run(task, items[::-1], 1)))
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
