import hashlib
import shutil
from collections import namedtuple

import pytest

from segline.core.errors import DataError
from segline.dataset.raw import Pair
from segline.sources.collecting import copying
from segline.sources.collecting.listing import Entry


@pytest.fixture
def entry(tmp_path):
    """A pair whose files have the same name in two folders; the image is larger than one chunk of a copy."""
    contents = {"i": b"i" * (copying.CHUNK + 1), "m": b"mask"}
    for folder, content in contents.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(content)
    return Entry("a", "video", tmp_path / "i/a.png", tmp_path / "m/a.png")


def test_the_copies_are_the_files_byte_for_byte_and_so_are_the_checksums(tmp_path, entry):
    pairs = copying.copy({"train": [entry], "val": []}, tmp_path / "raw")
    image, mask = ((tmp_path / folder / "a.png").read_bytes() for folder in "im")

    assert image == (tmp_path / "raw/train/images/a.png").read_bytes()
    assert mask == (tmp_path / "raw/train/masks/a.png").read_bytes()
    assert pairs == {
        "train": [
            Pair(
                "a",
                "video",
                "images/a.png",
                "masks/a.png",
                hashlib.sha256(image).hexdigest(),
                hashlib.sha256(mask).hexdigest(),
            )
        ],
        "val": [],
    }


def test_a_link_is_copied_as_the_file_it_leads_to(tmp_path, entry):
    entry.image.rename(tmp_path / "i/stored")
    entry.image.symlink_to(tmp_path / "i/stored")
    copying.copy({"train": [entry]}, tmp_path / "raw")

    assert not (tmp_path / "raw/train/images/a.png").is_symlink()


def test_a_disk_without_room_for_dvcs_copy_too_is_told_before_the_first_byte(tmp_path, entry, monkeypatch):
    """The files have 2 MiB and ten bytes; two copies are needed."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 << 20))

    with pytest.raises(
        DataError, match=r"raw: 2 MiB free on its disk, expected at least 3 MiB, twice the size .* cache"
    ):
        copying.copy({"train": [entry]}, tmp_path / "raw")
    assert [] == list((tmp_path / "raw").iterdir())

    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage((2 << 20) + 10))
    assert 1 == len(copying.copy({"train": [entry]}, tmp_path / "raw")["train"])
