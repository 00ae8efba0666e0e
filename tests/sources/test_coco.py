"""`data.source: coco`: what pycocotools draws, pixel by pixel, in the order of the file."""

import json
import os
import subprocess
import sys
import tracemalloc
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from segline.core import params
from segline.core.errors import ParameterError, PipelineError
from segline.dataset import raw
from segline.dataset.raw import Dataset, Void
from segline.sources import coco
from segline.sources.collecting import json_file, shapes
from stages import download, evaluate, plot, preprocess, train
from tests import folders, tiny
from tests.sources.test_synthetic import OLDER_CPU

ROOT = Path(coco.__file__).parents[2]
HEIGHT, WIDTH = folders.SIZE
ONE: dict[str, Any] = {
    "classes": ["cat", "dog"],
    "unlabelled": "void",
    "unknown": "refuse",
    "faults": "refuse",
    "split": {"by": "ratio", "shares": {"train": 1.0}, "seed": 1},
    "annotations": "instances.json",
    "images": "images",
    "group": "",
}
BY_FOLDER: dict[str, Any] = {
    "split": {"by": "folder", "names": {"train": "train", "val": "valid"}},
    "annotations": "{split}/_annotations.coco.json",
    "images": "{split}",
}
SQUARE = [2.0, 2.0, 10.0, 2.0, 10.0, 8.0, 2.0, 8.0]
CATEGORIES = [{"id": 3, "name": "dog"}, {"id": 90, "name": "cat"}, {"id": 4, "name": "bird"}]
NAMES = ("a.png", "b.png", "c.png", "d.png")
ARRAYS = (tiny.IMAGES, tiny.ONEHOT)
CAT, DOG, BIRD = 90, 3, 4


def section(**changes: Any) -> coco.Section:
    return params.section({"data": {"coco": {**ONE, **changes}}}, "data.coco", coco.Section)


def annotation(segmentation: Any, category: int = CAT, image: int = 7, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "bbox": [0, 0, 1, 1], **more}


def write(root: Path, annotations: list[dict[str, Any]], names: tuple[str, ...] = ("a.png",), **changes: Any) -> Path:
    """A data set whose images have the ids 7, 8, ...; annotations are numbered from 100."""
    for name in names:
        folders.image(root / "images" / name)
    images = [{"id": 7 + n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)]
    numbered = [{"id": 100 + n, **each} for n, each in enumerate(annotations)]
    content = {"info": {}, "images": images, "annotations": numbered, "categories": CATEGORIES, **changes}
    (root / "instances.json").write_text(json.dumps(content))
    return root


def drawn(root: Path, raw_folder: Path, **changes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mask and object numbers of the first image."""
    collected = coco.collect(section(**changes), root, raw_folder)
    split, pairs = next(iter(collected.splits.items()))
    mask, objects = (
        cv2.imread(str(raw_folder / split / path), cv2.IMREAD_UNCHANGED) for path in (pairs[0].mask, pairs[0].objects)
    )
    return mask, objects


def problems(root: Path, **changes: Any) -> str:
    """What is wrong, as text; the same before the download and in it."""
    with pytest.raises(PipelineError) as before:
        coco.require_input(section(**changes), root)
    with pytest.raises(PipelineError) as during:
        coco.collect(section(**changes), root, root.parent / "refused")
    assert str(before.value) == str(during.value)
    assert not (root.parent / "refused").exists()
    return str(before.value)


def compressed(mask: np.ndarray) -> str:
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def runs(mask: np.ndarray) -> list[int]:
    """Plain run lengths, by brute force."""
    lengths, inside = [0], False
    for value in mask.T.ravel().tolist():
        if bool(value) != inside:
            lengths.append(0)
            inside = not inside
        lengths[-1] += 1
    return lengths


coordinates = st.one_of(st.integers(-8, 24), st.floats(-8, 24).map(lambda value: round(value, 2)))
polygons = (
    st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=7)
    .filter(lambda points: shapes.fault_of(np.array(points, float), HEIGHT, WIDTH) is None)
    .map(lambda points: [value for point in points for value in point])
)
masks = (
    st.lists(st.booleans(), min_size=HEIGHT * WIDTH, max_size=HEIGHT * WIDTH)
    .filter(any)
    .map(lambda values: np.array(values, np.uint8).reshape(HEIGHT, WIDTH))
)
segmentations = st.one_of(
    st.lists(polygons, min_size=1, max_size=3),
    masks.map(lambda mask: {"size": [HEIGHT, WIDTH], "counts": runs(mask)}),
    masks.map(lambda mask: {"size": [HEIGHT, WIDTH], "counts": compressed(mask)}),
)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools' own decoder
@settings(max_examples=60, deadline=None)
@given(objects=st.lists(st.tuples(segmentations, st.sampled_from([CAT, DOG])), min_size=1, max_size=4))
def test_masks_and_numbers_are_those_of_pycocotools(tmp_path_factory, objects) -> None:
    """Of polygons that reach out or cross themselves, in one part or several, and of both kinds of run lengths."""
    root = tmp_path_factory.mktemp("any")
    write(root, [annotation(shape, category, area=1) for shape, category in objects])
    theirs = COCO(root / "instances.json")
    mask, numbers = np.full((HEIGHT, WIDTH), 255), np.zeros((HEIGHT, WIDTH), int)
    for number, each in enumerate(theirs.loadAnns(theirs.getAnnIds()), start=1):
        inside = theirs.annToMask(each).astype(bool)
        mask[inside], numbers[inside] = {CAT: 0, DOG: 1}[each["category_id"]], number
    ours = drawn(root, root / "raw")

    assert np.array_equal(mask, ours[0])
    assert np.array_equal(numbers, ours[1])
    assert (np.uint8, np.uint16) == (ours[0].dtype, ours[1].dtype)


def test_later_annotations_lie_above_earlier_ones_so_that_one_can_be_a_hole(tmp_path, capsys) -> None:
    hole = [4.0, 4.0, 8.0, 4.0, 8.0, 6.0, 4.0, 6.0]
    root = write(tmp_path, [annotation([SQUARE]), annotation([hole], DOG)])
    mask, objects = drawn(root, tmp_path / "raw", unlabelled="dog")
    expected = np.full((HEIGHT, WIDTH), 1)
    expected[2:8, 2:10] = 0
    expected[4:6, 4:8] = 1

    assert np.array_equal(expected, mask)
    assert (0, 1, 0) == (objects[0, 0], objects[2, 2], objects[5, 5])
    assert "pixels of objects that later ones cover: 8" in capsys.readouterr().err


def test_crowds_are_void_and_no_objects(tmp_path, capsys) -> None:
    """Wherever they stand in the file, they are below objects."""
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowd[3:12, 3:5] = 1
    rle = {"size": [HEIGHT, WIDTH], "counts": runs(crowd)}
    root = write(tmp_path, [annotation([SQUARE]), annotation(rle, iscrowd=1), annotation([[*SQUARE[:4], 10, 3]], DOG)])
    mask, objects = drawn(root, tmp_path / "raw", unlabelled="cat")

    assert {255} == set(mask[8:12, 3:5].ravel().tolist())
    assert {0} == set(mask[4:8, 3:5].ravel().tolist())
    assert {0, 1} == set(objects.ravel().tolist())  # nor is what has the class of unlabelled pixels
    assert "crowds are void: 1" in capsys.readouterr().err


def test_annotations_that_repeat_another_are_counted(tmp_path, capsys) -> None:
    """The same class and pixels, whatever point the outline starts with; another class is no repetition."""
    again = [annotation([SQUARE[2:] + SQUARE[:2]]), annotation([SQUARE], DOG), annotation([SQUARE], image=8)]
    _, objects = drawn(write(tmp_path, [annotation([SQUARE]), *again], ("a.png", "b.png")), tmp_path / "raw")
    told = "annotations with the class and all pixels of another of their image, drawn above it: 1"

    assert {0, 3} == set(objects.ravel().tolist())
    assert told in capsys.readouterr().err


def test_an_image_without_annotations_is_unlabelled_and_told(tmp_path, capsys) -> None:
    root = write(tmp_path, [annotation([SQUARE], image=8)], ("a.png", "b.png"))
    mask, objects = drawn(root, tmp_path / "raw")

    assert ({255}, {0}) == (set(mask.ravel().tolist()), set(objects.ravel().tolist()))
    assert "images without an annotation are void everywhere: 1" in capsys.readouterr().err


def test_the_data_set_is_what_the_section_says_and_images_are_copies(tmp_path) -> None:
    """Images lie in subfolders, which the stem keeps and the group may use."""
    root = write(tmp_path / "mine", [annotation([SQUARE])], ("b/2.png", "a/1.jpg", "b/1.png"))
    collected = coco.collect(section(group="(.+)/.+"), root, tmp_path / "raw")
    raw.write(tmp_path / "raw", collected)

    assert collected == raw.read(tmp_path / "raw")
    assert (("cat", "dog"), (0, 1), Void(255, (224, 224, 192)), "index", "mine") == (
        tuple(each.name for each in collected.classes),
        collected.values,
        collected.void,
        collected.encoding,
        collected.name,
    )
    assert [("a/1", "a"), ("b/1", "b"), ("b/2", "b")] == [(p.stem, p.group) for p in collected.splits["train"]]
    assert ["images/a/1.jpg", "images/b/1.png"] == [pair.image for pair in collected.splits["train"]][:2]
    for pair in collected.splits["train"]:
        assert (root / pair.image).read_bytes() == (tmp_path / "raw/train" / pair.image).read_bytes()
        assert f"masks/{pair.stem}.png" == pair.mask
        assert f"objects/{pair.stem}.png" == pair.objects


def roboflow(root: Path) -> Path:
    """One JSON a split, in the folder of its images, as Roboflow exports."""
    for split, name in (("train", "a.png"), ("valid", "b.png")):
        write(root, [annotation([SQUARE])], (name,))
        (root / split).mkdir()
        (root / "images" / name).rename(root / split / name)
        (root / "instances.json").rename(root / split / "_annotations.coco.json")
    return root


def test_each_split_may_have_a_file_of_its_own(tmp_path) -> None:
    collected = coco.collect(section(**BY_FOLDER), roboflow(tmp_path), tmp_path / "raw")

    assert {"train": ["a"], "val": ["b"]} == {
        split: [pair.stem for pair in pairs] for split, pairs in collected.splits.items()
    }


def test_one_file_for_all_is_split_by_ratio_and_group(tmp_path) -> None:
    names = tuple(f"{group}/{n}.png" for group in "abcdefgh" for n in range(2))
    root = write(tmp_path, [annotation([SQUARE])], names)
    split = {"by": "ratio", "shares": {"train": 0.5, "val": 0.5}, "seed": 3}
    collected = coco.collect(section(split=split, group="(.+)/.+"), root, tmp_path / "raw")
    groups = {name: {pair.group for pair in pairs} for name, pairs in collected.splits.items()}

    assert {"train": 8, "val": 8} == {name: len(pairs) for name, pairs in collected.splits.items()}
    assert not groups["train"] & groups["val"]


def test_images_may_start_at_the_input_itself(tmp_path) -> None:
    root = write(tmp_path, [annotation([SQUARE])], ("a.png",))
    content = json.loads((root / "instances.json").read_text())
    content["images"][0]["file_name"] = "images/a.png"
    (root / "instances.json").write_text(json.dumps(content))

    assert ["images/a"] == [
        pair.stem for pair in coco.collect(section(images="."), root, tmp_path / "r").splits["train"]
    ]


def test_all_problems_are_told_at_once(tmp_path) -> None:
    """Each with its file and object."""
    rle = {"size": [HEIGHT, WIDTH], "counts": [5, 5]}
    root = write(
        tmp_path,
        [
            annotation([SQUARE], BIRD),
            annotation([SQUARE], image=99),
            annotation([SQUARE], 55),
            annotation([[1, 1, 2, 2]]),
            annotation([SQUARE, [3, 3, 4, 4, 5, 5]]),
            annotation([[20, 20, 30, 20, 30, 30]]),
            annotation(rle, DOG),
            annotation({"size": [WIDTH, HEIGHT], "counts": "x"}),
            annotation([]),
            annotation([[*SQUARE, 1.0]]),
            annotation([[float("nan"), *SQUARE[1:]]]),
        ],
        ("a.png", "../b.png"),
    )
    told = problems(root)

    assert told.splitlines()[0] == f"{root}: 12 problems found. Fix each, then run again."
    for expected in (
        "images[1]: file_name '../b.png', expected a path below the folder of the images",
        "label 'bird', 1 object in instances.json, is not among the classes",
        "annotations with image_id 99, which is not in images: 1",
        "annotations with category_id 55, which is not in categories: 1",
        "annotation 103 (cat): 2 points, expected 3 to 2000000",
        "annotation 104 (cat), part 2: a polygon of zero area",
        "annotation 105 (cat): outside of its image of 16x12 pixels",
        "annotation 106 (dog): run lengths of 10 pixels, expected 192",
        "annotation 107 (cat): run lengths of 12x16 pixels, expected 16x12 as the image",
        "annotation 108 (cat): no segmentation; a box alone is no shape",
        "annotation 109 (cat): 9 coordinates, expected x and y of each point",
        "annotation 110 (cat): a point that is not finite",
    ):
        assert expected in told


def test_shapes_that_cannot_be_drawn_are_left_out_on_request(tmp_path, capsys) -> None:
    root = write(tmp_path, [annotation([[1, 1, 2, 2]]), annotation([SQUARE]), annotation([[1, 1, 2, 2], SQUARE], DOG)])
    mask, objects = drawn(root, tmp_path / "raw", faults="skip")

    assert ({1, 255}, {0, 2}) == (set(mask.ravel().tolist()), set(objects.ravel().tolist()))
    assert "shapes that cannot be drawn are left out: 2, the first: " in capsys.readouterr().err


def test_labels_that_are_no_classes_are_void_on_request(tmp_path, capsys) -> None:
    root = write(tmp_path, [annotation([SQUARE], BIRD), annotation([[0, 0, 2, 0, 2, 2, 0, 2]])])
    mask, objects = drawn(root, tmp_path / "raw", unknown="void", unlabelled="dog")

    assert (255, 0, 1) == (mask[5, 5], mask[0, 0], mask[11, 15])
    assert {0, 1} == set(objects.ravel().tolist())
    assert "void: 'bird' (1)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"images": []}, "0 images, expected 1 to 2000000"),
        (
            {"images": [{"id": 1, "file_name": "a.png", "height": "12", "width": 16}]},
            r"images[0]: not what is expected",
        ),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 1 << 20, "width": 1 << 20}]}, "1048576x1048576 pixels"),
        ({"images": [{"id": 1, "file_name": "a.png", "height": 1, "width": 1}] * 2}, "id 1 a second time"),
        (
            {"images": [{"id": n, "file_name": "a.png", "height": 12, "width": 16} for n in (1, 2)]},
            "a.png a second time",
        ),
        (
            {"images": [{"id": 1, "file_name": "/etc/passwd", "height": 1, "width": 1}]},
            "file_name '/etc/passwd', expected",
        ),
        ({"images": [{"id": 1, "file_name": "z.png", "height": 1, "width": 1}]}, "no image "),
        ({"images": [{"id": 1, "file_name": "a.psd", "height": 1, "width": 1}]}, "in a format that is not read"),
        ({"categories": [{"id": 3, "name": "dog"}, {"id": 3, "name": "cat"}]}, "id 3 is 'dog' and 'cat'"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "segmentation": [["1"]]}]}, "annotations[0]: not what is"),
        ({"annotations": [{"category_id": 3}] * 500}, "annotations[99]: not what is expected"),
    ],
)
def test_a_file_that_is_not_what_coco_says_is_refused(changes, expected, tmp_path) -> None:
    root = write(tmp_path, [])
    content = json.loads((root / "instances.json").read_text())
    (root / "instances.json").write_text(json.dumps(content | changes))
    told = problems(root)

    assert expected in told
    assert len(told.splitlines()) < 110


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"annotations": ' + "[" * 1000 + "]" * 1000 + "}", "more than 50 levels at byte 65"),
        ('{"images": [{"id": 1}', "cut, or neither an object nor an array"),
        ("", "cut, or neither an object nor an array"),
        ("[]", "0 images, expected 1"),
    ],
)
def test_what_is_no_json_is_refused(content, expected, tmp_path) -> None:
    root = write(tmp_path, [])
    (root / "instances.json").write_text(content)

    assert expected in problems(root)


@pytest.mark.parametrize(
    "counts",
    [
        "", "0", "0`", "`" * 50 + "0", "o" * 9 + "0", "\x7f", "\u20ac0",
        [192, -1, 1], [1 << 70], [1 << 62] * 4, [192, 0, 0, 1],
    ],
)  # fmt: skip
def test_run_lengths_that_do_not_fit_the_image_are_refused(counts, tmp_path) -> None:
    root = write(tmp_path, [annotation({"size": [HEIGHT, WIDTH], "counts": counts})])

    assert "annotation 100 (cat): " in problems(root)


@pytest.mark.parametrize("far", [1e300, 1e9, 5e6])
def test_a_polygon_whose_outline_would_take_all_memory_is_refused(far, tmp_path) -> None:
    root = write(tmp_path, [annotation([[0, 0, far, 0, far, far, 0, 9]])])

    assert "an outline of" in problems(root)


@settings(max_examples=200, deadline=None)
@given(
    place=st.floats(0, 1), length=st.integers(0, 3), new=st.binary(max_size=3), rule=st.sampled_from(["refuse", "skip"])
)
def test_a_file_with_other_bytes_somewhere_is_read_or_refused(damaged, place, length, new, rule) -> None:
    """Never with a traceback, nor a hang."""
    root, content = damaged
    at = int(place * len(content))
    (root / "instances.json").write_bytes(content[:at] + new + content[at + length :])
    with suppress(PipelineError):
        reader = coco._Reader(section(faults=rule, unknown="void"), root)
        with ExitStack() as files:
            for entry in reader.read(files)["train"]:
                reader.draw(entry)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> tuple[Path, bytes]:
    """A data set with a shape of each kind, and its JSON."""
    mask = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.2
    shapes = [[SQUARE], [SQUARE, SQUARE[::-1]]]
    shapes += [{"size": [HEIGHT, WIDTH], "counts": counts} for counts in (runs(mask), compressed(mask))]
    root = write(tmp_path_factory.mktemp("damaged"), [annotation(shape) for shape in shapes])
    return root, (root / "instances.json").read_bytes()


def test_a_link_out_of_the_input_is_refused(tmp_path) -> None:
    folders.image(tmp_path / "secret.png")
    root = write(tmp_path / "mine", [annotation([SQUARE])])
    (root / "images/a.png").unlink()
    (root / "images/a.png").symlink_to(tmp_path / "secret.png")

    assert "a link that leads out of" in problems(root)
    (root / "instances.json").rename(tmp_path / "instances.json")
    (root / "instances.json").symlink_to(tmp_path / "instances.json")
    assert "instances.json: a link that leads out of" in problems(root)


def test_a_missing_input_folder_or_file_is_told(tmp_path) -> None:
    with pytest.raises(ParameterError, match=r"data\.input: no such folder"):
        coco.require_input(section(), tmp_path / "none")
    root = write(tmp_path, [])
    (root / "instances.json").unlink()
    assert "instances.json: missing" in problems(root)
    write(tmp_path, [])
    assert "photos: no such folder" in problems(root, images="photos")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"annotations": "{split}.json"}, "annotations: expected no {split} in it with by: ratio"),
        ({"annotations": "a.xml"}, "annotations: expected a file that ends in .json"),
        ({"annotations": "../a.json"}, "annotations: expected a path below data.input"),
        ({"images": "{split}"}, "images: expected no {split} in it"),
        ({"images": "/x"}, "images: expected a path below data.input"),
        ({**BY_FOLDER, "annotations": "a.json"}, "annotations: expected {split} in it with by: folder"),
        ({"split": {"by": "lists", "file": "{split}.txt", "names": ["a"]}}, "split: expected by: folder"),
        ({"classes": []}, "classes: list should have at least 1"),
        ({"unlabelled": "bird"}, "unlabelled: expected void or one of the classes"),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused(changes, expected) -> None:
    with pytest.raises(ParameterError) as error:
        section(**changes)

    assert expected in str(error.value)


@pytest.mark.slow
def test_twenty_thousand_annotations_take_a_few_megabytes(tmp_path, monkeypatch) -> None:
    """Memory does not grow with the file, but by what each annotation needs in the lists: 30 bytes."""
    monkeypatch.setattr(json_file, "_CHUNK", 1 << 16)
    peaks = []
    for count in (2_000, 20_000):
        root = tmp_path / str(count)
        polygon = np.random.default_rng(0).uniform(0, 12, 80).tolist()
        write(root, [annotation([polygon])] * count)
        tracemalloc.start()
        coco.require_input(section(), root)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert (root / "instances.json").stat().st_size > 25_000_000
    assert peaks[1] - peaks[0] < 2_000_000


def as_coco(raw_folder: Path, dataset: Dataset, root: Path) -> dict[str, Any]:
    """Writes masks as run lengths, one object a class, with gaps between the ids; the section that reads them."""
    root.mkdir()
    names = [each.name for each in dataset.classes]
    for split, pairs in dataset.splits.items():
        images, annotations = [], []
        for number, pair in enumerate(pairs):
            path = root / split / Path(pair.image).name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes((raw_folder / split / pair.image).read_bytes())
            mask = cv2.imread(str(raw_folder / split / pair.mask), cv2.IMREAD_UNCHANGED)
            size = {"height": mask.shape[0], "width": mask.shape[1]}
            images.append({"id": 5 * number, "file_name": path.name, **size})
            for place, value in enumerate(dataset.values):
                if (mask == value).any():
                    counts = compressed(mask == value)
                    rle = {"size": [*mask.shape], "counts": counts}
                    annotations.append({"image_id": 5 * number, "category_id": 10 * place, "segmentation": rle})
        categories = [{"id": 10 * place, "name": name} for place, name in enumerate(names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"{split}.json").write_text(json.dumps(content))
    return {
        "classes": names,
        "unlabelled": "void",
        "unknown": "refuse",
        "faults": "refuse",
        "split": {"by": "folder", "names": list(dataset.splits)},
        "annotations": "{split}.json",
        "images": "{split}",
        "group": "(.+)-.+",
    }


@pytest.mark.slow
def test_the_streets_as_coco_go_through_the_whole_pipeline_as_their_masks_do(tmp_path, monkeypatch) -> None:
    """The same arrays, so the same scores."""
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    streets = {"seed": 1, "height": 96, "width": 96, "train": 3, "val": 1, "test": 2}
    run(tmp_path / "masks", monkeypatch, "synthetic", ROOT / "segline/sources/streets", streets)
    own = as_coco(Path("data/raw"), raw.read(Path("data/raw")), tmp_path / "mine")
    run(tmp_path / "coco", monkeypatch, "coco", tmp_path / "mine", own)
    arrays = [
        f"data/processed/{split}/{name}" for split in streets if split in own["split"]["names"] for name in ARRAYS
    ]

    assert 6 == len(arrays)
    for name in (*arrays, "metrics/history.csv", "metrics/per_class.csv", "metrics/per_image.csv"):
        assert (tmp_path / "masks" / name).read_bytes() == (tmp_path / "coco" / name).read_bytes(), name


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str, source_input: Path, own: dict[str, Any]) -> None:
    """The whole pipeline in a new folder."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    data = {"source": source, "input": str(source_input), source: own}
    Path("params.yaml").write_text(yaml.safe_dump({"data": data, **tiny.PARAMETERS}))
    download.main(["--input", str(source_input), "--raw", "data/raw"])
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    plot.main(tiny.PLOT)


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_cpu(tmp_path) -> None:
    """A process that may not use the newer instructions writes the same files."""
    rng = np.random.default_rng(0)
    shapes = [[rng.uniform(-3, 18, 2 * rng.integers(3, 9)).round(2).tolist()] for _ in range(40)]
    root = write(tmp_path / "mine", [annotation(shape, image=7 + n % 4) for n, shape in enumerate(shapes)], NAMES)
    own = ONE | {"faults": "skip"}
    program = (
        "import sys; from pathlib import Path; from segline.sources import coco as s;"
        f"s.collect(s.Section(**{own}), Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    for folder, environment in (("new", {}), ("old", OLDER_CPU)):
        command = [sys.executable, "-c", program, str(root), str(tmp_path / folder)]
        subprocess.run(command, env=os.environ | environment, check=True, timeout=120, cwd=ROOT)
    new, old = (
        {str(p.relative_to(tmp_path / f)): p.read_bytes() for p in (tmp_path / f).rglob("*.png")}
        for f in ("new", "old")
    )

    assert 12 == len([*(tmp_path / "new").rglob("*.png")])
    assert new == old


def test_objects_of_the_unlabelled_class_have_no_number(tmp_path):
    root = write(tmp_path / "mine", [annotation([SQUARE], DOG), annotation([[0.0, 0.0, 5.0, 0.0, 5.0, 5.0, 0.0, 5.0]])])
    mask, objects = drawn(root, tmp_path / "raw", unlabelled="dog", unknown="void")

    assert (mask == 0).any()
    assert np.array_equal(mask == 0, objects == 1)
    assert np.array_equal(mask == 1, objects == 0)


def test_an_image_of_another_size_than_the_file_says_is_one_line(tmp_path):
    root = write(tmp_path / "mine", [], images=[{"id": 7, "file_name": "a.png", "height": 120, "width": 160}])
    told = problems(root)

    assert f"{root}/instances.json: images[0]: {root}/images/a.png has 16x12 pixels, but" in told
    assert "its annotations are for 160x120" in told


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (WIDTH, HEIGHT)])
def test_a_size_may_be_the_upright_one_or_the_stored_one(size, tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    images = [{"id": 7, "file_name": "a.jpg", "height": size[0], "width": size[1]}]
    root = write(tmp_path / "mine", [], images=images)
    PIL.Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images/a.jpg", exif=exif)

    coco.require_input(section(), root)
