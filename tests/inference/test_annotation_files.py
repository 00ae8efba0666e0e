"""Masks -> files of labelling tools -> masks, through the sources that read them, and pycocotools itself."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from segline.core import plugins
from segline.core.errors import DataError
from segline.dataset import onehot, raw
from segline.inference import annotation_files, annotations
from segline.inference.annotations import FORMS, Request
from segline.inference.input_files import InputImage

NAMES = ("ground", "car", "road & rail", "wei\u00df")
CLASSES = tuple(raw.Label(name, (value, 2, 3)) for value, name in enumerate(NAMES))
VOID = 255


def written(folder: Path, masks: dict[str, np.ndarray], request: Request) -> None:
    """The annotations, with images beside them as the tools want it."""
    added = annotation_files.Annotations(folder, CLASSES, request)
    for name, mask in reversed(masks.items()):
        added.add(name, Path("elsewhere") / f"{name}.png", mask)
    added.write([*masks])
    place = folder / {"coco": ".", "labelme": annotation_files.FOLDER, "cvat": "images"}[request.form]
    for name, mask in masks.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{name}.png"), np.zeros(mask.shape, np.uint8))


def collected(folder: Path, form: str, unlabelled: str = NAMES[0]) -> dict[str, np.ndarray]:
    """The masks that the source of the form makes of them, by stem."""
    source = plugins.choose("segline.sources", form, "data.source")
    places = {
        "coco": {"annotations": "annotations.json", "images": "."},
        "labelme": {"annotations": "annotations/*.json"},
        "cvat": {"annotations": "annotations.xml", "images": "images"},
    }
    rules = {"classes": [*NAMES], "unlabelled": unlabelled, "unknown": "refuse", "faults": "refuse", "group": ""}
    split = {"by": "ratio", "shares": {"all": 1.0}, "seed": 1}
    section = source.Section.model_validate({**rules, "split": split, **places[form]})
    out = folder / "raw"
    with contextlib.redirect_stderr(io.StringIO()):
        pairs = source.collect(section, folder, out).splits["all"]
    return {pair.stem: cv2.imread(str(out / "all" / pair.mask), cv2.IMREAD_UNCHANGED) for pair in pairs}


def smooth(seed: int, classes: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(8, 50, 2)
    return (cv2.GaussianBlur(rng.random((height, width)), (0, 0), 2) * 400).astype(np.int64).astype(np.uint8) % classes


def speckled(seed: int) -> np.ndarray:
    """Each pixel by itself, with lines a pixel wide and regions that touch at corners."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, rng.integers(1, 16, 2)).astype(np.uint8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unlabelled", [0, None])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_at_tolerance_0_the_source_gets_each_pixel_back(form, unlabelled, seed):
    masks = {"a": smooth(seed), "b": speckled(seed)}
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), masks, Request(form, 0, 0, unlabelled))
        found = collected(Path(folder), form, NAMES[0] if unlabelled == 0 else "void")

    for name, mask in masks.items():
        assert (mask == found[name]).all()


def beyond(mask: np.ndarray, wrong: np.ndarray) -> float:
    """The largest distance of the centre of a wrong pixel to the outline of its region, in pixels."""
    around = np.pad(mask, 1, constant_values=77)  # the edge of the image is an outline, too
    centres = cv2.resize(around, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    inside = [
        cv2.distanceTransform((centres == k).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for k in range(4)
    ]
    distances = np.max(inside, axis=0)[1::3, 1::3][1:-1, 1:-1] / 3 - 1 / 6
    return float(distances[wrong].max(initial=0))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1), tolerance=st.sampled_from([0.5, 1.0, 1.5, 3.0]))
def test_otherwise_a_pixel_differs_within_the_tolerance_of_the_outline(form, seed, tolerance):
    mask = smooth(seed)
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), {"a": mask}, Request(form, tolerance, 0, 0))
        found = collected(Path(folder), form)["a"]

    assert beyond(mask, mask != found) <= tolerance


def ring() -> np.ndarray:
    """A road with a hole of ground, in which a car stands."""
    mask = np.zeros((30, 40), np.uint8)
    cv2.circle(mask, (20, 15), 12, 2, -1)
    cv2.circle(mask, (20, 15), 7, 0, -1)
    cv2.circle(mask, (20, 15), 3, 1, -1)
    return mask


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in annToMask
@pytest.mark.parametrize("tolerance", [0, 1])
def test_pycocotools_opens_what_coco_gets(tolerance, tmp_path):
    written(tmp_path, {"left/a": ring(), "b": np.zeros((5, 6), np.uint8)}, Request("coco", tolerance, 0, 0))
    with contextlib.redirect_stdout(io.StringIO()):
        opened = COCO(str(tmp_path / "annotations.json"))

    assert [(1, "left/a.png", 30, 40), (2, "b.png", 5, 6)] == [
        (each["id"], each["file_name"], each["height"], each["width"]) for each in opened.loadImgs([1, 2])
    ]
    assert list(enumerate(NAMES, start=1)) == [(each["id"], each["name"]) for each in opened.loadCats([1, 2, 3, 4])]
    assert [1, 2] == opened.getAnnIds()
    for each in opened.loadAnns([1, 2]):
        drawn = opened.annToMask(each).astype(bool)
        rows, columns = np.nonzero(drawn)
        assert (each["image_id"], each["iscrowd"], drawn.sum()) == (1, 0, each["area"])
        assert [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] == each["bbox"]
        assert not drawn[15, 25 if each["category_id"] == 3 else 32], "the hole, and the road around it"
        assert isinstance(each["segmentation"], list if tolerance else dict)


def test_labelme_finds_the_image_beside_its_json(tmp_path):
    written(tmp_path, {"left/a": ring()}, Request("labelme", 1, 0, 0))
    document = json.loads((tmp_path / "annotations/left/a.json").read_text(encoding="utf-8"))

    assert ("a.png", None, 30, 40) == tuple(document[f"image{key}"] for key in ("Path", "Data", "Height", "Width"))
    assert ["road & rail", "ground", "car"] == [each["label"] for each in document["shapes"]]
    assert {"polygon"} == {each["shape_type"] for each in document["shapes"]}


def test_cvat_gets_labels_with_colours_and_a_z_order_for_each_polygon(tmp_path):
    written(tmp_path, {"left/a": ring(), "b": ring()}, Request("cvat", 1, 0, 0))
    root = ET.parse(tmp_path / "annotations.xml").getroot()

    assert ["1.1"] == [each.text for each in root.iter("version")]
    assert [*NAMES] == [each.text for each in root.iterfind("meta/task/labels/label/name")]
    assert ["#000203", "#010203", "#020203", "#030203"] == [each.text for each in root.iter("color")]
    assert [("0", "left/a.png"), ("1", "b.png")] == [(each.get("id"), each.get("name")) for each in root.iter("image")]
    assert [("road & rail", "0"), ("ground", "1"), ("car", "2")] == [
        (each.get("label"), each.get("z_order")) for each in root.iterfind("image[@id='1']/polygon")
    ]


@pytest.mark.parametrize("form", FORMS)
def test_the_bytes_do_not_depend_on_which_image_came_first(form, tmp_path):
    masks = {name: smooth(seed) for seed, name in enumerate("abc")}
    for place, order in (("one", "abc"), ("two", "cab")):
        added = annotation_files.Annotations(tmp_path / place, CLASSES, Request(form, 1, 5, 0))
        for name in order:
            added.add(name, Path(f"{name}.png"), masks[name])
        added.write("abc")
    one, two = (sorted((tmp_path / place).rglob("*.*")) for place in ("one", "two"))

    assert (3 if form == "labelme" else 1) == len(one)
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("form", FORMS)
def test_an_image_that_is_dropped_leaves_nothing(form, tmp_path):
    added = annotation_files.Annotations(tmp_path, CLASSES, Request(form, 0, 0, 0))
    added.add("a", Path("a.png"), ring())
    added.drop("a")
    added.write(["a"])

    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"a.png" in path.read_bytes()]


def test_pixels_without_data_get_no_annotation(tmp_path):
    mask = np.full((9, 9), onehot.VOID, np.uint8)
    mask[2:5, 2:5] = 1
    written(tmp_path, {"a": mask}, Request("coco", 0, 0, None))

    assert (mask == collected(tmp_path, "coco", "void")["a"]).all()


def with_void() -> np.ndarray:
    """No data within a car within a road, next to ground within the car, and at the edge of the image."""
    mask = np.zeros((24, 24), np.uint8)
    mask[2:22, 2:22] = 2
    mask[4:18, 4:18] = 1
    mask[6:12, 6:12] = VOID
    mask[8, 8] = 3
    mask[14:16, 14:16] = 0
    mask[14, 15] = VOID
    mask[0, 5] = VOID
    return mask


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unlabelled", [0, None])
def test_pixels_without_data_get_no_class_where_a_region_encloses_them(form, unlabelled, tmp_path):
    """With an unlabelled class they are of it in COCO and CVAT, as those outside are."""
    mask = with_void()
    written(tmp_path, {"a": mask}, Request(form, 0, 0, unlabelled))
    found = collected(tmp_path, form, "void" if unlabelled is None else NAMES[0])["a"]

    expected = mask if unlabelled is None else np.where(mask == VOID, 0, mask)
    if form == "labelme":
        expected = mask.copy()
        expected[0, 5] = VOID if unlabelled is None else 0
    assert (expected == found).all()


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_without_an_unlabelled_class_no_data_stays_void(form, seed):
    masks = {"a": smooth(seed), "b": speckled(seed)}
    for mask in masks.values():
        mask[np.random.default_rng(seed).random(mask.shape) < 0.1] = VOID
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), masks, Request(form, 0, 0, None))
        found = collected(Path(folder), form, "void")

    for name, mask in masks.items():
        assert (mask == found[name]).all()


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # in decode
def test_coco_gets_run_lengths_of_a_region_of_very_many_holes():
    mask = np.ones((600, 600), np.uint8)
    mask[2::6, 2::6] = 0
    image = annotation_files.Outlined("a.png", *mask.shape, [*annotations.regions(mask, 0)])
    (found,) = annotation_files.coco(image, Request("coco", 1, 0, 0))

    assert (coco_mask.decode(found["segmentation"]) == mask).all()
    assert (350_000, [0, 0, 600, 600]) == (found["area"], found["bbox"])


def test_pages_and_names_that_xml_cannot_hold_are_refused():
    page, name = InputImage(Path("stack.tif"), "stack-page-2", 2), InputImage(Path("a\x01.png"), "a\x01")
    with pytest.raises(DataError, match=r"stack.tif: has several pages"):
        annotation_files.require_names("labelme", [page])
    with pytest.raises(DataError, match="characters that XML cannot hold"):
        annotation_files.require_names("cvat", [name])
    annotation_files.require_names("coco", [name])
