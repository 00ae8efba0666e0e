import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

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


def test_a_copy_is_a_file_of_its_own(tmp_path, entry):
    """DVC makes what it caches read-only, with all hard links of it."""
    copying.copy({"train": [entry]}, tmp_path / "raw")

    for source, copied in ((entry.image, "images"), (entry.mask, "masks")):
        assert source.stat().st_ino != (tmp_path / "raw/train" / copied / "a.png").stat().st_ino


@pytest.fixture
def reflinks(monkeypatch):
    """Makes the file system look as if it had them, and returns the files that have been made so."""
    made = []

    def ioctl(writer, request, reader):
        assert copying.FICLONE == request
        made.append(writer.name)
        content = os.pread(reader, 1 << 30, 0)
        assert len(content) == os.pwrite(writer.fileno(), content, 0)

    monkeypatch.setattr(copying.fcntl, "ioctl", ioctl)
    return made


def test_a_reflink_is_the_same_file_with_the_same_checksum(tmp_path, entry, reflinks):
    by_reference = copying.copy({"train": [entry]}, tmp_path / "one")
    assert [".reflink", "a.png", "a.png"] == [Path(name).name for name in reflinks]
    linked = sorted(path.read_bytes() for path in (tmp_path / "one").rglob("*.*"))
    pairs = by_reference["train"]

    assert [pairs[0].sha256_image, pairs[0].sha256_mask] == [
        hashlib.sha256((tmp_path / folder / "a.png").read_bytes()).hexdigest() for folder in "im"
    ]
    assert linked == sorted((tmp_path / folder / "a.png").read_bytes() for folder in "im")


@pytest.mark.usefixtures("reflinks")
def test_reflinks_need_no_space(tmp_path, entry, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))

    assert 1 == len(copying.copy({"train": [entry]}, tmp_path / "raw")["train"])


def test_on_a_file_system_with_reflinks_blocks_are_shared(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(8 << 20))
    os.sync()
    if not copying._has_reflinks(source, tmp_path):
        pytest.skip("the temporary folder is on a file system without reflinks")
    before = shutil.disk_usage(tmp_path).free
    digest = copying.copy_file(source, target)
    os.sync()

    assert before - shutil.disk_usage(tmp_path).free < 1 << 20
    assert hashlib.sha256(source.read_bytes()).hexdigest() == digest
    target.write_bytes(b"another")
    assert 8 << 20 == source.stat().st_size


def test_a_link_is_copied_as_the_file_it_leads_to(tmp_path, entry):
    entry.image.rename(tmp_path / "i/stored")
    entry.image.symlink_to(tmp_path / "i/stored")
    copying.copy({"train": [entry]}, tmp_path / "raw")

    assert not (tmp_path / "raw/train/images/a.png").is_symlink()


def test_a_disk_without_room_for_dvcs_copy_too_is_told_before_the_first_byte(tmp_path, entry, monkeypatch):
    """The files have 2 MiB and ten bytes; two copies are needed."""
    monkeypatch.setattr(copying, "_has_reflinks", lambda *_: False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 << 20))

    with pytest.raises(
        DataError, match=r"raw: 2 MiB free on its disk, expected at least 3 MiB, twice the size .* cache"
    ):
        copying.copy({"train": [entry]}, tmp_path / "raw")
    assert [] == list((tmp_path / "raw").iterdir())

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=(2 << 20) + 10))
    assert 1 == len(copying.copy({"train": [entry]}, tmp_path / "raw")["train"])
