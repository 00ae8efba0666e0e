import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from segline.core.errors import ParameterError, PipelineError, Problems
from segline.dataset import processed as processed_split
from segline.dataset import raw as raw_dataset
from segline.dataset.onehot import VOID as NO_CLASS
from segline.dataset.onehot import unpack
from segline.dataset.origins import Origin
from segline.dataset.raw import Dataset, Label, Pair, Void
from segline.preprocessing import images
from segline.preprocessing.image_files import png
from stages import preprocess
from tests import pictures, tiny
from tests.preprocessing.image_files.test_headers import jpeg

ROOT = Path(__file__).parents[2]
CLASSES = tuple(Label(name, (number, number, number)) for number, name in enumerate(("sky", "road", "tree")))
VOID = Void(9, (0, 0, 0))


@dataclass
class Raw:
    """A raw data set under construction; `write` lists its files in dataset.json."""

    folder: Path
    splits: dict[str, list[str]] = field(default_factory=dict)
    classes: tuple[Label, ...] = CLASSES
    values: tuple[int, ...] = (0, 1, 2)
    void: Void | None = VOID
    encoding: str = "index"
    extension: str = ".png"  # of images

    def add(self, split: str, stem: str, height: int = 12, width: int = 16, channels: int = 3) -> None:
        seed = int.from_bytes(hashlib.sha256(f"{split}/{stem}".encode()).digest()[:4], "big")
        random = np.random.default_rng(seed)
        shape = (height, width, channels)
        png.write_png(self.image(split, stem), random.integers(0, 256, shape, np.uint8))
        values = np.array([*self.values, *([self.void.value] if self.void else [])], np.uint8)
        png.write_png(self.mask(split, stem), random.choice(values, (height, width)))
        self.splits.setdefault(split, []).append(stem)

    def image(self, split: str, stem: str) -> Path:
        return self.folder / split / "images" / f"{stem}{self.extension}"

    def mask(self, split: str, stem: str) -> Path:
        return self.folder / split / "masks" / f"{stem}.png"

    def pair(self, split: str, stem: str) -> Pair:
        paths = self.image(split, stem), self.mask(split, stem)
        digests = [hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest() for path in paths]
        return Pair(stem, f"{split}-drive", *(str(path.relative_to(self.folder / split)) for path in paths), *digests)

    def write(self) -> None:
        splits = {split: [self.pair(split, stem) for stem in stems] for split, stems in self.splits.items()}
        raw_dataset.write(self.folder, Dataset("street", self.classes, self.values, self.void, self.encoding, splits))


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Three pairs in train, two in val, and the parameters for arrays of 6x8 pixels."""
    monkeypatch.chdir(tmp_path)
    parameters()
    made = Raw(Path("raw"))
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            made.add(split, f"{split}_{number}")
    return made


def parameters(
    height: int = 6,
    width: int = 8,
    void: str = "ignore",
    channels: int = 3,
    merge: dict[str, list[str]] | None = None,
    **others: Any,
) -> None:
    bands = {1: "gray", 3: "rgb"}.get(channels, f"{channels} bands")
    changes = {"height": height, "width": width, "bands": bands, "void": void, "merge": merge or {}}
    section = tiny.PARAMETERS["preprocess"] | changes | others
    Path("params.yaml").write_text(yaml.safe_dump({"preprocess": section}, sort_keys=False))


def run(processed: str = "processed") -> Path:
    preprocess.main(["--raw", "raw", "--processed", processed])
    return Path(processed)


ELSEWHERE = "warning: DVC undoes edits in raw: fix the source that data.input names, and run again"


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def lines(raw: Raw) -> list[str]:
    """The problems of a data set that the stage refuses completely, leaving nothing behind."""
    raw.write()
    with pytest.raises(PipelineError) as caught:
        run()
    assert not Path("processed").exists()
    assert not Path(".processed.partial").exists()
    problems = caught.value.problems if isinstance(caught.value, Problems) else [caught.value]
    return [str(problem) for problem in problems]


def test_rows_hold_the_resized_pairs_in_the_order_of_stems(raw):
    raw.write()

    split = processed_split.read(run() / "train")

    assert [origin.stem for origin in split.index.origins] == ["train_0", "train_1", "train_2"]
    for number, origin in enumerate(split.index.origins):
        image = cv2.imread(str(raw.folder / "train" / origin.image))[:, :, ::-1]
        mask = cv2.imread(str(raw.folder / "train" / origin.mask), cv2.IMREAD_GRAYSCALE)
        classes = np.where(mask == VOID.value, NO_CLASS, mask)
        np.testing.assert_array_equal(split.images[number], images.resize_image(np.ascontiguousarray(image), 6, 8))
        np.testing.assert_array_equal(unpack(split.onehot[number], 3), images.resize_mask(classes, 6, 8))


def test_the_index_records_where_rows_came_from(raw):
    raw.write()

    index = processed_split.read(run() / "val").index

    first = raw.pair("val", "val_0")
    assert index.origins[0] == Origin(
        first.stem, first.group, 12, 16, first.image, first.mask, first.sha256_image, first.sha256_mask
    )
    assert tuple(index.rows) == tuple(processed_split.Row(number, 0, 0) for number in range(2))
    assert replace(index, origins=()) == processed_split.Index(
        "street",
        "val",
        CLASSES,
        VOID,
        False,
        "index",
        ((0, 0), (1, 1), (2, 2), (9, None)),
        tiny.stretched(6, 8),
        origins=(),
    )


def test_void_can_become_a_class_of_its_own(raw):
    parameters(12, 16, void="class")
    raw.write()

    split = processed_split.read(run() / "train")

    mask = cv2.imread(str(raw.mask("train", "train_0")), cv2.IMREAD_GRAYSCALE)
    assert split.index.classes == (*CLASSES, Label("void", VOID.rgb))
    assert split.index.void_is_class
    assert split.index.values == ((0, 0), (1, 1), (2, 2), (9, 3))
    np.testing.assert_array_equal(unpack(split.onehot[0], 4), np.where(mask == VOID.value, 3, mask))


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_and_rgb_images_may_be_mixed(raw, channels):
    raw.add("train", "a", channels=1)
    raw.write()
    parameters(12, 16, channels=channels)

    split = processed_split.read(run() / "train")

    gray = cv2.imread(str(raw.image("train", "a")), cv2.IMREAD_GRAYSCALE)
    assert split.images.shape == (4, 12, 16, channels)
    np.testing.assert_array_equal(split.images[0], gray[:, :, None].repeat(channels, axis=2))


def test_merged_classes_take_the_place_and_colour_of_their_first_member(raw):
    """The order of the keys must not matter: DVC ignores it, and would not run the stage again."""
    raw.write()
    parameters(12, 16, merge={"thing": ["tree", "road"], "background": ["sky"]})
    once = hashes(run("once"))
    parameters(12, 16, merge={"background": ["sky"], "thing": ["tree", "road"]})

    split = processed_split.read(run() / "train")

    mask = cv2.imread(str(raw.mask("train", "train_0")), cv2.IMREAD_GRAYSCALE)
    assert split.index.classes == (Label("background", CLASSES[0].rgb), Label("thing", CLASSES[2].rgb))
    assert split.index.values == ((0, 0), (1, 1), (2, 1), (9, None))
    np.testing.assert_array_equal(unpack(split.onehot[0], 2), np.choose(mask % 9, [0, 1, 1]) + 255 * (mask == 9))
    assert hashes(Path("processed")) == once


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", "\x1b[2J"])
def test_a_merged_class_whose_name_no_reader_would_accept_is_refused(raw, name):
    parameters(merge={name: ["tree", "road"], "background": ["sky"]})
    with pytest.raises(ParameterError, match=r"params.yaml: preprocess.merge") as caught:
        preprocess.main(["--raw", "raw", "--processed", "processed"])

    assert 1 == len(str(caught.value).splitlines())


def test_a_merge_that_does_not_fit_the_class_table_is_reported_before_any_work(raw):
    raw.write()
    raw.image("train", "train_0").unlink()
    parameters(merge={"thing": ["tre", "road"], "background": ["sky", "road"]})

    with pytest.raises(Problems) as caught:
        run()

    assert [str(problem) for problem in caught.value.problems] == [
        "params.yaml: preprocess.merge.thing: unknown class 'tre'. Did you mean tree?",
        "params.yaml: preprocess.merge: class 'road' is listed 2 times (in thing, background), expected once. "
        "Keep it in one list.",
        "params.yaml: preprocess.merge: class 'tree' is in no list. Add it to one.",
    ]


def test_values_may_be_sparse_and_large(raw):
    raw.values, raw.void = (300, 7, 65535), Void(0, (0, 0, 0))
    for split, stems in raw.splits.items():
        for stem in stems:
            mask = cv2.imread(str(raw.mask(split, stem)), cv2.IMREAD_GRAYSCALE)
            cv2.imwrite(str(raw.mask(split, stem)), np.array([300, 7, 65535, *[0] * 7], np.uint16)[mask])
    raw.write()
    parameters(12, 16)

    onehot = processed_split.read(run() / "train").onehot[0]

    stored = cv2.imread(str(raw.mask("train", "train_0")), cv2.IMREAD_UNCHANGED)
    expected = np.select([stored == 300, stored == 7, stored == 65535], [0, 1, 2], NO_CLASS)
    np.testing.assert_array_equal(unpack(onehot, 3), expected)


def test_colour_masks_become_the_classes_of_their_colours(raw):
    colours = np.array([(1, 2, 3), (255, 0, 0), (0, 0, 255), (9, 9, 9)], np.uint8)
    raw.values, raw.void = (0x010203, 0xFF0000, 0x0000FF), Void(0x090909, (9, 9, 9))
    raw.encoding = "rgb"
    expected = {}
    for split, stems in raw.splits.items():
        for stem in stems:
            mask = cv2.imread(str(raw.mask(split, stem)), cv2.IMREAD_GRAYSCALE)
            png.write_png(raw.mask(split, stem), colours[np.minimum(mask, 3)])
            expected[stem] = np.where(mask == VOID.value, NO_CLASS, mask)
    raw.write()
    parameters(12, 16)

    onehot = processed_split.read(run() / "train").onehot

    for row in range(3):
        np.testing.assert_array_equal(unpack(onehot[row], 3), expected[f"train_{row}"])
    parameters(5, 7)
    small = unpack(processed_split.read(run() / "train").onehot[0], 3)
    np.testing.assert_array_equal(small, images.resize_mask(expected["train_0"], 5, 7))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 5)])
def test_any_size_of_images_is_resized(raw, size):
    raw.add("train", "z", *size)
    raw.write()

    rows = processed_split.read(run() / "train").index.origins

    assert (rows[-1].height, rows[-1].width) == size


def test_two_runs_give_equal_bytes_whatever_the_number_of_threads(raw, monkeypatch):
    raw.write()
    once = hashes(run("once"))
    monkeypatch.setattr(os, "cpu_count", lambda: 7)

    assert hashes(run("again")) == once


OLDER = {  # as if on an older machine: numpy, OpenCV and libjpeg without their newer instructions
    "NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"]),
    "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2,SSE4.1",
    "JSIMD_FORCENONE": "1",
}


PERCENTILES = {"by": "percentile", "low": 2, "high": 98}


def require_the_same_bytes_on_older_machines() -> None:
    for name, environment in (("newer", {}), ("older", OLDER)):
        command = [sys.executable, "-m", "stages.preprocess", "--raw", "raw", "--processed", name]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, check=True)

    assert hashes(Path("older")) == hashes(Path("newer"))


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_do_not_depend_on_the_cpu(raw, channels):
    content = jpeg()
    for split in raw.splits:
        raw.add(split, f"{split}_big", 61, 83)
    raw.write()
    listed = raw_dataset.read(raw.folder)
    photo = raw.folder / "train" / "images" / "photo.jpg"
    photo.write_bytes(content)
    png.write_png(raw.mask("train", "photo"), np.zeros((60, 90), np.uint8))
    mask_hash = hashlib.sha256(raw.mask("train", "photo").read_bytes()).hexdigest()
    pair = Pair("photo", None, "images/photo.jpg", "masks/photo.png", hashlib.sha256(content).hexdigest(), mask_hash)
    raw_dataset.write(raw.folder, replace(listed, splits={**listed.splits, "train": [*listed.splits["train"], pair]}))
    parameters(31, 37, channels=channels)

    require_the_same_bytes_on_older_machines()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("uint8", {"fit": "tile", "scale": 0.7, "bands": [1, 2, 3, 4, 5]}),
        (
            "uint16",
            {"fit": "tile", "scale": 0.3, "bands": [5, 1], "intensity": {"by": "percentile", "low": 2, "high": 98}},
        ),
        ("float32", {"fit": "pad", "bands": [4], "intensity": {"by": "percentile", "low": 2, "high": 98}}),
        ("int32", {"fit": "stretch", "bands": [1, 2, 5], "intensity": {"by": "window", "low": -7.3, "high": 99.7}}),
    ],
)
def test_bytes_of_tiles_bands_and_depths_do_not_depend_on_the_cpu(raw, kind, changes):
    for split, stems in raw.splits.items():
        for stem in stems:
            height, width = 90 + 7 * len(stem), 151
            raw.add(split, stem, height, width)
            raw.splits[split].pop()
            values = np.random.default_rng([*stem.encode()]).normal(60, 40, (height, width, 5))
            raw.image(split, stem).unlink()
            content = pictures.geotiff(values.clip(0 if kind[0] == "u" else -99, 255).astype(kind), compress="zstd")
            (raw.folder / split / "images" / f"{stem}.tif").write_bytes(content)
    raw.extension = ".tif"
    raw.write()
    parameters(64, 96, **changes)

    require_the_same_bytes_on_older_machines()


def test_all_problems_are_reported_in_one_run(raw):
    raw.image("train", "train_0").write_bytes(b"<html>")
    raw.mask("train", "train_0").write_bytes(b"")
    raw.mask("train", "train_1").unlink()
    png.write_png(raw.mask("val", "val_0"), np.full((12, 16), 5, np.uint8))
    (raw.folder / "val" / "images" / "extra.png").write_bytes(b"x")

    expected = [
        "raw/val/images/extra.png: not listed",
        "raw/train/images/train_0.png: not an image",
        "raw/train/masks/train_0.png: empty file",
        "raw/train/masks/train_1.png: missing",
        "raw/val/masks/val_0.png: value 5",
    ]

    assert [line[: len(start)] for line, start in zip(lines(raw), expected, strict=True)] == expected


def test_an_unknown_label_is_reported_with_its_count_and_first_pixel(raw):
    mask = np.zeros((12, 16), np.uint8)
    mask[4, 7] = mask[9, 1] = 3
    mask[5, 5] = 200
    png.write_png(raw.mask("val", "val_1"), mask)

    assert lines(raw) == [
        "raw/val/masks/val_1.png: value 3 on 2 pixels, first at (x, y) = (7, 4) (and 1 other unknown value), "
        "expected a value of the class table (0..2, 9). Correct the mask, or add the class to the source's table."
    ]


@pytest.mark.parametrize("size", [(12, 17), (16, 12), (24, 32)])
def test_a_mask_of_another_size_is_reported(raw, size):
    png.write_png(raw.mask("train", "train_1"), np.zeros(size, np.uint8))

    height, width = size
    assert lines(raw) == [
        f"raw/train/masks/train_1.png: {width}x{height} pixels, expected 16x12 as images/train_1.png. "
        "Export the mask at the size of its image."
    ]


def test_a_file_changed_after_the_download_is_reported(raw):
    raw.write()
    png.write_png(raw.image("val", "val_0"), np.zeros((12, 16, 3), np.uint8))

    with pytest.raises(PipelineError, match=r"raw/val/images/val_0\.png: sha256 [0-9a-f]{12}\.\.\., expected"):
        run()


def test_the_same_image_in_two_splits_is_reported(raw):
    shutil.copy(raw.image("train", "train_2"), raw.image("val", "val_1"))

    (line,) = lines(raw)

    assert line.startswith("raw/train/images/train_2.png: the same image is in another split: raw/val/images/val_1.png")


def test_the_same_mask_in_two_splits_is_not_a_leak(raw):
    shutil.copy(raw.mask("train", "train_2"), raw.mask("val", "val_1"))
    raw.write()

    assert run().is_dir()


def test_stems_that_some_file_systems_do_not_tell_apart_are_reported(raw):
    raw.add("train", "caf\u00e9")
    raw.add("train", "CAFE\u0301")

    problems = lines(raw)

    assert len(problems) == 2
    assert all("duplicate stem" in line for line in problems)


def test_an_empty_split_is_reported(raw):
    raw.splits["test"] = []

    (line,) = lines(raw)

    assert line.startswith("raw/test: empty split")


def test_a_data_set_without_splits_is_reported(raw):
    raw.splits.clear()

    (line,) = lines(raw)

    assert line.startswith("raw/dataset.json: no split")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "images/../../../secret.png"])
def test_names_that_lead_out_of_the_data_set_are_refused(raw, name):
    raw.write()
    listed = raw_dataset.read(raw.folder)
    pair = replace(listed.splits["val"][0], image=name)
    raw_dataset.write(raw.folder, replace(listed, splits={**listed.splits, "val": [pair, listed.splits["val"][1]]}))

    with pytest.raises(PipelineError, match="leads out of the data set"):
        run()


@pytest.mark.parametrize("split", ["..", "a/b", ""])
def test_a_split_that_is_not_a_folder_name_is_refused(raw, split):
    raw.splits[split] = []
    raw.write()

    with pytest.raises(PipelineError, match="is not a folder name"):
        run()


def test_void_as_a_class_needs_a_void(raw):
    raw.void = None
    raw.write()
    parameters(void="class")

    with pytest.raises(ParameterError, match=r"preprocess\.void: 'class', but this data set has no void"):
        run()


@pytest.mark.parametrize(
    "values",
    [(0, 8, "ignore", 3), (6, 9000, "ignore", 3), (6, 8, "drop", 3), (6, 8, "ignore", 2)],
)
def test_parameters_out_of_range_are_refused(raw, values):
    raw.write()
    parameters(*values)

    with pytest.raises(ParameterError, match=r"params\.yaml: preprocess\."):
        run()


def test_problems_come_with_the_place_to_fix_them(raw, capsys):
    """The files named in the problems are DVC's copies: DVC would undo an edit there."""
    raw.write()
    (raw.folder / "train" / raw.pair("train", "train_1").image).write_bytes(b"")
    with pytest.raises(PipelineError, match="train_1"):
        run()

    assert f"{ELSEWHERE}\n" == capsys.readouterr().err


def test_masks_of_void_alone_are_accepted_with_a_warning(raw, capsys):
    png.write_png(raw.mask("train", "train_1"), np.full((12, 16), VOID.value, np.uint8))
    raw.write()

    split = processed_split.read(run() / "train")

    assert not split.onehot[1].any()
    assert "raw/train: 1 of 3 masks contain only void, such as masks/train_1.png" in capsys.readouterr().err


def test_classes_without_a_pixel_are_named_with_their_split(raw, capsys):
    for stem in ("val_0", "val_1"):
        png.write_png(raw.mask("val", stem), np.full((12, 16), 1, np.uint8))
    raw.write()
    names = [label.name for label in CLASSES]

    run()

    line = f"warning: val: no pixel of {names[0]}, {names[2]} at the working size: not part of the scores\n"
    assert line == capsys.readouterr().err


def test_groups_shared_with_train_are_reported(raw, capsys):
    raw.write()
    listed = raw_dataset.read(raw.folder)
    shared = [replace(pair, group="train-drive") for pair in listed.splits["val"]]
    raw_dataset.write(raw.folder, replace(listed, splits={**listed.splits, "val": shared}))

    run()

    assert "val: 2 of 2 images share a group with train" in capsys.readouterr().err


def test_only_the_images_that_share_a_group_with_train_are_counted(raw, capsys):
    raw.write()
    listed = raw_dataset.read(raw.folder)
    first, *rest = listed.splits["val"]
    val = [replace(first, group="train-drive"), *(replace(pair, group="elsewhere") for pair in rest)]
    raw_dataset.write(raw.folder, replace(listed, splits={**listed.splits, "val": val}))

    run()

    assert "val: 1 of 2 images share a group with train" in capsys.readouterr().err


def test_a_jpeg_that_is_decoded_though_damaged_is_reported(raw):
    """Its container is intact and its checksum right: only the warning of libjpeg reveals it."""
    content = jpeg()
    cut = content[: len(content) * 3 // 4] + b"\xff\xd9"
    raw.write()
    listed = raw_dataset.read(raw.folder)
    added = []
    for stem, photo in (("cut", cut), ("good", content)):
        (raw.folder / "train" / "images" / f"{stem}.jpg").write_bytes(photo)
        png.write_png(raw.mask("train", stem), np.zeros((60, 90), np.uint8))
        mask_hash = hashlib.sha256(raw.mask("train", stem).read_bytes()).hexdigest()
        digest = hashlib.sha256(photo).hexdigest()
        added.append(Pair(stem, None, f"images/{stem}.jpg", f"masks/{stem}.png", digest, mask_hash))
    raw_dataset.write(raw.folder, replace(listed, splits={**listed.splits, "train": [*listed.splits["train"], *added]}))

    done = subprocess.run(
        [sys.executable, "-m", "stages.preprocess", "--raw", "raw", "--processed", "processed"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == (
        f"{ELSEWHERE}\n"
        "error: raw/train/images/cut.jpg: damaged: Corrupt JPEG data: premature end of data segment. "
        "Copy or export the file again.\n"
    )


def test_a_refused_data_set_leaves_the_old_arrays(raw):
    raw.write()
    before = hashes(run())
    raw.mask("train", "train_1").unlink()

    with pytest.raises(PipelineError, match="train_1"):
        run()

    assert hashes(Path("processed")) == before
    assert not Path(".processed.partial").exists()


def test_names_with_spaces_and_other_letters_are_accepted(raw):
    for stem in ("a b", "-leading", "\u00e9\u4e2d", "x" * 200):
        raw.add("train", stem)
    raw.write()

    assert processed_split.read(run() / "train").index.num_rows == 7


def test_the_last_line_says_what_was_made(raw, capsys):
    raw.write()

    run()

    assert capsys.readouterr().out == "preprocess: train 3, val 2 pairs at 8x6, 3 channels, 3 classes -> processed\n"


def test_the_last_line_of_tiles_says_how_many_they_are(raw, capsys):
    parameters(32, 32, fit="tile", overlap=0.5)
    raw.add("val", "tall", 70, 20)
    raw.write()

    run()

    assert capsys.readouterr().out == (
        "preprocess: train 3 images, 3 tiles, 576 pixels; val 3 images, 5 tiles, 1,784 pixels; neighbours share "
        "0 lines and 0 columns for overlap 0.5 at 32x32, 3 channels, 3 classes -> processed\n"
    )


def test_the_stage_imports_neither_torch_nor_mlflow():
    code = "import sys, stages.preprocess; sys.exit(bool({'torch', 'mlflow', 'matplotlib'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
