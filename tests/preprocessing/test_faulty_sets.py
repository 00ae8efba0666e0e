"""Faults of a set of files rather than of one: pairs, splits, names, links, and their effect on the scores."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.core import records
from segline.core.errors import DataError
from segline.dataset import processed
from segline.dataset import raw as raw_dataset
from segline.dataset.raw import Pair
from segline.preprocessing.image_files import png
from segline.sources.collecting import splitting
from stages import evaluate, preprocess, train
from tests import folders, tiny
from tests.preprocessing import faulty
from tests.preprocessing.faulty import PHOTO, put, relist, reported
from tests.stages.test_preprocess import ROOT, parameters, run


@pytest.fixture
def raw(tmp_path, monkeypatch):
    return faulty.begin(tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_a20_half_a_pair_is_reported(raw, kind):
    raw.write()
    path = raw.folder / "train" / f"{kind}s" / "train_1.png"
    path.rename(path.with_name("TRAIN_1.png"))

    orphan, missing = reported(raw)

    assert orphan.startswith(
        f"raw/train/{kind}s/TRAIN_1.png: not listed in dataset.json; {path} is, a name that differs"
    )
    assert missing.startswith(f"{path}: missing")


def test_object_numbers_are_files_of_the_set(raw):
    """Listed and there: no word. Listed and not there: an error."""
    raw.write()
    (raw.folder / "train/objects").mkdir()
    png.write_png(raw.folder / "train/objects/train_1.png", np.zeros((12, 16), np.uint16))
    relist(raw, 1, objects="objects/train_1.png", sha256_objects="0" * 64)
    shutil.rmtree(run())
    relist(raw, 2, objects="objects/train_2.png", sha256_objects="0" * 64)

    (line,) = reported(raw)

    assert line.startswith("raw/train/objects/train_2.png: missing. ")


def test_a20_two_images_of_one_stem_are_reported(raw):
    raw.write()
    photo = raw.folder / "train" / "images" / "train_1.jpg"
    photo.write_bytes(PHOTO)
    data = raw_dataset.read(raw.folder)
    twin = replace(data.splits["train"][1], image="images/train_1.jpg", sha256_image=hashlib.sha256(PHOTO).hexdigest())
    raw_dataset.write(raw.folder, replace(data, splits={**data.splits, "train": [*data.splits["train"], twin]}))

    lines = reported(raw)

    assert all(any(line.startswith(f"{path}: duplicate stem 'train_1'") for line in lines)
               for path in (photo, raw.image("train", "train_1")))  # fmt: skip


def test_a21_equal_pixels_in_two_splits_are_reported_though_the_files_differ(raw):
    pixels = cv2.imread(str(raw.image("val", "val_0")))
    same = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    assert same != raw.image("val", "val_0").read_bytes()
    path = put(raw, "image", same)

    (line,) = reported(raw)

    assert line == (
        f"{path}: an image of the same pixels is in another split: raw/val/images/val_0.png. Keep one of them only."
    )


def test_a21_images_that_only_shrink_to_the_same_are_no_leak(raw):
    parameters(1, 1)
    for split in raw.splits:
        for number, stem in enumerate(raw.splits[split]):
            pixels = np.full((12, 16, 3), 100, np.uint8)
            pixels[number, {"train": 0, "val": 1}[split]] += 1
            png.write_png(raw.image(split, stem), pixels)
    raw.write()

    assert run().is_dir()


def test_a23_a_split_of_one_pair_is_enough(raw):
    raw.add("test", "only")
    raw.write()

    assert processed.read(run() / "test").index.num_rows == 1


def test_a23_a_pair_that_is_listed_twice_is_reported(raw):
    raw.splits["train"].append("train_1")
    raw.write()

    lines = reported(raw)

    assert {"raw/train/images/train_1.png: duplicate stem 'train_1'"} == {line.split(" (")[0] for line in lines}


def test_a24_a_class_absent_from_test_and_a26_images_of_one_colour_leave_every_score_defined(tmp_path, monkeypatch):
    """The absent class has no IoU, neither 0 nor 1; the mean is over the others."""
    tiny.begin(tmp_path, monkeypatch, train__epochs=1)
    data = raw_dataset.read(Path("data/raw"))
    splits = {split: [blank(split, pair) for pair in listed] for split, listed in data.splits.items()}
    raw_dataset.write(Path("data/raw"), replace(data, splits=splits))
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])

    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)

    scores = json.loads(Path("metrics/eval.json").read_text())
    assert all(np.isfinite(float(row[name])) for row in records.read_csv(Path("metrics/history.csv")) for name in row)
    assert {"dark", "middle"} == set(scores["iou"])
    assert scores["miou"] == pytest.approx(sum(scores["iou"].values()) / 2, abs=1e-6)


def blank(split: str, pair: Pair) -> Pair:
    """The pair with an image of one gray, which differs between images; in test without the class "bright"."""
    folder = Path("data/raw", split)
    shade = int(hashlib.sha256(f"{split}{pair.stem}".encode()).hexdigest()[:2], 16)
    png.write_png(folder / pair.image, np.full((*tiny.SIZE, 3), shade, np.uint8))
    mask = cv2.imread(str(folder / pair.mask), cv2.IMREAD_GRAYSCALE)
    png.write_png(folder / pair.mask, np.where((mask == 2) & (split == "test"), tiny.VOID.value, mask).astype(np.uint8))
    digests = {f"sha256_{kind}": hashlib.sha256((folder / path).read_bytes()).hexdigest()
               for kind, path in (("image", pair.image), ("mask", pair.mask))}  # fmt: skip
    return replace(pair, **digests)


def test_a29_a_name_with_a_line_break_is_reported_and_one_of_255_bytes_is_taken(raw):
    raw.write()
    long = "x" * 251
    for kind in ("images", "masks"):
        folder = raw.folder / "train" / kind
        (folder / "train_1.png").rename(folder / f"{long}.png")
    relist(raw, 1, stem=long, image=f"images/{long}.png", mask=f"masks/{long}.png")
    assert processed.read(run("taken") / "train").index.num_rows == 3
    shutil.rmtree("taken")
    relist(raw, 0, stem="two\nlines")

    (line,) = reported(raw)

    assert line.startswith("raw/train/images/train_0.png: stem 'two\\nlines' contains a line break or another")


def bind(path: Path) -> None:
    """Makes a socket that nobody listens on."""
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(path))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        pytest.param(lambda path: path.mkdir(), "a folder, pipe or device", id="folder"),
        pytest.param(os.mkfifo, "a folder, pipe or device", id="pipe"),
        pytest.param(bind, "cannot be read (No such device or address)", id="socket"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), "a folder, pipe or device", id="device"),
        pytest.param(lambda path: path.symlink_to(path.name), "cannot be read", id="loop"),
        pytest.param(lambda path: path.symlink_to("gone"), "a link that leads nowhere", id="dangling"),
    ],
)
def test_a30_what_is_not_a_file_is_reported_without_waiting_for_it(raw, make, problem):
    raw.write()
    path = raw.image("train", "train_1")
    path.unlink()
    make(path)

    (line,) = reported(raw)

    assert line.startswith(f"{path}: {problem}")


@pytest.mark.parametrize("make", [os.mkfifo, bind])
def test_a30_what_is_not_a_file_in_a_folder_of_the_user_is_reported(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    folders.pairs(tmp_path, "images/{}.png", "masks/{}.png", ["a", "b", "c"])
    (tmp_path / "images/b.png").unlink()
    make(Path("images/b.png"))
    form = splitting.ByRatio(by="ratio", shares={"train": 1.0}, seed=1)

    with pytest.raises(DataError, match=r"images/b\.png: a folder, pipe, device or broken link, expected a file"):
        splitting.entries(tmp_path, "images/*.png", "masks/*.png", form, group="")


def test_a30_a_file_that_may_not_be_read_is_reported(raw):
    """Root may read every file, so as root the user nobody tries, in a process and a folder of its own."""
    raw.write()
    code = (
        "import os, pwd\nfrom segline.monitoring import console\nfrom stages import preprocess\n"
        "if os.geteuid() == 0:\n"
        "    nobody = pwd.getpwnam('nobody')\n"
        "    os.setgroups([])\n    os.setgid(nobody.pw_gid)\n    os.setuid(nobody.pw_uid)\n"
        "console.run(preprocess.main, ['--raw', 'raw', '--processed', 'processed'])\n"
    )
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        shutil.copytree("raw", Path(place, "raw"))
        Path(place, raw.image("train", "train_1")).chmod(0)
        shutil.copy("params.yaml", place)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
        left = {path.name for path in Path(place).iterdir()}

    problem = "raw/train/images/train_1.png: cannot be read (Permission denied). Check the file and its permissions."
    elsewhere = "warning: DVC undoes edits in raw: fix the source that data.input names, and run again"
    assert (1, "", f"{elsewhere}\nerror: {problem}\n") == (done.returncode, done.stdout, done.stderr)
    assert {"raw", "params.yaml"} == left


def test_a31_each_file_is_opened_once_so_that_what_is_hashed_is_what_is_decoded(raw):
    """In a process of its own, since an audit hook cannot be removed."""
    raw.write()
    code = (
        "import sys\nfrom stages import preprocess\nopened = []\n"
        "sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == 'open' else None)\n"
        "preprocess.main(['--raw', 'raw', '--processed', 'processed'])\n"
        "print(*(path for path in opened if path.startswith('raw/') and path.endswith('.png')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    opened = done.stdout.splitlines()[-1].split()

    assert sorted(opened) == sorted(str(path) for path in raw.folder.rglob("*.png"))
    assert len(opened) == 10
