"""`data.source: label_studio`: the JSON export, drawn as the tool's own library draws it, or refused with its task."""

import copy
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segline.core import params
from segline.core.errors import DataError, ParameterError, PipelineError
from segline.dataset import raw
from segline.sources import label_studio
from segline.sources.collecting import label_studio_shapes, shapes
from segline.sources.collecting.label_studio_shapes import Value
from tests import folders
from tests.sources.collecting.test_brush_runs import packed

MADE = Path(__file__).parent / "tools/label_studio/made"
NAMES = ("car", "road", "sky")
HEIGHT, WIDTH = 20, 40
BASE: dict[str, Any] = {
    "classes": list(NAMES),
    "unlabelled": "void",
    "unknown": "refuse",
    "faults": "refuse",
    "split": {"by": "ratio", "shares": {"train": 1.0}, "seed": 1},
    "annotations": "export.json",
    "images": "images",
    "field": "image",
    "group": "",
}


def section(**changes: Any) -> label_studio.Section:
    content = copy.deepcopy(BASE) | changes
    return params.section({"d": content}, "d", label_studio.Section)


def result(kind: str = "rectangle", label: str = "car", **value: Any) -> dict[str, Any]:
    """The left half of the image, unless told otherwise."""
    shape = value or {"x": 0, "y": 0, "width": 50, "height": 100, "rotation": 0}
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": "r", "type": f"{kind}labels", "value": {**shape, f"{kind}labels": [label]}, **size}


def task(number: int, *results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    annotation = {"id": 1, "result": list(results), "was_cancelled": False, "created_at": "2026-01-01T00:00:00Z"}
    made = {"id": number, "annotations": [annotation], "data": {"image": f"/data/upload/1/{number}.png"}}
    return made | {"file_upload": f"{number}.png", "predictions": []} | changes


def write(root: Path, *tasks: dict[str, Any], images: list[str] | None = None) -> Path:
    """The export with an image for each task."""
    for name in images or [f"{each['id']}.png" for each in tasks]:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.random.default_rng([*name.encode()]).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(root / "images" / name), picture)
    (root / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return root


def collected(root: Path, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mask and object numbers of the only image."""
    made = label_studio.collect(section(**changes), root, root.parent / "raw")
    (pair,) = made.splits["train"]
    return read(root.parent / "raw/train" / pair.mask), read(root.parent / "raw/train" / str(pair.objects))


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def problem(root: Path, **changes: Any) -> str:
    with pytest.raises(PipelineError) as caught:
        label_studio.require_input(section(**changes), root)
    return str(caught.value).replace(f"{root}/", "")


def test_polygons_rectangles_and_strokes_are_drawn_as_the_tools_own_library_does(tmp_path):
    """Recorded by tools/label_studio/make.py; the versions are in made_with.txt."""
    root = tmp_path / "mine"
    shutil.copytree(MADE, root)
    made = label_studio.collect(section(), root, tmp_path / "raw")

    assert ["1", "2", "3", "4"] == [pair.stem for pair in made.splits["train"]]
    for pair in made.splits["train"]:
        classes, objects = (np.load(MADE / f"{pair.stem}.{kind}.npy") for kind in ("class", "objects"))
        expected = np.where(classes > 0, classes - 1, 255)
        assert np.array_equal(expected, read(tmp_path / "raw/train" / pair.mask))
        assert np.array_equal(objects, read(tmp_path / "raw/train" / str(pair.objects)))
        assert (root / f"images/{pair.stem}.png").read_bytes() == (tmp_path / "raw/train" / pair.image).read_bytes()


def test_what_was_collected_can_be_written_and_read(tmp_path):
    made = label_studio.collect(section(), write(tmp_path / "mine", task(1, result())), tmp_path / "raw")
    raw.write(tmp_path / "raw", made)

    assert made == raw.read(tmp_path / "raw")


def test_later_results_are_above_earlier_ones_and_the_loss_is_told(tmp_path, capsys):
    above = result("rectangle", "road", x=25, y=0, width=50, height=100, rotation=0)
    mask, objects = collected(write(tmp_path / "mine", task(1, result(), above)))

    assert [0] * 10 + [1] * 20 + [255] * 10 == mask[5].tolist()
    assert [1] * 10 + [2] * 20 + [0] * 10 == objects[5].tolist()
    assert "pixels of objects that later ones cover: 200" in capsys.readouterr().err


@pytest.mark.parametrize("rotation", [0, 90, 30])
def test_of_an_ellipse_the_pixels_with_their_centres_inside_are_drawn(tmp_path, rotation):
    shape = result("ellipse", "sky", x=50, y=50, radiusX=30, radiusY=20, rotation=rotation)
    mask, _ = collected(write(tmp_path / "mine", task(1, shape)))
    y, x = np.indices((HEIGHT, WIDTH)) + 0.5
    turn = np.deg2rad(rotation)
    along = (x - 20) * np.cos(turn) + (y - 10) * np.sin(turn)
    across = (y - 10) * np.cos(turn) - (x - 20) * np.sin(turn)

    assert np.array_equal((along / 12) ** 2 + (across / 4) ** 2 <= 1, mask == 2)


@pytest.mark.parametrize("degrees", [0, 45, 90, -90, 179.5, 200, 270, 359, 720.25, -1234.5])
def test_sine_and_cosine_are_those_of_the_library(degrees):
    cosine, sine = label_studio_shapes._cosine_and_sine(degrees)

    assert (cosine, sine) == pytest.approx((np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))), abs=1e-12)


def test_unlabelled_pixels_are_the_class_that_is_named(tmp_path):
    mask, _ = collected(write(tmp_path / "mine", task(1, result())), unlabelled="road")

    assert [0] * 20 + [1] * 20 == mask[0].tolist()


def test_the_last_annotation_counts_that_was_not_cancelled(tmp_path, capsys):
    first = {"result": [result(label="road")], "created_at": "2026-01-02T00:00:00Z"}
    last = {"result": [result(label="car")], "created_at": "2026-01-03T00:00:00Z", "was_cancelled": False}
    cancelled = {"result": [result(label="sky")], "created_at": "2026-01-04T00:00:00Z", "was_cancelled": True}
    mask, _ = collected(write(tmp_path / "mine", task(1, annotations=[last, cancelled, first])))

    assert {0, 255} == set(np.unique(mask))
    assert "1 tasks have several annotations: the last one counts" in capsys.readouterr().err


def test_tasks_without_annotation_are_left_out_and_empty_annotations_are_images(tmp_path, capsys):
    cancelled = [{"result": [], "was_cancelled": True}]
    root = write(tmp_path / "mine", task(1), task(2, annotations=[]), task(3, annotations=cancelled))
    mask, _ = collected(root)
    told = capsys.readouterr().err

    assert ((HEIGHT, WIDTH), {255}) == (mask.shape, set(np.unique(mask)))
    assert "2 tasks have no annotation that was not cancelled: they are left out" in told
    assert "1 images have an annotation without objects: all their pixels are void" in told


def test_labels_of_a_tag_of_their_own_count_once(tmp_path):
    """<Labels> with <Rectangle>: two results of one id."""
    both = [result(), result()]
    both[0]["type"], both[1]["type"] = "rectangle", "labels"
    both[0]["value"].pop("rectanglelabels")
    both[1]["value"]["labels"] = both[1]["value"].pop("rectanglelabels")
    choice = {"id": "c", "type": "choices", "value": {"choices": ["sunny"]}}
    relation = {"type": "relation", "from_id": "r", "to_id": "q", "direction": "right"}
    _, objects = collected(write(tmp_path / "mine", task(1, *both, choice, relation)))

    assert {0, 1} == set(np.unique(objects))


IMAGES = {
    "upload": ({"image": "/data/upload/3/01234567-a%20b.png"}, "x.png", "01234567-a b.png"),
    "without the code of the upload": ({"image": "/data/upload/3/01234567-a.png"}, None, "a.png"),
    "local storage": ({"image": "/data/local-files/?d=set/one/a.png"}, None, "set/one/a.png"),
    "local storage by name": ({"image": "/data/local-files/?d=set/one/a.png"}, None, "a.png"),
    "address": ({"image": "https://example.org/x/a.png?token=1"}, None, "a.png"),
    "cloud": ({"image": "s3://bucket/x/a.png"}, None, "x/a.png"),
    "file upload": ({"image": "something else"}, "01234567-a.png", "a.png"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_the_image_is_found_by_the_path_or_the_name(tmp_path, case):
    data, upload, there = IMAGES[case]
    root = write(tmp_path / "mine", task(1, result(), data=data, file_upload=upload), images=[there])
    made = label_studio.collect(section(), root, tmp_path / "raw")

    assert [there.removesuffix(".png")] == [pair.stem for pair in made.splits["train"]]


def test_one_export_a_split(tmp_path):
    root = tmp_path / "mine"
    for split, number in (("train", 1), ("val", 2)):
        write(root / split, task(number, result()))
    places = {"annotations": "{split}/export.json", "images": "{split}/images"}
    made = label_studio.collect(
        section(split={"by": "folder", "names": ["train", "val"]}, **places), root, tmp_path / "raw"
    )

    assert {"train": ["1"], "val": ["2"]} == {
        split: [pair.stem for pair in pairs] for split, pairs in made.splits.items()
    }


def shape(**changes: Any) -> dict[str, Any]:
    return {**result(), **changes}


FAULTS = {
    "too few points": (result("polygon", points=[[0, 0], [1, 1]]), "(car): 2 points, expected 3"),
    "outside": (result("polygon", points=[[120, 0], [130, 0], [130, 9]]), "outside of its image of 40x20 pixels"),
    "zero area": (result("rectangle", x=1, y=1, width=0, height=5), "a polygon of zero area"),
    "not finite": (result("rectangle", x=1, y=1, width=5, height=5, rotation=float("nan")), "not finite"),
    "huge points": (result("polygon", points=[[1e308, 0], [1, 1], [1, 9]]), "an outline of 8e+307 pixels"),
    "no width": (result("rectangle", x=1, y=1, height=5), "a place or a size is missing"),
    "turned image": (shape(image_rotation=90), "turned by 90 degrees in Label Studio"),
    "no size": (shape(original_width=0), "original_width and original_height say 0x20 pixels"),
    "huge": (shape(original_width=10**9), "original_width and original_height say 1000000000x20 pixels"),
    "no label": (shape(type="rectangle", id="s"), "without a label"),
    "two labels": (shape(value={**result()["value"], "rectanglelabels": ["car", "sky"]}), "2 labels, expected one"),
    "key point": (shape(type="keypointlabels"), "of type keypointlabels, which is not read"),
    "damaged strokes": (result("brush", rle=[0, 0, 12, 128, 56, 255]), "damaged run lengths"),
    "strokes of another size": (result("brush", rle=[0, 0, 0, 4, 57, 27, 239, 0, 0]), "4 bytes, expected 3200"),
    "empty strokes": (result("brush", rle=packed([0] * 3200, [(3200, 3)])), "of zero area"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_shape_that_cannot_be_drawn_is_an_error_with_its_task_or_left_out(tmp_path, case, capsys):
    wrong, expected = FAULTS[case]
    root = write(tmp_path / "mine", task(7, result(), wrong))
    line = problem(root)
    _, objects = collected(root, faults="skip")

    assert line.startswith("export.json: task 7, result ")
    assert expected in line
    assert {0, 1} == set(np.unique(objects))
    assert "shapes that cannot be drawn are left out: 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value",
    [
        Value(points=[(1e308, 0), (1, 1), (1, 9)]),
        Value(x=1, y=1, width=1e308, height=1e308, rotation=30),
        Value(x=1, y=1, radiusX=1e308, radiusY=1e308, rotation=30),
    ],
)
def test_a_shape_may_be_infinite_in_pixels(value):
    """Numpy's warnings are errors in tests."""
    corners = label_studio_shapes.corners(value, 4000, 4000)

    assert not np.isfinite(corners).all()
    assert "a point that is not finite" == shapes.fault_of(corners, 4000, 4000)


def test_results_on_images_of_different_sizes_are_an_error(tmp_path):
    root = write(tmp_path / "mine", task(1, result(), shape(original_width=41)))

    assert "on an image of 41x20 pixels, unlike the results before it" in problem(root)


def test_labels_that_are_no_class_are_an_error_or_void(tmp_path):
    root = write(tmp_path / "mine", task(1, result(label="tree"), result(label="Sky")))
    lines = problem(root)
    mask, objects = collected(write(tmp_path / "mine", task(1, result(label="tree"))), unknown="void", unlabelled="sky")

    assert "label 'tree', 1 object in export.json, is not among the classes" in lines
    assert "label 'Sky', 1 object in export.json, differs from class 'sky' in case or spaces alone" in lines
    assert [255] * 20 + [2] * 20 == mask[0].tolist()
    assert not objects.any()


STRANGE = [None, -1, 2**31, 10**30, 1e308, float("nan"), float("inf"), "", "../../x", [], {}, [[1, 2, 3]], [[]], True]


@pytest.mark.parametrize("rule", ["refuse", "skip"])
@given(places=st.lists(st.integers(0, 10**6), min_size=1, max_size=3), strange=st.sampled_from(STRANGE))
@settings(max_examples=60)
def test_whatever_a_value_becomes_the_export_is_read_or_refused(tmp_path_factory, rule, places, strange):
    root = tmp_path_factory.mktemp("mine")
    ellipse = result("ellipse", "sky", x=50, y=50, radiusX=30, radiusY=20, rotation=9)
    strokes = result("brush", rle=packed([255] * 3200, [(3200, 3)]))
    content = [task(1, result("polygon", points=[[0, 0], [50, 0], [50, 50]]), ellipse, strokes, result())]
    for place in places:
        replace_in(content, place, copy.deepcopy(strange))
    write(root, task(1))
    (root / "export.json").write_text(json.dumps(content), encoding="utf-8")
    with suppress(PipelineError):  # and nothing else is raised
        label_studio.collect(section(faults=rule), root, root / "raw")


def replace_in(content: Any, place: int, strange: Any) -> None:
    """Replaces one value, however deep."""
    keys = list(content) if isinstance(content, dict) else range(len(content))
    if not keys:
        return
    key = keys[place % len(keys)]
    if isinstance(content[key], dict | list) and content[key] and place % 5:
        replace_in(content[key], place // len(keys), strange)
    else:
        content[key] = strange


EXPORTS = {
    "no list": ({"id": 1}, "0 tasks, expected 1 to 2000000. Export from Label Studio as JSON: a list of tasks."),
    "no task": ([], "0 tasks, expected 1"),
    "JSON_MIN": ([{"id": 1, "image": "a.png", "label": []}], "export.json: [0]: not what is expected (annotations: "),
    "another field": (
        [task(1, data={"photo": "1.png"}, file_upload=None)],
        "the field 'image' of its data, which has 'photo'",
    ),
    "no image": ([task(9)], "task 9: no image data/upload/1/9.png or 9.png in "),
    "out of the folder": ([task(1, data={"image": "../../secret.png"}, file_upload="../secret.png")], "no image "),
    "twice the same image": ([task(1), task(1)], "1.png a second time"),
}


@pytest.mark.parametrize("case", EXPORTS)
def test_an_export_that_cannot_be_used_is_refused_in_one_line(tmp_path, case):
    content, expected = EXPORTS[case]
    root = write(tmp_path / "mine", task(1))
    cv2.imwrite(str(tmp_path / "secret.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    (root / "export.json").write_text(json.dumps(content), encoding="utf-8")
    line = problem(root)

    assert expected in line
    assert "\n" not in line


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    root = write(tmp_path / "mine", task(1, result()))
    (root / "images/1.png").rename(tmp_path / "secret.png")
    (root / "images/1.png").symlink_to(tmp_path / "secret.png")

    assert "a link that leads out of" in problem(root)


def test_a_folder_that_is_not_there_is_found_out(tmp_path):
    with pytest.raises(ParameterError, match=r"data.input: no such folder"):
        label_studio.require_input(section(), tmp_path / "nowhere")
    folders.image(tmp_path / "mine/1.png")
    with pytest.raises(DataError, match=r"export.json: missing"):
        label_studio.require_input(section(), tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"split": {"by": "lists", "file": "{split}.txt", "names": ["train"]}}, "got by: lists"),
        ({"annotations": "{split}.json"}, "expected no {split} in it with by: ratio"),
        ({"annotations": "../export.json"}, "expected a path below data.input"),
        ({"annotations": "*.json"}, "expected a file that ends in .json, without *"),
        ({"images": "images/*"}, "expected a folder without *"),
        ({"field": ""}, "d.field: string should have at least 1 character"),
        ({"unlabelled": "ground"}, "expected void or one of the classes"),
    ],
)
def test_what_cannot_be_is_named_by_its_key(changes, expected):
    with pytest.raises(PipelineError) as caught:
        section(**changes)

    assert expected in str(caught.value)


def test_an_address_that_is_none_is_one_line(tmp_path):
    root = write(tmp_path / "mine", task(1, result(), data={"image": "http://[bad/1.png"}, file_upload=None))

    assert "task 1: 'http://[bad/1.png' in the field 'image' of its data names no image" in problem(root)


def test_objects_of_the_unlabelled_class_have_no_number(tmp_path):
    whole = result("rectangle", "road", x=0, y=0, width=100, height=100, rotation=0)
    mask, objects = collected(write(tmp_path / "mine", task(1, whole, result())), unlabelled="road")

    assert [0] * 20 + [1] * 20 == mask[5].tolist()
    assert [1] * 20 + [0] * 20 == objects[5].tolist()


def test_an_image_of_another_size_than_the_task_says_is_one_line(tmp_path):
    large = result() | {"original_width": 400, "original_height": 200}
    told = problem(write(tmp_path / "mine", task(1, large)))

    assert "export.json: task 1: images/1.png has 40x20 pixels, but its annotations are for 400x200" in told


@pytest.mark.parametrize(
    ("image", "count"),
    [("/data/local-files/?d=north/1.png", 1), ("s3://north/south/1.png", 1), ("/data/upload/1/1.png", 0), ("1.png", 0)],
)
def test_images_found_in_another_folder_than_their_task_says_are_counted(image, count, tmp_path, capsys):
    collected(write(tmp_path / "mine", task(1, result(), data={"image": image})))

    assert count == capsys.readouterr().err.count("1 images are in another folder than their task says")
