"""A data set that is prepared in chunks gives the files, the warnings and the problems of one process."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from segline.core import params
from segline.core.errors import PipelineError
from segline.dataset import parts
from segline.dataset import raw as raw_dataset
from segline.preprocessing import chunks, pairs, split_writer
from segline.scheduling import places, tasks
from segline.scheduling.places import Place
from tests import tiny
from tests.contract.closure import ROOT

TILES = {"fit": "tile", "height": 32, "width": 32, "overlap": 0.25}
MEASURED = {"bands": "gray", "intensity": {"by": "percentile", "low": 2.0, "high": 98.0}}
FORMS = {"stretch": {}, "tile": TILES, "percentile": {**TILES, **MEASURED}, "float": MEASURED}


def begin(folder: Path, *, deep: str | None = None) -> None:
    """Images of several sizes in `folder`/raw, of 16 or 32 bits if asked for."""
    random = np.random.default_rng(1)
    splits: dict[str, list[raw_dataset.Pair]] = {}
    for split, count in {"train": 7, "val": 3}.items():
        (folder / "raw" / split).mkdir(parents=True)
        splits[split] = []
        for number in range(count):
            size = int(random.integers(20, 90)), int(random.integers(20, 90))
            pixels = random.integers(0, 200, size) * number
            name = f"{number}.{'png' if deep is None else 'tif'}"
            cv2.imwrite(str(folder / "raw" / split / name), pixels.astype(deep or np.uint8))
            mask = random.integers(0, 3, size).astype(np.uint8)
            cv2.imwrite(str(folder / "raw" / split / f"{number}-mask.png"), mask)
            files = {"image": name, "mask": f"{number}-mask.png"}
            hashes = {f"sha256_{kind}": sha256(folder / "raw" / split / path) for kind, path in files.items()}
            splits[split].append(raw_dataset.Pair(stem=str(number), group=None, **files, **hashes))
    raw_dataset.write(folder / "raw", raw_dataset.Dataset("d", tiny.CLASSES, (0, 1, 2), None, "index", splits))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(**changes: Any) -> dict[str, bytes]:
    """Every file of the processed data set."""
    section = {"preprocess": tiny.PARAMETERS["preprocess"] | {"height": 32, "width": 32} | changes}
    data = raw_dataset.read(Path("raw"))
    recipe = pairs.recipe(Path("raw"), data, params.section(section, "preprocess", pairs.Section))
    split_writer.write(Path("raw"), Path("processed"), recipe, data)
    return {str(path): path.read_bytes() for path in Path("processed").rglob("*") if path.is_file()}


@contextmanager
def backwards(most: int, *, on_gpu: bool) -> Iterator[tasks.Compute]:
    """The tasks one after another in this process, the last one first; each twice, as if a node died."""
    assert most
    assert not on_gpu

    def compute(function: Callable[..., Any], items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        for number in reversed(range(len(items))):
            function(items[number], Place())
            yield number, function(items[number], Place())

    yield compute


@pytest.fixture
def in_chunks(monkeypatch) -> Callable[[int], None]:
    """Lets chunks have so many pages from here on, and tasks run backwards."""

    def cut(most: int) -> None:
        monkeypatch.setattr(tasks, "are_shared", lambda _: True)
        monkeypatch.setattr(tasks, "computing", backwards)
        monkeypatch.setattr(chunks, "PAGES", most)

    return cut


@pytest.mark.parametrize("form", FORMS)
def test_the_files_are_those_of_the_whole(tmp_path, monkeypatch, in_chunks, form):
    """Parts of one row or three, which chunks cut across; samples of 32 bits are measured in two passes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts, "MAX_BYTES", parts.HEADER + 3 * 32 * 32)
    begin(tmp_path, deep="float32" if form == "float" else None)
    expected = write(**FORMS[form])
    assert len(expected) > 8
    for most in (1, 2, 5):
        in_chunks(most)

        assert expected == write(**FORMS[form])


def test_problems_and_warnings_are_those_of_the_whole(tmp_path, monkeypatch, in_chunks, capfd):
    """Damaged JPEG files, which libjpeg decodes, come after all others of their split."""
    monkeypatch.chdir(tmp_path)
    begin(tmp_path)
    Path("raw/train/5.png").write_bytes(b"no image")
    Path("raw/train/6-mask.png").unlink()
    Path("raw/val/2.png").unlink()
    for split, number in (("train", 2), ("train", 4), ("val", 1)):
        damage(split, number)
    with pytest.raises(PipelineError) as expected:
        write()
    said = capfd.readouterr().err
    in_chunks(2)
    with pytest.raises(PipelineError) as found:
        write()

    named = [line.split(":")[0].strip() for line in str(expected.value).splitlines()]
    train = ["raw/train/5.png", "raw/train/6-mask.png", "raw/train/2.jpg", "raw/train/4.jpg"]
    assert ["raw", *train, "raw/val/2.png", "raw/val/1.jpg"] == named
    assert str(expected.value) == str(found.value)
    assert said == capfd.readouterr().err
    assert not Path("processed").exists()


def damage(split: str, number: int) -> None:
    """Makes a JPEG of an image, with damaged pixels, and lists it instead."""
    data = raw_dataset.read(Path("raw"))
    pair = data.splits[split][number]
    before, after = Path("raw", split, pair.image), Path("raw", split, f"{number}.jpg")
    content = bytearray(cv2.imencode(".jpg", cv2.imread(str(before)))[1].tobytes())
    content[-40:-10] = b"\xff\xd0" * 15
    after.write_bytes(content)
    before.unlink()
    data.splits[split][number] = replace(pair, image=after.name, sha256_image=sha256(after))
    raw_dataset.write(Path("raw"), data)


def test_two_processes_write_the_files_of_one_and_leave_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin(tmp_path)
    expected = write(**FORMS["percentile"])
    monkeypatch.setenv(places.WORKERS, "2")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(chunks, "PAGES", 1)

    assert expected == write(**FORMS["percentile"])
    assert {"raw", "processed"} == {path.name for path in tmp_path.iterdir()}
