"""`data.source: labelme`: what labelme itself draws, pixel by pixel, of images beside their JSON or embedded in it."""

import base64
import contextlib
import io
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core import params
from segline.core.errors import ParameterError, PipelineError
from segline.dataset import raw
from segline.preprocessing import pairs, split_writer
from segline.preprocessing.image_files.upright import TURNS
from segline.sources import labelme
from segline.sources.collecting import labelme_shapes
from segline.sources.collecting.labelme_shapes import Shape
from tests import folders, tiny
from tests.sources import test_coco
from tests.sweeps import mutations

RECORDED = Path(__file__).parent / "tools" / "labelme" / "made"
STEMS = sorted(path.stem for path in RECORDED.glob("*.json"))
HEIGHT, WIDTH = folders.SIZE
VOID = 255
ONE: dict[str, Any] = {
    "classes": ["car", "road", "sky"],
    "unlabelled": "void",
    "unknown": "refuse",
    "faults": "refuse",
    "split": {"by": "ratio", "shares": {"train": 1.0}, "seed": 1},
    "annotations": "*.json",
    "group": "",
}
NAMED = ["car", "road", "sky", "background"]
SQUARE = [[2, 2], [8, 2], [8, 8], [2, 8]]


def section(**changes: Any) -> labelme.Section:
    return params.section({"data": {"labelme": {**ONE, **changes}}}, "data.labelme", labelme.Section)


def shape(label: str = "car", points: Any = SQUARE, kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def write(root: Path, *shapes: dict[str, Any], stem: str = "a", **changes: Any) -> Path:
    """An image and its annotations."""
    folders.image(root / f"{stem}.png")
    content = {"version": "5.0.0", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.png", "imageData": None}
    (root / f"{stem}.json").write_text(json.dumps({**content, **changes}))
    return root


def drawn(root: Path, raw: Path, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mask and object numbers of the first image."""
    collected = labelme.collect(section(**changes), root, raw)
    split, pairs = next(iter(collected.splits.items()))
    mask, objects = (cv2.imread(str(raw / split / name), -1) for name in (pairs[0].mask, pairs[0].objects))
    return mask, objects


def problem(root: Path, **changes: Any) -> str:
    """What is wrong; the same before the download and in it."""
    with pytest.raises(PipelineError) as before:
        labelme.require_input(section(**changes), root)
    with pytest.raises(PipelineError) as within:
        labelme.collect(section(**changes), root, root / "raw")
    assert str(before.value) == str(within.value)
    assert not (root / "raw").exists()
    return str(before.value)


def base64_png(pixels: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Stem -> mask and object numbers of what labelme itself wrote."""
    raw = tmp_path_factory.mktemp("raw")
    collected = labelme.collect(section(classes=NAMED, unlabelled="background"), RECORDED, raw)
    return {
        pair.stem: tuple(cv2.imread(str(raw / "train" / name), -1) for name in (pair.mask, pair.objects))
        for pair in collected.splits["train"]
    }


@pytest.mark.parametrize("stem", STEMS)
def test_masks_are_those_of_labelmes_own_library(stem, recorded):
    wanted = np.load(RECORDED / f"{stem}.class.npy").astype(int)

    assert np.array_equal(recorded[stem][0], np.select([wanted > 0, wanted == 0], [wanted - 1, 3], VOID))


@pytest.mark.parametrize("stem", STEMS)
def test_objects_are_those_of_labelmes_own_library(stem, recorded):
    """Its numbers count ignored shapes too, so the same pixels belong together under other numbers."""
    classes, wanted = (np.load(RECORDED / f"{stem}.{kind}.npy") for kind in ("class", "objects"))
    wanted = np.where(classes > 0, wanted, 0)
    both = np.stack([recorded[stem][1].ravel(), wanted.ravel()], axis=1)

    assert len(np.unique(both, axis=0)) == len(np.unique(both[:, 0])) == len(np.unique(both[:, 1]))
    assert np.array_equal(recorded[stem][1] == 0, wanted == 0)


def test_an_image_beside_its_json_is_copied_and_an_embedded_one_is_written_as_it_was_embedded(tmp_path):
    labelme.collect(section(classes=NAMED), RECORDED, tmp_path)
    embedded = json.loads((RECORDED / "embedded.json").read_text())["imageData"]

    assert (tmp_path / "train/images/turned.jpg").read_bytes() == (RECORDED / "turned.jpg").read_bytes()
    assert (tmp_path / "train/images/embedded.png").read_bytes() == base64.b64decode(embedded)


def test_an_embedded_image_with_an_exif_tag_that_labelme_ignores_gets_an_upright_mask(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(stream, "JPEG", exif=exif)
    write(tmp_path, shape(), imageData=base64.b64encode(stream.getvalue()).decode())
    stored = np.full((HEIGHT, WIDTH), VOID, np.uint8)
    stored[2:9, 2:9] = 0

    mask, _ = drawn(tmp_path, tmp_path / "raw")
    assert np.array_equal(mask, TURNS[6].upright(stored))


@pytest.mark.parametrize("tag", [2, 3, 4])
def test_of_images_whose_turn_keeps_their_size_the_parameter_that_decides_is_named(tag, tmp_path, capsys):
    """Labelme shows them upright. By their size alone preprocess cannot know."""
    exif = PIL.Image.Exif()
    exif[0x0112] = tag
    root = write(tmp_path / "mine", shape(), imagePath="a.jpg")
    (root / "a.png").unlink()
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[2:9, 2:9] = 255
    PIL.Image.fromarray(np.ascontiguousarray(TURNS[tag].upright(picture))).save(root / "a.jpg", exif=exif, quality=100)
    data = labelme.collect(section(unlabelled="sky"), root, tmp_path / "raw")
    raw.write(tmp_path / "raw", data)
    told = "before and after their Exif turn; masks are upright, so set preprocess.orientation to upright: 1"

    assert told in capsys.readouterr().err
    form = {"height": HEIGHT, "width": WIDTH}
    with pytest.raises(PipelineError, match=r"a\.jpg: Exif orientation .* Set preprocess\.orientation to upright if"):
        prepared(tmp_path, **form, orientation="check")
    images, onehot = prepared(tmp_path, **form, orientation="upright")
    assert np.array_equal(images[0, :, :, 0] > 127, onehot[0, :, :, 0] == 1)


def prepared(folder: Path, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and one-hot masks of the train split."""
    own = params.section({"preprocess": {**tiny.PARAMETERS["preprocess"], **changes}}, "preprocess", pairs.Section)
    data = raw.read(folder / "raw")
    split_writer.write(folder / "raw", folder / "processed", pairs.recipe(folder / "raw", data, own), data)
    return tuple(np.load(folder / "processed/train" / name) for name in (tiny.IMAGES, tiny.ONEHOT))


@pytest.mark.parametrize("place", [".", "images"])
def test_images_without_a_file_are_left_out_and_counted(place, tmp_path, capsys):
    """Those beside the labelled images, wherever they are, but not the image from which an embedded one was made."""
    root = write(tmp_path / "mine", shape(), imagePath=f"{place}/a.png")
    for name in ("a.png", "b.png", "c.jpg", ".d.png"):
        folders.image(root / place / name)
    write(root, shape(), stem="e", imageData=base64_png(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    (root / "e.png").rename(root / "e.bmp")

    drawn(root, tmp_path / "raw")
    assert "images without an annotation file are left out: 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "background"),
    [({"unlabelled": "road"}, 1), ({"classes": ["car", "_background_"], "unlabelled": "_background_"}, 1)],
)
def test_background_shapes_are_what_unlabelled_pixels_are_and_no_objects(changes, background, tmp_path):
    write(tmp_path, shape(), shape("_background_", [[4, 4], [6, 6]], "rectangle"))

    mask, objects = drawn(tmp_path, tmp_path / "raw", **changes)
    assert (mask[0, 0], mask[5, 5], mask[3, 3]) == (background, background, 0)
    assert (objects[0, 0], objects[5, 5], objects[3, 3]) == (0, 0, 1)


def test_background_shapes_are_the_class_background_where_unlabelled_pixels_are_void(tmp_path):
    write(tmp_path, shape(), shape("_background_", [[4, 4], [6, 6]], "rectangle"))

    mask, _ = drawn(tmp_path, tmp_path / "raw", classes=["car", "background"])
    assert (mask[0, 0], mask[5, 5], mask[3, 3]) == (VOID, 1, 0)


def test_without_such_a_class_background_shapes_are_faults(tmp_path):
    write(tmp_path, shape(), shape("_background_", [[4, 4], [6, 6]], "rectangle"))

    told = "shape 1 ('_background_', rectangle): _background_ is what unlabelled says, which is void"
    assert told in problem(tmp_path)


def test_ignored_shapes_are_void_whatever_unlabelled_pixels_are(tmp_path, capsys):
    write(tmp_path, shape(), shape("__ignore__", [[4, 4], [6, 6]], "rectangle"))

    mask, objects = drawn(tmp_path, tmp_path / "raw", unlabelled="sky")
    assert (mask[5, 5], mask[3, 3], mask[0, 0]) == (VOID, 0, 2)
    assert objects[5, 5] == 0
    assert "shapes labelled __ignore__ are void: 1" in capsys.readouterr().err


def test_shapes_without_a_type_are_polygons_as_in_old_files(tmp_path):
    shapes = {"label": "car", "points": SQUARE, "line_color": None}

    mask, _ = drawn(write(tmp_path, shapes), tmp_path / "raw")
    assert (mask[2:9, 2:9] == 0).all()
    assert (mask == 0).sum() == 49


@pytest.mark.parametrize(
    ("faulty", "said"),
    [
        (shape(points=[[1, 1], [5, 5]]), "shape 1 ('car', polygon): 2 points, expected 3"),
        (shape(points=[]), "0 points"),
        (shape(points=[[1, 1], [5, 5], [9, 9]]), "zero area"),
        (shape(points=[[50, 50], [60, 50], [60, 60]]), "outside of its image of 16x12 pixels"),
        (shape(points=[[1, 1], [float("nan"), 5], [9, 5]]), "not finite"),
        (shape(points=[[1, 1], [float("inf"), 5], [9, 5]]), "not finite"),
        (shape(points=[[1, 1], [1e7, 5], [9, 5]]), "pixels, expected at most 4000000"),
        (shape(points=[[1, 1]], kind="rectangle"), "1 points, expected 2"),
        (shape(points=[[3, 1], [3, 9]], kind="rectangle"), "zero area"),
        (shape(points=[[5, 5], [5, 5]], kind="circle"), "zero area"),
        (shape(points=[[5, 5], [1e200, 5]], kind="circle"), "not finite"),
        (shape(points=[[-1e308, 5], [1e308, 5]], kind="circle"), "not finite"),
        (shape(points=[[5, 5], [1e308, 1e308]], kind="circle"), "not finite"),
        (shape(points=[[-50, 5]], kind="point"), "outside"),
        (shape(points=[[5, 5], [float("nan"), 5]], kind="line"), "a line of more than 4000000 pixels, or not finite"),
        (shape(points=[[5, 5], [1e9, 5]], kind="linestrip"), "a line of more than 4000000 pixels"),
        (shape(points=[], kind="linestrip"), "0 points, expected at least 1"),
        (shape(kind="points"), "labelme itself draws no such shape"),
        (shape(points=[[0, 0], [3, 3]], kind="mask"), "mask: empty file"),
        (shape(points=[[0, 0], [3, 3]], kind="mask", mask="%%%"), "mask: empty file"),
        (shape(points=[[0, 0], [3, 3]], kind="mask", mask="x"), "mask: not base64"),
        (shape(points=[[0, 0], [3, 3]], kind="mask", mask=base64_png(np.ones((4, 5), np.uint8))), "mask: 5x4 pixels"),
        (
            shape(points=[[0, 0], [3, 3]], kind="mask", mask=base64_png(np.ones((4, 4, 3), np.uint8))),
            "one gray channel",
        ),
        (shape(points=[[14, 0], [17, 3]], kind="mask", mask=base64_png(np.ones((4, 4), np.uint8))), "reaches out"),
        (shape(points=[[-2, 0], [1, 3]], kind="mask", mask=base64_png(np.ones((4, 4), np.uint8))), "reaches out"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_refused_or_left_out_and_counted(faulty, said, tmp_path, capsys):
    write(tmp_path, shape("road"), faulty)
    message = problem(tmp_path)
    mask, objects = drawn(tmp_path, tmp_path / "raw", faults="skip")

    assert f"{tmp_path / 'a.json'}: shape 1" in message
    assert said in message
    assert "shapes that cannot be drawn are left out: 1" in capsys.readouterr().err
    assert (mask[2:9, 2:9] == 1).all()
    assert objects.max() == 1


def test_all_problems_are_reported_together(tmp_path):
    write(tmp_path, shape("van"), shape("Car "), shape(points=[[1, 1]]), stem="a")
    write(tmp_path, shape("van"), imagePath="../a.png", stem="b")
    (tmp_path / "c.json").write_text("[]")
    message = problem(tmp_path)

    assert "4 problems found" not in message
    for said in ("'van', 1 object in a.json", "'Car '", "b.json: imagePath '../a.png' leads out", "c.json: not the"):
        assert said in message
    assert "shape 2 ('car', polygon): 1 points" in message


def test_unknown_labels_are_void_if_the_parameter_says_so(tmp_path):
    write(tmp_path, shape("road"), shape("van"))

    mask, objects = drawn(tmp_path, tmp_path / "raw", unknown="void", unlabelled="sky")
    assert (mask[5, 5], mask[0, 0], objects[5, 5]) == (VOID, 2, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"imagePath": "../a.png"}, "imagePath '../a.png' leads out of "),
        ({"imagePath": "..\\a.png"}, "leads out of "),
        ({"imagePath": "/etc/passwd"}, "leads out of "),
        ({"imagePath": "C:\\photos\\a.png"}, "leads out of "),
        ({"imagePath": "a\0.png"}, "expected a path below"),
        ({"imagePath": f"{'a' * 300}.png"}, "of names of at most 255"),
        ({"imagePath": "b.png"}, "imagePath 'b.png' is missing"),
        ({"imagePath": "a.txt"}, "expected one of .png"),
        ({"imagePath": "link.png"}, "a link that leads out of"),
        ({"imageHeight": 13}, "imageWidth x imageHeight is Nonex13, but its image has 16x12 pixels"),
        ({"imageHeight": 12, "imageWidth": 12}, "is 12x12, but its image has 16x12 pixels"),
        ({"imageData": "%"}, "imageData: empty file"),
        ({"imageData": base64.b64encode(b"GIF89a").decode()}, "imageData: not an image"),
        ({"shapes": [shape(points=[[1, 2, 3]])]}, "not the JSON that is expected (shapes.0.points.0"),
        ({"shapes": [shape(points=[["1", 2]])]}, "not the JSON that is expected"),
        ({"shapes": None}, "not the JSON that is expected (shapes: "),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(changes, said, tmp_path):
    root = write(tmp_path / "mine", shape(), **changes)
    (root / "link.png").symlink_to(tmp_path)
    message = problem(root)

    assert said in message
    assert "\n" not in message


def test_an_image_in_a_folder_below_its_json_is_found_with_either_slash(tmp_path):
    root = write(tmp_path, shape(), imagePath="images\\b.png")
    folders.image(root / "images/b.png")

    assert labelme.collect(section(), root, tmp_path / "raw").splits["train"][0].image == "images/a.png"
    assert (tmp_path / "raw/train/images/a.png").read_bytes() == (root / "images/b.png").read_bytes()


def test_two_files_for_one_image_are_refused(tmp_path):
    write(tmp_path, shape(), stem="a")
    write(tmp_path, shape(), stem="b", imagePath="a.png")

    assert f"{tmp_path / 'b.json'}: its image a.png is that of {tmp_path / 'a.json'} too" in problem(tmp_path)


def test_an_embedded_image_with_the_size_of_a_bomb_is_refused_by_its_header(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    text = base64.b64encode(bomb).decode()

    write(tmp_path / "a", shape(), imageData=text)
    assert "imageData: 60000x60000 pixels" in problem(tmp_path / "a")
    write(tmp_path / "b", shape(points=[[0, 0], [3, 3]], kind="mask", mask=text))
    assert "mask: 60000x60000 pixels" in problem(tmp_path / "b")


def test_a_file_above_the_bound_is_refused_before_it_is_read(tmp_path):
    write(tmp_path, shape())
    with (tmp_path / "a.json").open("ab") as file:
        file.truncate(labelme.MAX_BYTES + 1)

    assert f"{labelme.MAX_BYTES + 1} bytes, expected at most {labelme.MAX_BYTES}" in problem(tmp_path)


def test_splits_are_folders_with_their_own_files(tmp_path):
    write(tmp_path / "train", shape(), stem="a_1")
    write(tmp_path / "valid", shape(), stem="b_1")
    changes: dict[str, Any] = {
        "split": {"by": "folder", "names": {"train": "train", "val": "valid"}},
        "annotations": "{split}/*.json",
        "group": r"(.+)_\d",
    }

    splits = labelme.collect(section(**changes), tmp_path, tmp_path / "raw").splits
    found = {split: [(pair.stem, pair.group) for pair in pairs] for split, pairs in splits.items()}
    assert found == {"train": [("a_1", "a")], "val": [("b_1", "b")]}
    assert labelme.splits(section(**changes)) == ["train", "val"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": "*.xml"}, "expected one * (the stem) in the file name and .json after it"),
        ({"annotations": "*/*.json"}, "expected one *"),
        ({"annotations": "../*.json"}, "without .."),
        ({"annotations": "{split}/*.json"}, "expected no {split} in it with by: ratio"),
        ({"split": {"by": "folder", "names": ["train"]}}, "expected {split} in it with by: folder"),
        ({"split": {"by": "lists", "file": "{split}.txt", "names": ["train"]}}, "got by: lists"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(changes, said):
    with pytest.raises(ParameterError) as error:
        section(**changes)

    assert said in str(error.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.touch, "no such folder"),
        (Path.mkdir, "no file matches *.json"),
    ],
)
def test_a_folder_without_annotations_is_refused(make, said, tmp_path):
    make(tmp_path / "mine")

    assert said in problem(tmp_path / "mine")


number = st.floats(-40, 80) | st.integers(-40, 80)
outline = st.lists(st.tuples(number, number), min_size=3, max_size=9)
pair = st.lists(st.tuples(number, number), min_size=2, max_size=2)
some_shapes = st.lists(
    st.tuples(st.sampled_from(["polygon", "linestrip"]), outline)
    | st.tuples(st.sampled_from(["rectangle", "circle", "line"]), pair)
    | st.tuples(st.just("point"), pair.map(lambda points: points[:1])),
    min_size=1,
    max_size=4,
)


def by_labelmes_rule(kind: str, points: Any, height: int, width: int) -> np.ndarray:
    """A shape on a picture of its own."""
    picture = PIL.Image.new("L", (width, height))
    draw = PIL.ImageDraw.Draw(picture)
    if kind == "polygon":
        draw.polygon(points, outline=1, fill=1)
    elif kind == "rectangle":
        draw.rectangle([tuple(np.min(points, axis=0)), tuple(np.max(points, axis=0))], outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=1, width=10)
    else:
        x, y = points[0]
        radius = 5 if kind == "point" else np.hypot(x - points[1][0], y - points[1][1])
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    return np.asarray(picture) > 0


@given(some_shapes)
def test_drawing_all_shapes_on_one_picture_leaves_nothing_of_the_one_before(shapes):
    pencil = labelme_shapes.Pencil(30, 40)

    for kind, points in shapes:
        each = Shape("car", points, kind)
        region = pencil.region(each, labelme_shapes._around(kind, labelme_shapes._points(each)))
        whole = np.zeros((30, 40), bool)
        height, width = region.inside.shape
        whole[region.top : region.top + height, region.left : region.left + width] = region.inside
        assert np.array_equal(whole, by_labelmes_rule(kind, points, 30, 40))


@pytest.mark.parametrize("seed", range(2))
def test_mutated_files_are_read_or_refused(seed, tmp_path):
    """The bytes and the values of files of all kinds of shapes."""
    draws = random.Random(seed)
    for number in range(50):
        root = tmp_path / str(number)
        root.mkdir()
        stem = draws.choice(STEMS)
        for path in RECORDED.glob(f"{stem}.[pj][np]g"):
            (root / path.name).write_bytes(path.read_bytes())
        (root / "a.json").write_bytes(mutations.of_text((RECORDED / f"{stem}.json").read_bytes(), draws))
        with contextlib.suppress(PipelineError):
            labelme.collect(section(faults=draws.choice(["refuse", "skip"])), root, root / "raw")


def test_a_linked_folder_leads_nowhere_out_of_the_data_set(tmp_path):
    write(tmp_path / "elsewhere", shape())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/linked").symlink_to(tmp_path / "elsewhere")

    assert "linked: a link that leads out of" in problem(tmp_path / "mine", annotations="linked/*.json")
    write(tmp_path / "mine", shape(), imagePath="linked/a.png")
    assert "imagePath 'linked/a.png' is a link that leads out of" in problem(tmp_path / "mine")


def as_labelme(raw_folder: Path, dataset: raw.Dataset, root: Path) -> dict[str, Any]:
    """Writes masks as shapes of the kind mask, one a class and image; the section that reads them."""
    for split, listed in dataset.splits.items():
        for pair in listed:
            path = root / split / Path(pair.image).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((raw_folder / split / pair.image).read_bytes())
            mask = cv2.imread(str(raw_folder / split / pair.mask), cv2.IMREAD_UNCHANGED)
            shapes = []
            for label, value in zip(dataset.classes, dataset.values, strict=True):
                inside = (mask == value).astype(np.uint8)
                left, top, width, height = cv2.boundingRect(inside)
                if width:
                    points = [[left, top], [left + width - 1, top + height - 1]]
                    embedded = base64_png(inside[top : top + height, left : left + width])
                    shapes.append(shape(label.name, points, "mask", mask=embedded))
            content = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": path.name, "imageData": None}
            path.with_suffix(".json").write_text(json.dumps(content))
    return {
        "classes": [each.name for each in dataset.classes],
        "unlabelled": "void",
        "unknown": "refuse",
        "faults": "refuse",
        "split": {"by": "folder", "names": {split: split for split in dataset.splits}},
        "annotations": "{split}/*.json",
        "group": "(.+)-.+",
    }


@pytest.mark.slow
def test_the_streets_as_labelme_go_through_the_whole_pipeline_as_their_masks_do(tmp_path, monkeypatch) -> None:
    """The same arrays, so the same scores."""
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    streets = {"seed": 1, "height": 96, "width": 96, "train": 3, "val": 1, "test": 2}
    root = Path(labelme.__file__).parents[2]
    test_coco.run(tmp_path / "masks", monkeypatch, "synthetic", root / "segline/sources/streets", streets)
    own = as_labelme(Path("data/raw"), raw.read(Path("data/raw")), tmp_path / "mine")
    test_coco.run(tmp_path / "labelme", monkeypatch, "labelme", tmp_path / "mine", own)
    arrays = [f"data/processed/{split}/{name}" for split in own["split"]["names"] for name in test_coco.ARRAYS]

    assert 6 == len(arrays)
    for name in (*arrays, "metrics/history.csv", "metrics/per_class.csv", "metrics/per_image.csv"):
        assert (tmp_path / "masks" / name).read_bytes() == (tmp_path / "labelme" / name).read_bytes(), name


@pytest.mark.parametrize("name", ["../images/a.png", "..\\images\\a.png"])
def test_an_image_may_lie_in_another_folder_of_the_data_set(name, tmp_path):
    """`labelme --output labels images` writes such names."""
    write(tmp_path / "labels", shape(), imagePath=name)
    (tmp_path / "labels/a.png").unlink()
    folders.image(tmp_path / "images/a.png")

    mask, _ = drawn(tmp_path, tmp_path / "raw", annotations="labels/*.json")
    assert mask[5, 5] == 0
