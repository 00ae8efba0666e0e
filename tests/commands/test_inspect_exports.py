"""Every export of a labelling tool, and published layouts: the section that `segline inspect` writes is valid
unchanged, counts the labels, and downloads."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from segline.commands import check, inspect_folder
from segline.core import params
from segline.core.errors import DataError
from segline.dataset import raw
from stages import download, preprocess
from tests import folders
from tests.commands.test_inspect_layouts import pasted
from tests.sources import test_cityscapes, test_label_studio

HEIGHT, WIDTH = folders.SIZE
LEFT = [[0, 0], [WIDTH / 2, 0], [WIDTH / 2, HEIGHT], [0, HEIGHT]]


def written(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def pictures(folder: Path, stems: str) -> None:
    for stem in stems:
        folders.image(folder / f"{stem}.png", seed=len(str(folder)))


def coco(stems: str, *labels: str) -> dict[str, Any]:
    """Each image has one object of each label; `tree` has none."""
    names = dict(enumerate([*labels, "tree"], start=3))
    images = [
        {"id": number, "file_name": f"{stem}.png", "height": HEIGHT, "width": WIDTH}
        for number, stem in enumerate(stems)
    ]
    shape = [[float(c) for point in LEFT for c in point]]
    shapes = [
        {"id": 9 * image["id"] + number, "image_id": image["id"], "category_id": number, "iscrowd": 0}
        | {"segmentation": shape, "bbox": [0, 0, 1, 1], "area": 1}
        for image in images
        for number, name in names.items()
        if name != "tree"
    ]
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in names.items()]
    return {"info": {}, "images": images, "annotations": shapes, "categories": categories}


def coco_in_one(root: Path) -> None:
    pictures(root / "images", "abcdef")
    written(root / "annotations/instances_default.json", coco("abcdef", "car", "sky"))
    written(root / "annotations/notes.json", {"by": "me"})


def coco_by_split(root: Path) -> None:
    for split, stems in (("train", "abc"), ("val", "d")):
        pictures(root / f"{split}2017", stems)
        written(root / f"annotations/instances_{split}2017.json", coco(stems, "car", "sky"))
        written(root / f"annotations/captions_{split}2017.json", {"images": [], "annotations": []})


def roboflow(root: Path) -> None:
    for split, stems in (("train", "abc"), ("valid", "d"), ("test", "e")):
        pictures(root / split, stems)
        written(root / split / "_annotations.coco.json", coco(stems, "car", "sky"))


def labelme(root: Path, stems: str = "abcdef", extra: str = "_background_") -> None:
    pictures(root, stems)
    for stem in stems:
        shapes = [
            {"label": label, "points": LEFT, "group_id": None, "shape_type": "polygon", "flags": {}, "mask": None}
            for label in ("sky", "car", "car", "__ignore__", extra)
        ]
        size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.png", "imageData": None}
        written(root / f"{stem}.json", document | size)


def labelme_by_split(root: Path) -> None:
    labelme(root / "train", "abc", "car")
    labelme(root / "val", "d", "car")


def cvat_xml(root: Path) -> None:
    pictures(root / "images", "abcdef")
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in LEFT)
    shapes = "".join(
        f'<polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="0"></polygon>'
        for label in ("sky", "car", "car")
    )
    images = "".join(
        f'<image id="{number}" name="{stem}.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
        for number, stem in enumerate("abcdef")
    )
    written(root / "annotations.xml", f"<annotations><version>1.1</version>{images}</annotations>")


def cvat_masks(root: Path, lists: tuple[tuple[str, str], ...] = (("default", "abcdef"),)) -> None:
    (root / "SegmentationClass").mkdir(parents=True)
    for split, stems in lists:
        written(root / f"ImageSets/Segmentation/{split}.txt", "".join(f"{stem}\n" for stem in stems))
        pictures(root / "JPEGImages", stems)
        for stem in stems:
            folders.coloured(root / f"SegmentationClass/{stem}.png", [0, 0x800000, 0x008000])
            folders.coloured(root / f"SegmentationObject/{stem}.png", [0, 0x800000, 0x008000])
    written(
        root / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nsky:128,0,0::\ncar:0,128,0::\ntree:0,0,128::\n",
    )


def studio(root: Path) -> None:
    tasks = [
        test_label_studio.task(number, *[test_label_studio.result(label=label) for label in ("sky", "car", "car")])
        for number in range(6)
    ]
    test_label_studio.write(root, *tasks)


def ade20k(root: Path) -> None:
    """As published: 0 is what has no label."""
    for split, stems in (("training", ["1", "2", "3"]), ("validation", ["4"])):
        at = (f"images/{split}/ADE_{split}_{{}}.jpg", f"annotations/{split}/ADE_{split}_{{}}.png")
        folders.pairs(root, *at, stems, [0, 1, 3])
    rows = "".join(
        f"{number}\t0.1\t1\t1\t1\t{name}\n" for number, name in enumerate(["wall", "building, edifice", "sky"], 1)
    )
    written(root / "objectInfo150.txt", f"Idx\tRatio\tTrain\tVal\tStuff\tName\n{rows}")


RATIO = {"by": "ratio", "shares": {"train": 0.6, "val": 0.2, "test": 0.2}, "seed": 1}
TREES = {"background": 0, "car": 6, "sky": 6, "tree": 0}
OBJECTS = {"background": 0, "car": 12, "sky": 6}
# What builds it; source, objects of each class as counted, and what the section must say besides.
EXPORTS: dict[str, tuple[Callable[[Path], None], str, dict[str, int] | None, dict[str, Any]]] = {
    "COCO": (
        coco_in_one,
        "coco",
        TREES,
        {"annotations": "annotations/instances_default.json", "images": "images", "split": RATIO},
    ),
    "COCO by split": (
        coco_by_split,
        "coco",
        TREES | {"car": 4, "sky": 4},
        {
            "annotations": "annotations/instances_{split}.json",
            "images": "{split}",
            "split": {"by": "folder", "names": {"train": "train2017", "val": "val2017"}},
        },
    ),
    "COCO by Roboflow": (
        roboflow,
        "coco",
        TREES | {"car": 5, "sky": 5},
        {
            "annotations": "{split}/_annotations.coco.json",
            "images": "{split}",
            "split": {"by": "folder", "names": {"train": "train", "val": "valid", "test": "test"}},
        },
    ),
    "labelme": (labelme, "labelme", OBJECTS, {"annotations": "*.json", "split": RATIO}),
    "labelme by split": (
        labelme_by_split,
        "labelme",
        {"background": 0, "car": 12, "sky": 4},
        {"annotations": "{split}/*.json", "split": {"by": "folder", "names": ["train", "val"]}},
    ),
    "CVAT for images": (
        cvat_xml,
        "cvat",
        OBJECTS,
        {"annotations": "annotations.xml", "images": "images", "split": RATIO},
    ),
    "CVAT masks": (
        cvat_masks,
        "cvat",
        TREES,
        {"annotations": "labelmap.txt", "images": "JPEGImages", "split": RATIO},
    ),
    "CVAT masks by lists": (
        lambda root: cvat_masks(root, (("Train", "abc"), ("Validation", "d"))),
        "cvat",
        TREES | {"car": 4, "sky": 4},
        {
            "split": {
                "by": "lists",
                "file": "ImageSets/Segmentation/{split}.txt",
                "names": {"train": "Train", "val": "Validation"},
            }
        },
    ),
    "Label Studio": (
        studio,
        "label_studio",
        OBJECTS,
        {"annotations": "export.json", "images": "images", "field": "image", "split": RATIO},
    ),
    "Cityscapes": (test_cityscapes.write, "cityscapes", None, {"splits": ["train", "val"]}),
    "ADE20K": (
        ade20k,
        "folder",
        None,
        {
            "images": "images/{split}/*.jpg",
            "masks": "annotations/{split}/*.png",
            "void": {"value": 0, "rgb": [224, 224, 192]},
            "split": {"by": "folder", "names": {"train": "training", "val": "validation"}},
        },
    ),
}


def counts(section: str) -> dict[str, int]:
    """The objects of each class, or the images it is in, as the comments say."""
    rows = re.findall(r'^      - (".+")\s*# (?:in )?(\w+)', section, re.MULTILINE)
    return {json.loads(name): int(said) if said.isdecimal() else 0 for name, said in rows}


@pytest.mark.parametrize("name", EXPORTS)
def test_the_section_is_valid_counts_the_labels_and_runs_through_download_and_preprocess(name, tmp_path, monkeypatch):
    build, source, objects, expected = EXPORTS[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    root = Path("my 'data'")
    build(root)
    inspection = inspect_folder.inspect(root)
    document = pasted(inspection.section)
    section = document["data"][source]

    assert [] == inspection.problems
    assert source == params.text(document, "data.source")
    assert expected == {key: section[key] for key in expected}
    if objects is not None:
        assert objects == counts(inspection.section)
        assert [*counts(inspection.section)] == section["classes"]
        assert ("background", "refuse", "refuse") == tuple(section[key] for key in ("unlabelled", "unknown", "faults"))
    assert [] == check.problems()
    assert [] == check.on_this_machine()

    download.main(["--input", params.text(document, "data.input"), "--raw", "data/raw"])
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])

    assert {*raw.read(Path("data/raw")).splits} == {path.name for path in Path("data/processed").iterdir()}


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("labelme", ["car"]),
        ("CVAT for images", ["car"]),
        ("Label Studio", ["car"]),
        ("Cityscapes", ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]),
        ("COCO", []),
        ("ADE20K", []),
    ],
)
def test_classes_of_many_objects_may_be_told_apart(name, classes, tmp_path):
    """As a comment that can take the place of null: `car` has two objects in each image, `sky` one."""
    EXPORTS[name][0](tmp_path)
    (line,) = re.findall(r"^  objects: .*", inspect_folder.inspect(tmp_path).section, re.MULTILINE)
    value, _, proposed = line.partition("# ")

    assert {"objects": None} == yaml.safe_load(value)
    assert bool(classes) == bool(proposed)
    if classes:
        proposal = proposed.removesuffix(" tells one object from the next")
        assert {"classes": classes, "border": 2} == yaml.safe_load(proposal)


def test_coco_with_many_cells_an_image_may_tell_them_apart(tmp_path):
    pictures(tmp_path / "images", "ab")
    document = coco("ab", "cell", "sky")
    first = document["annotations"][0]
    document["annotations"] += [first | {"id": 900 + number, "image_id": number} for number in (0, 1)]
    written(tmp_path / "instances.json", document)

    assert '# {classes: ["cell"], border: 2} tells' in inspect_folder.inspect(tmp_path).section


def test_a_view_of_cityscapes_without_numbers_tells_none_apart(tmp_path):
    test_cityscapes.write(tmp_path)
    next(tmp_path.rglob("*_instanceIds.png")).unlink()

    assert inspect_folder.inspect(tmp_path).section.endswith("  objects: null")


def test_ade20k_names_the_classes_and_leaves_0_out(tmp_path):
    ade20k(tmp_path)
    section = inspect_folder.inspect(tmp_path).section

    assert '{name: "wall", value: 1,' in section
    assert '{name: "building, edifice", value: 2,' in section
    assert "class_0" not in section


def test_what_the_source_refuses_is_told(tmp_path):
    labelme(tmp_path, extra="Car")
    inspection = inspect_folder.inspect(tmp_path)

    assert ["label 'Car', 6 objects in a.json, b.json, c.json and perhaps more, differs from class 'car'"] == [
        line.partition(": ")[2].partition(" in case")[0] for line in inspection.problems
    ]


def test_labels_for_what_is_not_labelled_become_void(tmp_path):
    labelme(tmp_path, extra="void")
    inspection = inspect_folder.inspect(tmp_path)

    assert [] == inspection.problems
    assert "    unknown: void " in inspection.section
    assert '# labels that are no class: "void"' in inspection.section


def test_a_label_for_the_background_is_the_class_of_unlabelled_pixels(tmp_path):
    labelme(tmp_path, extra="Background")
    inspection = inspect_folder.inspect(tmp_path)

    assert '    unlabelled: "Background"' in inspection.section
    assert '- "background"' not in inspection.section


def test_json_that_is_no_export_leaves_the_layout_as_it_is(tmp_path):
    folders.all_in_one("images/{}.png", "masks/{}.png")(tmp_path)
    written(tmp_path / "meta.json", {"images": [], "notes": [1]})
    written(tmp_path / "list.json", [{"a": 1}])
    written(tmp_path / "broken.json", "{")

    assert "  source: folder" in inspect_folder.inspect(tmp_path).section


def test_an_export_that_is_cut_is_named(tmp_path):
    coco_in_one(tmp_path)
    path = tmp_path / "annotations/instances_default.json"
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(DataError, match=r"instances_default.json: not the JSON that is expected \(cut"):
        inspect_folder.inspect(tmp_path)


def test_masks_beside_annotations_are_told(tmp_path):
    coco_in_one(tmp_path)
    for stem in "abc":
        folders.mask(tmp_path / f"masks/{stem}.png", [0, 1])
    inspection = inspect_folder.inspect(tmp_path)

    assert "  source: coco" in inspection.section
    assert [
        "annotations and masks fit: annotations/instances_default.json is taken; masks/*.png (3 pairs with "
        "images/*.png), which source folder reads, is not"
    ] == inspection.problems


def test_images_that_are_not_there_are_told(tmp_path):
    coco_in_one(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    inspection = inspect_folder.inspect(tmp_path)

    assert any("no image" in line for line in inspection.problems)
    assert "no image can be read, so no section preprocess is proposed" in inspection.problems


def test_subsets_of_a_project_in_cvat_are_splits(tmp_path):
    cvat_xml(tmp_path)
    text = (tmp_path / "annotations.xml").read_text()
    for stem in "abcdef":
        subset = "Train" if stem in "abcd" else "Validation"
        text = text.replace(f'name="{stem}.png"', f'name="{stem}.png" subset="{subset}"')
        (tmp_path / "images" / subset).mkdir(exist_ok=True)
        (tmp_path / f"images/{stem}.png").rename(tmp_path / f"images/{subset}/{stem}.png")
    written(tmp_path / "annotations.xml", text)
    inspection = inspect_folder.inspect(tmp_path)
    section = yaml.safe_load(inspection.section)["data"]["cvat"]

    assert [] == inspection.problems
    assert ("annotations.xml", "images/{split}") == (section["annotations"], section["images"])
    assert {"train": "Train", "val": "Validation"} == section["split"]["names"]


def test_a_text_that_is_no_address_is_ignored(tmp_path):
    data = {"caption": "//[see note] text", "image": "/data/upload/1/1.png"}
    test_label_studio.write(tmp_path, test_label_studio.task(1, test_label_studio.result(), data=data))

    assert 'field: "image"' in inspect_folder.inspect(tmp_path).section


def test_images_within_files_of_labelme_are_measured(tmp_path):
    """Labelme embeds images by default."""
    labelme(tmp_path)
    for path in tmp_path.glob("*.json"):
        image = path.with_suffix(".png")
        content = json.loads(path.read_text()) | {"imageData": base64.b64encode(image.read_bytes()).decode()}
        path.write_text(json.dumps(content))
    beside = inspect_folder.inspect(tmp_path).section
    for path in tmp_path.glob("*.png"):
        path.unlink()

    assert f"height: {HEIGHT}" in beside
    assert beside == inspect_folder.inspect(tmp_path).section


def test_names_that_no_file_can_have_are_passed_over(tmp_path):
    name = f"{'a' * 300}.png"
    labelme(tmp_path / "labelme")
    content = json.loads((tmp_path / "labelme/a.json").read_text()) | {"imagePath": name}
    written(tmp_path / "labelme/a.json", content)
    pictures(tmp_path / "coco/images", "b")
    document = coco("ab", "car")
    document["images"][0]["file_name"] = name
    written(tmp_path / "coco/instances.json", document)

    for folder in ("labelme", "coco"):
        assert "preprocess:" in inspect_folder.inspect(tmp_path / folder).section
