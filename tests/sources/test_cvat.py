"""`data.source: cvat`: what CVAT's own export of masks draws, pixel by pixel, from its XML and from its masks."""

import contextlib
import random
import shutil
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segline.core import params
from segline.core.errors import ParameterError, PipelineError
from segline.sources import cvat
from segline.sources.collecting import cvat_masks, shapes
from segline.sources.collecting.labels import colour
from tests import folders
from tests.sweeps import mutations

RECORDED = Path(__file__).parent / "tools" / "cvat" / "made"
HEIGHT, WIDTH = folders.SIZE
VOID = 255
ONE: dict[str, Any] = {
    "classes": ["road", "car", "sky"],
    "unlabelled": "void",
    "unknown": "refuse",
    "faults": "refuse",
    "split": {"by": "ratio", "shares": {"train": 1.0}, "seed": 1},
    "annotations": "annotations.xml",
    "images": "images",
    "group": "",
}
MASKS: dict[str, Any] = {"annotations": "labelmap.txt", "images": "JPEGImages"}
SQUARE = 'label="car" points="2,2;8,2;8,8;2,8" z_order="0"'
LABEL_MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:250,50,83::\nroad:36,179,83::\n"
CAR, ROAD = (250, 50, 83), (36, 179, 83)


def section(**changes: Any) -> cvat.Section:
    return params.section({"data": {"cvat": {**ONE, **changes}}}, "data.cvat", cvat.Section)


def xml(root: Path, *tags: str, name: str = "a.png", size: tuple[int, int] = (HEIGHT, WIDTH), more: str = "") -> Path:
    """An image and an XML file with it."""
    folders.image(root / "images" / "a.png")
    shapes = "".join(f"<{tag}/>" for tag in tags)
    attributes = f'id="0" name="{name}" width="{size[1]}" height="{size[0]}"'
    content = f"<annotations><image {attributes}>{shapes}</image>{more}</annotations>"
    (root / "annotations.xml").write_text(content)
    return root


def masks(root: Path, classes: dict[str, np.ndarray], objects: dict[str, np.ndarray] | None = None) -> Path:
    """Images and masks (H, W, 3), RGB, by stem."""
    for stem, pixels in classes.items():
        folders.image(root / f"JPEGImages/{stem}.png")
        for place, each in (("SegmentationClass", pixels), ("SegmentationObject", (objects or classes)[stem])):
            (root / place / f"{stem}.png").parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / place / f"{stem}.png"), each[:, :, ::-1])
    (root / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/Segmentation/default.txt").write_text("".join(f"{stem}\n" for stem in classes))
    (root / "labelmap.txt").write_text(LABEL_MAP)
    return root


def picture(**boxes: tuple[int, int, int]) -> np.ndarray:
    """Black, with columns of colours: `x2=(1, 2, 3)`."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for name, rgb in boxes.items():
        pixels[:, int(name[1:])] = rgb
    return pixels


def everything(root: Path, raw: Path, **changes: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mask and object numbers by stem."""
    collected = cvat.collect(section(**changes), root, raw)
    return {
        pair.stem: tuple(cv2.imread(str(raw / split / name), -1) for name in (pair.mask, pair.objects))
        for split, pairs in collected.splits.items()
        for pair in pairs
    }


def drawn(root: Path, raw: Path, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mask and object numbers of image a."""
    return everything(root, raw, **changes)["a"]


def problem(root: Path, *, before: bool = True, **changes: Any) -> str:
    """What is wrong; the same before the download and in it, unless pixels must be decoded to find it."""
    with pytest.raises(PipelineError) as within:
        cvat.collect(section(**changes), root, root / "raw")
    if before:
        with pytest.raises(PipelineError) as earlier:
            cvat.require_input(section(**changes), root)
        assert str(earlier.value) == str(within.value)
    else:
        cvat.require_input(section(**changes), root)
    assert not (root / "raw").exists()
    return str(within.value)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """What the two sources make of one export, by stem."""
    raw = tmp_path_factory.mktemp("raw")
    from_masks = {"annotations": "masks/labelmap.txt", "images": "masks/JPEGImages"}
    return {
        "xml": everything(RECORDED, raw / "xml"),
        "masks": everything(RECORDED, raw / "masks", **from_masks),
    }


STEMS = ("boxes", "groups", "kinds", "nothing", "sub folder/heap", "z_orders")


@pytest.mark.parametrize("stem", STEMS)
def test_shapes_of_the_xml_are_drawn_as_in_cvats_own_masks(stem, recorded):
    """Object numbers too, but for those that others cover wholly, which only the XML knows."""
    masks = [recorded[kind][stem][0] for kind in ("xml", "masks")]
    objects = [recorded[kind][stem][1] for kind in ("xml", "masks")]
    both = np.stack([each.ravel() for each in objects], axis=1)

    assert set(STEMS) == set(recorded["xml"]) == set(recorded["masks"])
    assert np.array_equal(*masks)
    assert len(np.unique(both, axis=0)) == len(np.unique(both[:, 0])) == len(np.unique(both[:, 1]))
    assert np.array_equal(objects[0] == 0, masks[0] == VOID)


@pytest.mark.parametrize("stem", [stem for stem in STEMS if stem != "nothing"])
def test_masks_have_the_classes_of_their_colours(stem, recorded):
    """As the files have them, decoded by hand."""
    pixels = cv2.imread(str(RECORDED / f"masks/SegmentationClass/{stem}.png"))[:, :, ::-1]
    objects = cv2.imread(str(RECORDED / f"masks/SegmentationObject/{stem}.png"))[:, :, ::-1]
    wanted = np.full(pixels.shape[:2], VOID)
    for value, rgb in enumerate([(36, 179, 83), (250, 50, 83), (51, 221, 255)]):
        wanted[(pixels == rgb).all(axis=2)] = value
    mask, numbers = recorded["masks"][stem]

    assert np.array_equal(mask, wanted)
    ascending = [each for each in range(1, 256) if (objects == colour(each)).all(axis=2).any()]
    for number, each in enumerate(ascending, start=1):
        assert np.array_equal(numbers == number, (objects == colour(each)).all(axis=2))


def test_images_are_copied_from_the_folder_of_their_subset_if_they_are_there(tmp_path):
    root = xml(
        tmp_path, f"polygon {SQUARE}", more=f'<image name="a.png" subset="Test" width="{WIDTH}" height="{HEIGHT}"/>'
    )
    content = (root / "annotations.xml").read_text()
    (root / "annotations.xml").write_text(content.replace('name="a.png"', 'name="a.png" subset="Train"', 1))
    for subset in ("Train", "Test"):
        folders.image(root / f"images/{subset}/a.png", seed=len(subset))
    (root / "images/a.png").unlink()

    splits = cvat.collect(section(), root, tmp_path / "one").splits
    assert ["Test/a", "Train/a"] == [pair.stem for pair in splits["train"]]

    names = {"by": "folder", "names": {"train": "Train", "test": "Test"}}
    splits = cvat.collect(section(split=names, images="images/{split}"), root, tmp_path / "two").splits
    assert {"train": ["a"], "test": ["a"]} == {split: [pair.stem for pair in pairs] for split, pairs in splits.items()}
    for split, subset in names["names"].items():
        copied = (tmp_path / "two" / split / "images/a.png").read_bytes()
        assert copied == (root / f"images/{subset}/a.png").read_bytes()


def test_an_xml_file_a_split(tmp_path):
    for split in ("train", "val"):
        xml(tmp_path / split, f"polygon {SQUARE}")
    changes = {"annotations": "{split}/annotations.xml", "images": "{split}/images"}

    splits = cvat.collect(
        section(split={"by": "folder", "names": ["train", "val"]}, **changes), tmp_path, tmp_path / "r"
    )
    assert {"train": 1, "val": 1} == {split: len(pairs) for split, pairs in splits.splits.items()}


def test_pixels_without_a_shape_are_what_the_parameter_says_and_so_are_shapes_of_that_class(tmp_path):
    root = xml(tmp_path, f"polygon {SQUARE}", 'box label="sky" xtl="4" ytl="4" xbr="6" ybr="6"')

    mask, objects = drawn(root, tmp_path / "raw", unlabelled="sky")
    assert (mask[0, 0], mask[5, 5], mask[3, 3]) == (2, 2, 1)
    assert (objects[0, 0], objects[5, 5], objects[3, 3]) == (0, 0, 1)


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ('polygon label="car" points="1,1;5,5"', "2 points, expected 3"),
        ('polygon label="car" points=""', "points that are no numbers"),
        ('polygon label="car" points="1,1;5"', "an odd number of coordinates"),
        ('polygon label="car"', "points that are no numbers"),
        ('polygon label="car" points="1,1;nan,5;9,5"', "not finite"),
        ('polygon label="car" points="1,1;1e308,5;9,1e308"', "not finite"),
        ('polygon label="car" points="1,1;1e99,5;9,9"', "an outline of"),
        ('polygon label="car" points="50,50;60,50;60,60"', "outside of its image of 16x12 pixels"),
        ('polygon points="1,1;5,5;9,1"', "no label"),
        ('polygon label="car" points="1,1;5,5;9,1" z_order="high"', "z_order is 'high', expected a whole number"),
        ('box label="car" xtl="1" ytl="1" xbr="5"', "ybr is '', expected a number"),
        ('box label="car" xtl="1" ytl="1" xbr="1" ybr="5"', "zero area"),
        ('box label="car" xtl="1" ytl="1" xbr="4" ybr="5" rotation="inf"', "not finite"),
        ('ellipse label="car" cx="5" cy="5" rx="0" ry="3"', "radii of 0.0 and 3.0, expected positive numbers"),
        ('ellipse label="car" cx="5" cy="5" rx="1e9" ry="3"', "an outline of"),
        ('ellipse label="car" cx="1e308" cy="5" rx="1e308" ry="3"', "not finite"),
        ('box label="car" xtl="-1e308" ytl="1" xbr="1e308" ybr="5"', "not finite"),
        ('box label="car" xtl="-1e308" ytl="1" xbr="1e308" ybr="5" rotation="30"', "not finite"),
        ('mask label="car" rle="0, 4" left="15" top="0" width="2" height="2"', "reaches out of its image"),
        ('mask label="car" rle="0, 4" left="-2" top="0" width="2" height="2"', "outside of its image"),
        ('mask label="car" rle="0, 5" left="1" top="0" width="2" height="2"', "run lengths outside of 0 to 4"),
        ('mask label="car" rle="0, -1, 5" left="1" top="0" width="2" height="2"', "run lengths outside of 0 to 4"),
        ('mask label="car" rle="1, 2" left="1" top="0" width="2" height="2"', "run lengths of 3 pixels, expected 4"),
        ('mask label="car" rle="1, x" left="1" top="0" width="2" height="2"', "run lengths that are no whole numbers"),
        ('mask label="car" left="1" top="0" width="2" height="2"', "run lengths that are no whole numbers"),
        ('mask label="car" rle="0, 4" left="1" top="0" width="-2" height="-2"', "-2x-2 pixels"),
    ],
)
def test_a_shape_that_cannot_be_drawn_is_refused_or_left_out_and_counted(tag, said, tmp_path, capsys):
    root = xml(tmp_path, f"polygon {SQUARE}", tag)
    message = problem(root)
    _, objects = drawn(root, tmp_path / "raw", faults="skip")

    assert f"{root / 'annotations.xml'}: image 'a.png', shape 1 (" in message
    assert said in message
    assert "shapes that cannot be drawn are left out: 1" in capsys.readouterr().err
    assert objects.max() == 1


def test_shapes_without_an_area_are_left_out_and_counted(tmp_path, capsys):
    tags = ('polyline label="rail" points="1,1;5,5"', 'points label="car" points="1,1"', 'cuboid label="car"')

    _, objects = drawn(xml(tmp_path, f"polygon {SQUARE}", *tags), tmp_path / "raw")
    assert objects.max() == 1
    assert "left out, as CVAT's own masks do: 1 cuboid, 1 points, 1 polyline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../a.png"}, "image '../a.png': expected a path below"),
        ({"name": "/etc/passwd"}, "expected a path below"),
        ({"name": "b.png"}, "no image"),
        ({"name": "link.png"}, "a link that leads out of"),
        ({"name": "a.txt"}, "expected one of .png"),
        ({"size": (0, 16)}, "16x0 pixels"),
        ({"size": (99_999, 99_999)}, "99999x99999 pixels"),
        ({"more": '<image name="a.png" width="16" height="12"/>'}, "'a.png' is listed twice"),
        ({"more": "<track/>"}, 'tracks of a video). Export the annotations again as "CVAT for images 1.1"'),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_in_one_line(changes, said, tmp_path):
    root = xml(tmp_path / "mine", f"polygon {SQUARE}", **changes)
    (root / "images/link.png").symlink_to(tmp_path)
    message = problem(root)

    assert said in message
    assert "\n" not in message


def test_unknown_labels_are_refused_with_their_count_or_void(tmp_path):
    van = f"polygon {SQUARE}".replace("car", "van")
    root = xml(tmp_path, van, van)

    assert "label 'van', 2 objects in annotations.xml, is not among the classes" in problem(root)
    assert (drawn(root, tmp_path / "raw", unknown="void")[1] == 0).all()


def test_colours_of_masks_that_are_no_label_are_refused_and_labels_follow_the_rule(tmp_path):
    root = masks(tmp_path, {"a": picture(x1=CAR, x2=(1, 2, 3)), "b": picture(x1=ROAD)})
    message = problem(root, before=False, classes=["road"], **MASKS)
    assert f"{root / 'SegmentationClass/a.png'}: colour (1, 2, 3) is not in labelmap.txt" in message

    masks(tmp_path, {"a": picture(x1=CAR), "b": picture(x1=ROAD)})
    message = problem(root, before=False, classes=["road"], **MASKS)
    assert "label 'car', 1 object in a.png, is not among the classes" in message
    mask, objects = drawn(root, tmp_path / "raw", classes=["road"], unknown="void", unlabelled="road", **MASKS)
    assert (mask[0, 1], mask[0, 2], objects.max()) == (VOID, 0, 0)


def test_two_objects_of_one_colour_are_told_apart_by_their_classes(tmp_path):
    """CVAT has 256 colours for objects."""
    classes, objects = picture(x1=CAR, x2=ROAD, x4=CAR), picture(x1=colour(7), x2=colour(7), x4=colour(3))

    _, numbers = drawn(masks(tmp_path, {"a": classes}, {"a": objects}), tmp_path / "raw", **MASKS)
    assert [0, 3, 2, 0, 1] == numbers[0, :5].tolist()


def test_masks_may_have_a_palette(tmp_path):
    root = masks(tmp_path, {"a": picture(x1=CAR)})
    for place, rgb in (("SegmentationClass", ROAD), ("SegmentationObject", colour(1))):
        folders.palette(root / place / "a.png", [0, 1], [(0, 0, 0), rgb])

    mask, objects = drawn(root, tmp_path / "raw", **MASKS)
    assert [VOID, 0, VOID] == mask[0, :3].tolist()
    assert [0, 1, 0] == objects[0, :3].tolist()


def test_the_lists_of_masks_are_splits(tmp_path):
    root = masks(tmp_path, {"a": picture(x1=CAR), "b": picture(), "c": picture()})
    for split, stem in (("Train", "a\nc\n"), ("Validation", "b\n")):
        (root / f"ImageSets/Segmentation/{split}.txt").write_text(stem)
    form = {
        "by": "lists",
        "file": "ImageSets/Segmentation/{split}.txt",
        "names": {"train": "Train", "val": "Validation"},
    }

    splits = cvat.collect(section(split=form, **MASKS), root, tmp_path / "raw").splits
    assert {"train": ["a", "c"], "val": ["b"]} == {name: [p.stem for p in pairs] for name, pairs in splits.items()}


def test_an_export_of_masks_a_split(tmp_path):
    for split in ("train", "val"):
        masks(tmp_path / split, {f"{split}_a": picture(x1=CAR)})
    changes = {"annotations": "{split}/labelmap.txt", "images": "{split}/JPEGImages"}

    splits = cvat.collect(
        section(split={"by": "folder", "names": ["train", "val"]}, **changes), tmp_path, tmp_path / "r"
    )
    assert {"train": 1, "val": 1} == {split: len(pairs) for split, pairs in splits.splits.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda root: (root / "SegmentationObject/a.png").unlink(),
            "only one of SegmentationClass and SegmentationObj",
        ),
        (lambda root: (root / "JPEGImages/a.png").unlink(), "0 images with the stem 'a'"),
        (lambda root: folders.image(root / "JPEGImages/a.jpg"), "2 images with the stem 'a'"),
        (lambda root: (root / "labelmap.txt").unlink(), "labelmap.txt: missing"),
        (lambda root: (root / "labelmap.txt").write_text("car:1,2\n"), "line 1: 'car:1,2' is no label with a colour"),
        (lambda root: (root / "labelmap.txt").write_text("car:1,2,256::\n"), "is no label with a colour"),
        (lambda root: (root / "labelmap.txt").write_text("a:1,2,3::\nb:1,2,3::\n"), "'b' has the colour of 'a'"),
        (lambda root: (root / "labelmap.txt").write_bytes(b"\xff\n"), "not UTF-8 at byte 0"),
        (lambda root: shutil.rmtree(root / "ImageSets"), "ImageSets/Segmentation: no lists"),
        (
            lambda root: (root / "ImageSets/Segmentation/default.txt").write_text("../a\n"),
            "'../a': expected a path below",
        ),
        (
            lambda root: (root / "ImageSets/Segmentation/default.txt").write_text("a" * 252 + "\n"),
            "of names of at most 255",
        ),
    ],
)
def test_an_export_of_masks_that_lacks_a_part_is_refused(change, said, tmp_path):
    root = masks(tmp_path, {"a": picture(x1=CAR)})
    change(root)

    assert said in problem(root, **MASKS)


def test_masks_of_different_sizes_and_masks_that_are_no_colours_are_refused(tmp_path):
    root = masks(tmp_path, {"a": picture(x1=CAR)}, {"a": picture()[:4]})
    assert "16x12 pixels, but" in problem(root, before=False, **MASKS)

    folders.mask(root / "SegmentationClass/a.png", [0, 1])
    assert "8-bit gray mask, expected 8-bit RGB" in problem(root, before=False, **MASKS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotations": "labels.json"}, "expected a file that ends in .xml, or labelmap.txt"),
        ({"annotations": "../a.xml"}, "without .."),
        ({"annotations": "{split}.xml"}, "expected no {split} in it with by: ratio"),
        ({"images": "{split}"}, "expected no {split} in it with by: ratio"),
        ({"images": "*"}, "expected a folder without *"),
        (
            {"split": {"by": "folder", "names": ["train"]}},
            "expected {split} in annotations (a file a split) or in images",
        ),
        ({"split": {"by": "lists", "file": "{split}.txt", "names": ["train"]}}, "by: ratio with an XML file"),
    ],
)
def test_a_section_that_cannot_be_meant_is_refused(changes, said):
    with pytest.raises(ParameterError) as error:
        section(**changes)

    assert said in str(error.value)


@pytest.mark.parametrize("changes", [{}, MASKS])
def test_a_folder_that_is_not_there_is_refused(changes, tmp_path):
    assert "no such folder" in problem(tmp_path / "mine", **changes)


@given(st.integers(0, 0xFFFFFF))
def test_a_colour_is_that_of_its_number_in_vocs_map(code):
    number = cvat_masks._voc_number(code)

    if number < 256:
        assert colour(number) == (code >> 16, code >> 8 & 255, code & 255)
    assert number < 1 << 24


def test_every_number_of_vocs_map_is_found_again():
    assert list(range(256)) == [
        cvat_masks._voc_number(red << 16 | green << 8 | blue) for red, green, blue in map(colour, range(256))
    ]


@given(st.floats(0, 360))
def test_sine_and_cosine_are_those_of_the_c_library_but_for_the_last_bit(degrees):
    angle = radians(degrees)
    cosine, sine = shapes.cosine_and_sine(angle)

    assert abs(cosine - cos(angle)) <= 2**-53
    assert abs(sine - sin(angle)) <= 2**-53


@pytest.mark.parametrize("seed", range(2))
def test_mutated_exports_are_read_or_refused(seed, tmp_path):
    draws = random.Random(seed)
    shutil.copytree(RECORDED, tmp_path / "mine")
    files = ["annotations.xml", "masks/labelmap.txt", "masks/ImageSets/Segmentation/default.txt"]
    files += ["masks/SegmentationClass/kinds.png", "masks/SegmentationObject/groups.png"]
    for number in range(40):
        path = tmp_path / "mine" / draws.choice(files)
        valid = path.read_bytes()
        path.write_bytes((mutations.of_png if path.suffix == ".png" else mutations.of_text)(valid, draws))
        changes = {} if path.suffix == ".xml" else {"annotations": "masks/labelmap.txt", "images": "masks/JPEGImages"}
        faults = draws.choice(["refuse", "skip"])
        with contextlib.suppress(PipelineError):
            cvat.collect(section(faults=faults, **changes), tmp_path / "mine", tmp_path / str(number))
        path.write_bytes(valid)


def test_a_subset_leads_nowhere_out_of_the_images(tmp_path):
    root = xml(tmp_path / "mine", f"polygon {SQUARE}")
    file = root / "annotations.xml"
    file.write_text(file.read_text().replace('name="a.png"', 'name="b.png" subset=".."'))
    folders.image(root / "b.png")

    assert "image 'b.png' of subset '..': expected a path below data.input" in problem(root)


@pytest.mark.parametrize("rotation", ["nan", "inf", "-1e309"])
@pytest.mark.parametrize("tag", ["ellipse", "box"])
def test_a_rotation_that_is_not_finite_is_a_fault(tag, rotation, tmp_path):
    place = 'cx="5" cy="5" rx="3" ry="2" xtl="1" ytl="1" xbr="5" ybr="5"'
    root = xml(tmp_path / "mine", f'{tag} label="car" {place} rotation="{rotation}"')

    assert "a rotation that is not finite" in problem(root)


def test_a_linked_folder_leads_nowhere_out_of_the_data_set(tmp_path):
    root = xml(tmp_path / "mine", f"polygon {SQUARE}")
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")

    assert "a link that leads out of" in problem(root)


def test_an_image_of_another_size_than_the_file_says_is_one_line(tmp_path):
    root = xml(tmp_path / "mine", f"polygon {SQUARE}", size=(120, 160))

    assert f"{root}/images/a.png has {WIDTH}x{HEIGHT} pixels, but its annotations are for 160x120" in problem(root)
