"""`segline predict`, with a network that the train stage trained."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
import torch

from segline import __main__ as command
from segline.core import records
from segline.core.errors import DataError, IntegrityError, ParameterError
from segline.dataset import processed
from segline.model import batches, checkpoint, forward
from segline.preprocessing.image_files import png
from stages import train
from tests import tiny
from tests.contract.closure import ROOT

STREET = "Stra\u00dfe-\u6771\u4eac"
NAMES = [f"test{number}" for number in range(4)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with raw and processed data and a model that tells the three bands apart."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        tiny.begin(folder, patch, train__epochs=15)
        train.main(tiny.TRAIN)
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """An empty folder to work in, and the trained one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    return trained


def run(project: Path, *inputs: object, out: str = "out", options: tuple[str, ...] = ()) -> Path:
    model = project / "models/model.safetensors"
    command.main(["predict", "--model", str(model), "--out", out, *options, "--", *(str(given) for given in inputs)])
    return Path(out)


def mask(out: Path, name: str) -> np.ndarray:
    return cv2.imread(str(out / f"masks/{name}.png"), cv2.IMREAD_UNCHANGED)


def own_images(project: Path) -> Path:
    return project / "data/raw/test/images"


def names(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def picture(path: str, height: int, width: int, channels: int = 3) -> np.ndarray:
    """Writes three bands with noise, at any size."""
    bands = np.arange(width)[None] * 3 // width * 100
    noise = np.random.default_rng(height * width).integers(0, 30, (height, width, channels))
    pixels = np.broadcast_to((bands[..., None] + noise), (height, width, channels)).astype(np.uint8)
    png.write_png(Path(path), pixels)
    return pixels


def test_masks_are_evaluate_s_predictions_at_the_masks_own_resolution(project):
    out = run(project, own_images(project), options=("--batch-size", "3"))
    split = processed.read(project / "data/processed/test")
    network, _ = checkpoint.read(project / "models/model.safetensors")
    images = batches.load(split.images, split.onehot, 3, torch.device("cpu")).images
    inputs = batches.inputs(images, batches.MEAN, batches.STD)
    logits = [*forward.logits(network, inputs[:3]), *forward.logits(network, inputs[3:])]

    for image_logits, origin in zip(logits, split.index.origins, strict=True):
        predicted = mask(out, origin.stem)
        assert predicted.dtype == np.uint8
        assert (forward.classes_at(image_logits, origin.height, origin.width) == predicted).all()
        assert set(np.unique(predicted)) == {0, 1, 2}


def test_the_batch_size_does_not_matter(project):
    """Except for a few pixels whose classes are tied to the last bit."""
    outs = [run(project, own_images(project), out=f"out{size}", options=("--batch-size", size)) for size in ("1", "8")]

    for name in NAMES:
        assert np.mean(mask(outs[0], name) != mask(outs[1], name)) < 0.005


def test_every_image_keeps_its_own_size_in_a_batch_of_many(project):
    sizes = [(1, 1), (7, 3), (12, 20), (18, 30), (61, 47), (5, 200)]
    for height, width in sizes:
        picture(f"in/{height}x{width}.png", height, width)
    out = run(project, "in")
    rows = {row["image"]: row for row in records.read_csv(out / "summary.csv")}

    for height, width in sizes:
        name = f"{height}x{width}"
        assert (height, width) == mask(out, name).shape
        assert (str(height), str(width)) == (rows[name]["height"], rows[name]["width"])
        overlay = cv2.imread(str(out / f"overlays/{name}.png"), cv2.IMREAD_UNCHANGED)
        assert overlay.shape[0] > height


def test_gray_jpeg_and_folders_may_be_mixed(project):
    picture("in/gray.png", 30, 40, channels=1)
    pixels = picture("in/sub/colour.png", 30, 40)
    Path("in/sub/colour.png").unlink()
    cv2.imwrite("in/sub/photo.JPG", pixels)
    out = run(project, "in", own_images(project) / "test0.png")

    assert ["gray", "sub/photo", "test0"] == [row["image"] for row in records.read_csv(out / "summary.csv")]
    assert (mask(out, "gray") == mask(out, "sub/photo")).mean() > 0.95


def test_the_shares_are_those_of_the_mask_and_sum_to_1(project):
    out = run(project, own_images(project))

    for row in records.read_csv(out / "summary.csv"):
        shares = [float(row[f"{label.name}_share"]) for label in tiny.CLASSES]
        counts = np.bincount(mask(out, row["image"]).ravel(), minlength=3)
        assert shares == pytest.approx(counts / counts.sum(), abs=1e-6)
        assert sum(shares) == pytest.approx(1, abs=3e-6)


def test_with_flip_the_mirrored_image_gives_the_mirrored_mask(project):
    """At the model's own input size, without any resize."""
    pixels = picture("in/plain.png", 12, 20)
    png.write_png(Path("in/mirrored.png"), np.ascontiguousarray(pixels[:, ::-1]))
    plain, flipped = run(project, "in", out="plain"), run(project, "in", out="flip", options=("--flip",))

    assert (mask(flipped, "mirrored") == mask(flipped, "plain")[:, ::-1]).all()
    assert (mask(plain, "mirrored") != mask(plain, "plain")[:, ::-1]).any(), "without it, they may differ"


def test_the_scale_1_is_the_prediction_itself_and_others_are_not(project):
    plain = run(project, own_images(project), out="plain")
    one = run(project, own_images(project), out="one", options=("--scales", "1.0"))
    three = run(project, own_images(project), out="three", options=("--scales", "0.75", "1.0", "1.25"))

    assert all((mask(plain, name) == mask(one, name)).all() for name in NAMES)
    assert any((mask(plain, name) != mask(three, name)).any() for name in NAMES)


def test_a_bad_image_is_named_and_the_others_are_predicted(project, capsys):
    shutil.copytree(own_images(project), "in")
    Path("in/test1.png").write_bytes(b"no image")
    Path("in/test2.png").write_bytes(Path("in/test3.png").read_bytes()[:-30])
    with pytest.raises(DataError, match="out: 2 of 4 images could not be predicted"):
        run(project, "in")
    printed = capsys.readouterr()

    assert ["in/test1.png", "in/test2.png"] == re.findall(r"warning: (\S+): ", printed.err)
    assert printed.out == "predict: 2 of 4 images -> out: masks, overlays, summary.csv\n"
    assert ["test0", "test3"] == [row["image"] for row in records.read_csv(Path("out/summary.csv"))]
    assert {"test0.png", "test3.png"} == names("out/masks") == names("out/overlays")


def test_missing_unsupported_and_duplicate_images_are_reported_and_the_others_are_predicted(project, capsys):
    shutil.copytree(own_images(project), "in")
    cv2.imwrite("in/test1.jpg", picture("in/test4.png", 20, 30))
    Path("in/test5.png").symlink_to("gone")
    Path("in/scan.jp2").touch()
    with pytest.raises(DataError, match="out: 3 of 8 images could not be predicted"):
        run(project, "gone.png", "in")
    printed = capsys.readouterr()

    assert [
        "in: image files in unsupported formats are ignored: 1 x .jp2. Convert them to PNG.",
        "gone.png: missing, expected an image or a folder of images. Check the path.",
        "in/test1.png: its results would have the name test1, like those of in/test1.jpg. "
        "Rename one, or predict them into different folders.",
        "in/test5.png: a link that leads nowhere. Put back what it leads to, or remove it.",
    ] == [line.removeprefix("warning: ") for line in printed.err.splitlines()]
    assert printed.out == "predict: 5 of 8 images -> out: masks, overlays, summary.csv\n"
    assert [f"test{n}" for n in range(5)] == [row["image"] for row in records.read_csv(Path("out/summary.csv"))]


def test_a_name_as_long_as_the_file_system_allows_is_predicted(project):
    name = "a" * 251
    picture(f"in/{name}.png", 20, 30)
    out = run(project, "in", options=("--instances", "dark"))

    assert [name] == [row["image"] for row in records.read_csv(out / "summary.csv")]
    assert {f"{name}.png"} == names("out/masks") == names("out/overlays") == names("out/instances")


def test_results_that_cannot_be_written_are_a_problem_of_their_image_alone(project, capsys):
    shutil.copytree(own_images(project), "in")
    Path("out/overlays/test1.png/taken").mkdir(parents=True)
    records.write_csv(Path("out/summary.csv"), ["image", "height", "width"], [])
    with pytest.raises(DataError, match="out: 1 of 4 images could not be predicted"):
        run(project, "in")
    printed = capsys.readouterr()

    assert re.fullmatch(
        r"warning: in/test1\.png: its results cannot be written: out/overlays/test1\.png: Is a directory\. .*\n",
        printed.err,
    )
    assert ["test0", "test2", "test3"] == [row["image"] for row in records.read_csv(Path("out/summary.csv"))]
    assert {"test0.png", "test2.png", "test3.png"} == names("out/masks")


def test_a_full_disk_ends_everything_and_names_the_file(project, monkeypatch):
    def full(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(png, "write_png", full)
    with pytest.raises(OSError, match=r"No space left on device: 'out/masks/test\d.png'"):
        run(project, own_images(project))
    assert set() == names("out") - {"summary.csv", "masks", "overlays"}


def test_a_jpeg_with_damaged_pixels_is_a_bad_image(project, capfd):
    """libjpeg decodes it and only writes a warning to standard error, which names no file."""
    pixels = picture("in/good.png", 200, 300)
    for name in ("first", "damaged", "last"):
        cv2.imwrite(f"in/{name}.jpg", pixels)
    content = bytearray(Path("in/damaged.jpg").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2] = b"\xff\xd3"  # a misplaced restart marker
    Path("in/damaged.jpg").write_bytes(content)
    with pytest.raises(DataError, match="1 of 4 images"):
        run(project, "in")

    assert re.fullmatch(r"warning: in/damaged.jpg: damaged: Corrupt JPEG data.*\n", capfd.readouterr().err)
    assert {"good.png", "first.png", "last.png"} == names("out/masks")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--batch-size", "0"), "--batch-size: expected 1 or more, got 0"),
        (("--scales", "1.0", "0"), "--scales: expected numbers above 0 .*, got 0.0"),
        (("--scales", "nan"), "--scales: expected numbers .*, got nan"),
        (("--scales", "inf"), "--scales: expected numbers .*, got inf"),
        (("--scales", "1000"), "--scales: expected numbers above 0 and up to 409.6 for this model"),
        (("--instances", "middle", "brigt"), "'brigt' is not a class of the model. Did you mean bright"),
    ],
)
def test_an_invalid_option_is_refused_before_any_work(project, options, message):
    with pytest.raises(ParameterError, match=message):
        run(project, own_images(project), options=options)
    assert not Path("out").exists()


def test_a_missing_model_and_another_file_have_a_remedy_that_fits(project):
    picture("a.png", 4, 4)
    Path("other.safetensors").write_bytes(b"something else")
    for model in ("gone.safetensors", "other.safetensors"):
        with pytest.raises(IntegrityError, match=f"{model}: .*make repro.*dvc pull.*another file"):
            command.main(["predict", "a.png", "--model", model, "--out", "out"])
    assert not Path("out").exists()


def test_objects_are_numbered_on_request(project):
    out = run(project, own_images(project), options=("--instances", "bright", "dark", "bright"))
    rows = records.read_csv(out / "instances.csv")

    assert {row["class"] for row in rows} == {"bright", "dark"}
    for name in NAMES:
        numbers = cv2.imread(str(out / f"instances/{name}.png"), cv2.IMREAD_UNCHANGED)
        predicted = mask(out, name)
        mine = [row for row in rows if row["image"] == name]
        assert ((numbers > 0) == np.isin(predicted, [0, 2])).all()
        assert [int(row["area"]) for row in mine] == np.bincount(numbers.ravel())[1:].tolist()


def started(project: Path, *arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "segline", "predict", "--model", str(project / "models/model.safetensors")]
    return subprocess.Popen([*start, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and standard error."""
    _, printed = process.communicate()
    return process.returncode, printed


@pytest.mark.slow
def test_exit_codes_difficult_names_and_one_line_per_error(project):
    for name in ("-dash", "with space", STREET):
        picture(f"in/{name}.png", 12, 20)
    shutil.copy("in/-dash.png", "-dash.png")

    assert (0, "") == ended(started(project, "--out=-out", "in"))
    assert {"-dash.png", "with space.png", f"{STREET}.png"} == names("-out/masks")
    assert (0, "") == ended(started(project, "--out", "dash", "--", "-dash.png"))

    Path("in/broken.png").touch()
    assert (
        1,
        "warning: in/broken.png: empty file, expected an image. Copy or export the file again.\n"
        "error: bad: 1 of 4 images could not be predicted. They are named above; all others were.\n",
    ) == ended(started(project, "--out", "bad", "in"))

    bad = "error: none: none of 1 images could be predicted. They are named above.\n"
    assert bad == ended(started(project, "--out", "none", "in/broken.png"))[1].splitlines(keepends=True)[-1]

    code, message = ended(started(project, "--out", "in/-dash.png/out", "in"))  # where even root cannot write
    assert (1, 1) == (code, len(message.splitlines()))
    assert message.startswith("error: in/-dash.png")


@pytest.mark.slow
def test_ctrl_c_leaves_complete_files_and_a_summary_of_them(project):
    picture("in/0000.png", 360, 480)
    for number in range(1, 3000):
        os.link("in/0000.png", f"in/{number:04}.png")
    process = started(project, "--out", "out", "--batch-size", "2", "in")
    while len(list(Path("out").glob("overlays/[0-9]*.png"))) < 5:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)

    assert (130, "error: stopped by Ctrl-C\n") == ended(process)
    listed = {f"{row['image']}.png" for row in records.read_csv(Path("out/summary.csv"))}
    assert 5 <= len(listed) < 3000
    assert listed == names("out/masks") == names("out/overlays")
    for kind in ("masks", "overlays"):
        for path in Path("out", kind).iterdir():
            assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None


def test_the_least_certain_image_comes_first(project):
    out = run(project, own_images(project), options=("--rank",))
    rows = records.read_csv(out / "summary.csv")
    entropies = [float(row["entropy"]) for row in rows]
    plain = records.read_csv(run(project, own_images(project), out="plain") / "summary.csv")

    assert sorted(entropies, reverse=True) == entropies
    assert all(0 <= float(row["margin"]) <= 1 and 0 < float(row["entropy"]) < np.log(3) for row in rows)
    assert set(NAMES) == {row["image"] for row in rows}
    assert plain == sorted(({k: row[k] for k in plain[0]} for row in rows), key=lambda row: row["image"])
    assert (out / "least_certain.png").is_file()


@pytest.mark.parametrize("options", [(), ("--flip", "--scales", "1.0", "1.5")])
def test_planes_of_probabilities_have_the_image_s_size_and_the_mask_s_classes(project, options):
    out = run(project, own_images(project), options=("--probabilities", *options))

    for name in NAMES:
        with rasterio.open(out / f"probabilities/{name}.tif") as file:
            planes = file.read()
            assert tuple(label.name for label in tiny.CLASSES) == file.descriptions
        assert np.uint8 == planes.dtype
        assert (np.abs(planes.astype(int).sum(axis=0) - 255) <= 2).all()
        chosen = np.take_along_axis(planes, mask(out, name)[None], axis=0)[0]
        assert (chosen == planes.max(axis=0)).all()


def test_probabilities_and_ranks_are_those_at_the_temperature_of_the_model_and_classes_are_not(project):
    network, description = checkpoint.read(project / "models/model.safetensors")
    outs = []
    for temperature in (1.0, 3.0):
        changed = replace(description, temperature=temperature)
        checkpoint.write(Path(f"{temperature}/models/model.safetensors"), network.state_dict(), changed)
        options = ("--probabilities", "--rank")
        outs.append(run(Path(f"{temperature}"), own_images(project), out=f"out-{temperature}", options=options))
    cold, hot = outs
    cold_rows, hot_rows = (
        {row["image"]: float(row["entropy"]) for row in records.read_csv(out / "summary.csv")} for out in outs
    )

    for name in NAMES:
        planes = [rasterio.open(out / f"probabilities/{name}.tif").read().astype(float) / 255 for out in outs]
        flattened = planes[0] ** (1 / 3.0)
        sure = planes[0].min(axis=0) > 0.05  # the others are rounded too much
        assert sure.any()
        assert np.abs(flattened / flattened.sum(axis=0) - planes[1])[:, sure].max() < 0.02
        assert np.array_equal(mask(cold, name), mask(hot, name))
        assert hot_rows[name] > cold_rows[name]


@pytest.mark.parametrize("form", ["coco", "labelme", "cvat"])
def test_annotations_are_never_replaced(project, form):
    out = run(project, own_images(project), options=("--annotations", form, "--tolerance", "0", "--least-area", "0"))
    written = [
        path for path in sorted(out.rglob("*")) if path.name.startswith("annotations.") or path.suffix == ".json"
    ]

    assert (4 if form == "labelme" else 1) == len(written)
    assert all(path.stat().st_size > 200 for path in written)
    with pytest.raises(ParameterError, match=r"which someone may have corrected. Name a new folder, or move it away."):
        run(project, own_images(project))


def test_annotations_are_refused_for_pages(project):
    pages = np.zeros((2, 12, 20), np.uint8)
    Path("in").mkdir()
    cv2.imwritemulti("in/stack.tif", list(pages))
    with pytest.raises(DataError, match="has several pages"):
        run(project, "in", options=("--annotations", "coco"))
    assert not Path("out").exists()
