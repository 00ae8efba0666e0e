"""The folder of predictions: what it replaces, and what it never touches."""

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from segline.core import records
from segline.core.errors import DataError, ParameterError
from segline.dataset import onehot, raw, tiling
from segline.inference import input_files, input_rows, output_folder, overlay
from segline.inference.output_folder import Band, Contents
from segline.preprocessing.image_files.image_file import Samples
from tests import tiny
from tests.contract.closure import ROOT

CLASSES = (raw.Label("sky", (10, 200, 30)), raw.Label("road", (40, 50, 250)))
IMAGE = np.zeros((3, 4, 3), np.uint8)
MASK = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]], np.uint8)


def shown(name: str, *, is_tiff: bool = False) -> input_rows.Image:
    """An image whose lines were all read."""
    height, width = MASK.shape
    grid = tiling.grid(tiny.stretched(8, 8), height, width)
    canvas, no_data = overlay.Canvas(height, width, CLASSES), input_rows.NoData(height, width)
    canvas.add_image(IMAGE)
    return input_rows.Image(input_files.InputImage(Path(f"{name}.png"), name), grid, canvas, no_data, is_tiff, None, ())


def fill(folder: Path, *names: str, counted: tuple[int, ...] = (), is_tiff: bool = False) -> None:
    with output_folder.opened(folder, CLASSES, Contents(counted), names) as results:
        for name in reversed(names):
            results.add(shown(name, is_tiff=is_tiff), [Band(MASK[:1].copy()), Band(MASK[1:].copy())])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_each_image_has_a_mask_an_overlay_and_a_row(tmp_path):
    fill(tmp_path / "out", "b", "left/a")

    assert {"summary.csv", "masks/b.png", "masks/left/a.png", "overlays/b.png", "overlays/left/a.png"} == files(
        tmp_path / "out"
    )
    assert (MASK == cv2.imread(str(tmp_path / "out/masks/left/a.png"), cv2.IMREAD_UNCHANGED)).all()
    assert (tmp_path / "out/summary.csv").read_text() == (
        "image,height,width,sky_share,road_share\nb,3,4,0.750000,0.250000\nleft/a,3,4,0.750000,0.250000\n"
    )


def test_objects_are_listed_if_they_are_requested(tmp_path):
    fill(tmp_path, "a", counted=(1, 0))
    rows = records.read_csv(tmp_path / "instances.csv")
    numbers = cv2.imread(str(tmp_path / "instances/a.png"), cv2.IMREAD_UNCHANGED)

    assert [("a", "1", "road", "3"), ("a", "2", "sky", "9")] == [
        (row["image"], row["instance"], row["class"], row["area"]) for row in rows
    ]
    assert (rows[0]["left"], rows[0]["top"], rows[0]["width"], rows[0]["height"]) == ("2", "0", "2", "2")
    assert (rows[0]["x"], rows[0]["y"]) == ("2.666667", "0.666667")
    assert (np.where(MASK == 1, 1, 2) == numbers).all()


@pytest.mark.parametrize("is_tiff", [False, True])
def test_classes_may_come_in_bands_and_as_either_kind_of_file(is_tiff, tmp_path):
    """Both kinds have the same classes, objects and shares."""
    fill(tmp_path, "a", counted=(1, 0), is_tiff=is_tiff)
    mask = cv2.imread(str(tmp_path / f"masks/a.{'tif' if is_tiff else 'png'}"), cv2.IMREAD_UNCHANGED)

    assert (MASK == mask).all()
    assert ["3", "9"] == [row["area"] for row in records.read_csv(tmp_path / "instances.csv")]
    assert {"road_share": "0.250000", "height": "3"}.items() <= records.read_csv(tmp_path / "summary.csv")[0].items()


def test_pixels_without_data_have_no_class_and_no_share(tmp_path):
    image = shown("a", is_tiff=True)
    valid = np.ones(MASK.shape, np.bool_)
    valid[0, :2] = valid[2] = False
    image.no_data.add(Samples(IMAGE[:2], valid[:2]))
    image.no_data.add(Samples(IMAGE[2:], valid[2:]))
    with output_folder.opened(tmp_path, CLASSES, Contents(), ["a"]) as results:
        results.add(image, [Band(MASK[:1].copy()), Band(MASK[1:].copy())])
    mask = cv2.imread(str(tmp_path / "masks/a.tif"), cv2.IMREAD_UNCHANGED)

    assert (np.where(valid, MASK, onehot.VOID) == mask).all()
    (row,) = records.read_csv(tmp_path / "summary.csv")
    assert (0.5, 0.5) == (float(row["sky_share"]), float(row["road_share"]))


def test_an_image_without_any_data_has_an_overlay_without_a_legend(tmp_path):
    image = shown("a", is_tiff=True)
    image.no_data.add(Samples(IMAGE, np.zeros(MASK.shape, np.bool_)))
    with output_folder.opened(tmp_path, CLASSES, Contents(), ["a"]) as results:
        results.add(image, [Band(MASK.copy())])

    assert MASK.shape == cv2.imread(str(tmp_path / "overlays/a.png")).shape[:2]
    assert "0.000000,0.000000" in (tmp_path / "summary.csv").read_text()


@pytest.mark.parametrize("is_tiff", [False, True])
def test_of_an_image_that_fails_halfway_nothing_is_left(is_tiff, tmp_path):
    def bands():
        yield Band(MASK[:1].copy())
        raise DataError("a.png", "damaged", "Copy it again.")

    with (
        output_folder.opened(tmp_path, CLASSES, Contents(), ["a"]) as results,
        pytest.raises(DataError, match="damaged"),
    ):
        results.add(shown("a", is_tiff=is_tiff), bands())

    assert {"summary.csv"} == files(tmp_path)
    assert [] == records.read_csv(tmp_path / "summary.csv")


def test_masks_of_both_kinds_are_replaced_by_the_next_prediction(tmp_path):
    fill(tmp_path, "old", is_tiff=True)
    fill(tmp_path, "new")

    assert {"summary.csv", "masks/new.png", "overlays/new.png"} == files(tmp_path)


def test_an_earlier_prediction_is_replaced_and_foreign_files_stay(tmp_path):
    fill(tmp_path, "old", "both", counted=(1,))
    foreign = {"notes.txt", "masks/mine.png", "masks/.old.txt"}
    for name in foreign:
        (tmp_path / name).write_text("mine")
    fill(tmp_path, "both", "new")

    made = {f"{kind}/{name}.png" for kind in ("masks", "overlays") for name in ("both", "new")}
    assert {"summary.csv", *made, *foreign} == files(tmp_path)
    assert ["both", "new"] == [row["image"] for row in records.read_csv(tmp_path / "summary.csv")]


@pytest.mark.parametrize("content", [None, "", "image,height\n", "name,iou\n", "\xff\xfe", "\x00"])
def test_a_folder_with_anything_else_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/truth.png").write_text("mine")
    if content is not None:
        (tmp_path / "summary.csv").write_bytes(content.encode("latin-1"))
    before = files(tmp_path)

    with pytest.raises(ParameterError, match="neither empty nor an earlier prediction"):
        fill(tmp_path, "truth")
    assert before == files(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").touch()

    with pytest.raises(ParameterError, match=r"--out .*out: a file, expected a folder"):
        fill(tmp_path / "out", "a")


def test_an_empty_folder_and_one_with_only_hidden_files_are_accepted(tmp_path):
    (tmp_path / ".DS_Store").touch()
    fill(tmp_path, "a")

    assert {".DS_Store", "summary.csv", "masks/a.png", "overlays/a.png"} == files(tmp_path)


@pytest.mark.parametrize("name", ["../precious", "/precious", "left/../../precious"])
def test_a_summary_made_by_others_cannot_make_us_delete_outside(tmp_path, name):
    precious = tmp_path / "precious.png"
    precious.touch()
    out = tmp_path / "out"
    out.mkdir()
    absolute = str(precious.with_suffix("")) if name.startswith("/") else name
    (out / "summary.csv").write_text(f"image,height,width\n{absolute},1,1\n../{absolute},1,1\n")
    fill(out, "a")

    assert precious.exists()


def test_an_interrupted_run_lists_what_it_wrote_and_can_be_run_again(tmp_path):
    def interrupted() -> None:
        with output_folder.opened(tmp_path, CLASSES, Contents(), ["a", "b"]) as results:
            results.add(shown("a"), [Band(MASK.copy())])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ["a"] == [row["image"] for row in records.read_csv(tmp_path / "summary.csv")]
    fill(tmp_path, "a", "b")
    assert ["a", "b"] == [row["image"] for row in records.read_csv(tmp_path / "summary.csv")]


def test_what_a_killed_run_wrote_is_replaced_by_the_next(tmp_path):
    """A killed process does not write its tables at the end."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom segline.inference import output_folder\n"
        "from tests.inference.test_output_folder import CLASSES, MASK, Band, Contents, shown\n"
        "with output_folder.opened(Path(sys.argv[1]), CLASSES, Contents((1,)), ['a', 'b']) as results:\n"
        "    results.add(shown('b'), [Band(MASK.copy())])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=False)
    assert -signal.SIGKILL == done.returncode
    assert {"summary.csv", "masks/b.png", "overlays/b.png", "instances/b.png"} == files(tmp_path)
    rows = records.read_csv(tmp_path / "summary.csv")
    assert [("a", "", ""), ("b", "", "")] == [(row["image"], row["height"], row["sky_share"]) for row in rows]
    fill(tmp_path, "a")

    assert {"summary.csv", "masks/a.png", "overlays/a.png"} == files(tmp_path)


def test_a_chunk_that_is_discarded_is_in_no_table(tmp_path):
    """Ctrl-C may come after it was joined, before it counts as finished."""
    results = output_folder.OutputFolder(tmp_path, CLASSES, Contents((1,)))
    results.join(
        output_folder.Listed({name: [name, 1, 1, 1.0, 0.0] for name in "ab"}, {"a": [], "b": []}, {}), tmp_path
    )
    results.discard(["a"])
    results.write_tables(["a", "b"])

    assert ["b"] == [row["image"] for row in records.read_csv(tmp_path / "summary.csv")]
