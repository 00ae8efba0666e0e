"""Drawn masks and copied images on disk."""

import hashlib
import shutil
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.core.errors import DataError
from segline.dataset.raw import Pair
from segline.sources.collecting import copying, drawn
from segline.sources.collecting.listing import Entry

MASK = np.arange(12, dtype=np.uint8).reshape(3, 4)
OBJECTS = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000


@dataclass
class Drawing:
    mask: np.ndarray
    objects: np.ndarray | None


@pytest.fixture
def entry(tmp_path) -> Entry:
    (tmp_path / "a.JPG").write_bytes(b"pixels")
    return Entry("city/a", "city", tmp_path / "a.JPG", tmp_path / "a.json")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_files_are_what_was_drawn_and_what_the_pair_says(tmp_path, entry) -> None:
    pairs = drawn.write({"train": [entry]}, lambda _: Drawing(MASK, OBJECTS), tmp_path / "raw")
    names = ("images/city/a.JPG", "masks/city/a.png", "objects/city/a.png")
    image, mask, objects = (tmp_path / "raw/train" / name for name in names)

    assert b"pixels" == image.read_bytes()
    for path, expected in ((mask, MASK), (objects, OBJECTS)):
        found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert expected.dtype == found.dtype
        assert np.array_equal(expected, found)
    expected_pair = Pair("city/a", "city", names[0], names[1], sha256(image), sha256(mask), names[2], sha256(objects))
    assert {"train": [expected_pair]} == pairs


def test_without_object_numbers_there_is_no_file_of_them(tmp_path, entry) -> None:
    (pair,) = drawn.write({"val": [entry]}, lambda _: Drawing(MASK, None), tmp_path / "raw")["val"]

    assert (None, None) == (pair.objects, pair.sha256_objects)
    assert not (tmp_path / "raw/val/objects").exists()


def test_an_image_may_come_from_elsewhere_than_its_file(tmp_path, entry) -> None:
    entry.image.unlink()
    (pair,) = drawn.write({"val": [entry]}, lambda _: Drawing(MASK, None), tmp_path / "raw", lambda _: b"inside")["val"]

    assert b"inside" == (tmp_path / "raw/val" / pair.image).read_bytes()
    assert hashlib.sha256(b"inside").hexdigest() == pair.sha256_image


def test_a_full_disk_is_told_before_anything_is_drawn(tmp_path, entry, monkeypatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(11))
    monkeypatch.setattr(copying, "_has_reflinks", lambda *_: False)
    with pytest.raises(DataError, match="0 MiB free on its disk"):
        drawn.write({"val": [entry]}, lambda _: pytest.fail("drawn"), tmp_path / "raw")

    assert [] == list((tmp_path / "raw").iterdir())


def test_images_whose_stems_some_file_system_takes_for_one_are_told(tmp_path) -> None:
    names = ("a.png", "b.png", "A.png", "b.jpg")
    entries = [Entry(name[0], None, tmp_path / name, tmp_path) for name in names]
    told = [str(problem) for problem in drawn.alike({"train": entries, "val": entries[:1]})]

    assert [
        f"{tmp_path / 'A.png'}: has the same stem as {tmp_path / 'a.png'}",
        f"{tmp_path / 'b.jpg'}: has the same stem as {tmp_path / 'b.png'}",
    ] == [line.split(" (ignoring")[0] for line in told]
