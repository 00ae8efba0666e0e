"""Evaluate and predict with a model that has learnt objects: the same ones, scored by hand, and borders in no score."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segline import __main__ as command
from segline.core import records
from segline.core.errors import DataError, ParameterError
from segline.dataset import processed
from segline.model import batches, checkpoint, forward, objects, watershed
from segline.scoring import image_objects, score_split
from segline.scoring.objects import KINDS
from stages import evaluate, plot, train
from tests import tiny, tiny_objects

NAMES = ["ground", "disc"]
OPTIONS = ("--smallest-object", "5", "--seed-probability", "0.5", "--instances", "disc")
TILES = {"preprocess__fit": "tile", "preprocess__height": 32, "preprocess__width": 32, "preprocess__overlap": 0.5}


@pytest.fixture(scope="module", params=["whole", "tiles"])
def evaluated(request, tmp_path_factory):
    """A folder with a model of discs, evaluated: of whole images, and of tiles smaller than two discs."""
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        tiny_objects.begin(folder, patch, **(TILES if request.param == "tiles" else {}))
        train.main(tiny.TRAIN)
        patch.setattr(forward, "logits", tiny_objects.logits)
        evaluate.main(tiny.EVALUATE)
    return folder


@pytest.fixture
def project(evaluated, monkeypatch):
    monkeypatch.chdir(evaluated)
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setattr(forward, "logits", tiny_objects.logits)
    return evaluated


def scores() -> dict:
    return json.loads(Path("metrics/eval.json").read_text())


def truth(stem: str, kind: str = "objects") -> np.ndarray:
    return cv2.imread(f"data/raw/test/{kind}/{stem}.png", cv2.IMREAD_UNCHANGED)


def predicted(tmp_path: Path, *options: str) -> Path:
    model, out = "models/model.safetensors", tmp_path / "out"
    command.main(["predict", "data/raw/test/images", "--model", model, "--out", str(out), *OPTIONS, *options])
    return out


def image(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def matched_by_hand(true: np.ndarray, found: np.ndarray) -> list[float]:
    ious = [
        ((true == t) & (found == p)).sum() / ((true == t) | (found == p)).sum()
        for t in range(1, true.max() + 1)
        for p in range(1, found.max() + 1)
    ]
    return [iou for iou in ious if iou > 0.5]


def test_the_objects_of_predict_give_the_scores_of_evaluate(project, tmp_path):
    out = predicted(tmp_path)
    section, images = scores()["objects"], records.read_csv(Path("metrics/per_image.csv"))
    ious, true, found = [], 0, 0
    for row in images:
        numbers = image(out / f"instances/{row['image']}.png")
        own = matched_by_hand(truth(row["image"]), numbers)
        counts = len(own), numbers.max() - len(own), truth(row["image"]).max() - len(own)

        assert numbers.dtype == np.uint16
        assert counts == tuple(int(row[f"disc_objects_{kind}"]) for kind in ("tp", "fp", "fn"))
        assert sum(own) == pytest.approx(float(row["disc_objects_iou"]), abs=1e-6)
        ious += own
        true, found = true + int(truth(row["image"]).max()), found + int(numbers.max())

    counts = {"tp": len(ious), "fp": found - len(ious), "fn": true - len(ious)}
    assert len(ious) > 6  # of 12 discs that touch
    assert counts.items() <= section["classes"]["disc"].items()
    assert 2 * sum(ious) / (true + found) == pytest.approx(section["pq"], abs=1e-6)
    assert {"ap", "ap50", "ap75", "pq", "sq", "rq"} <= section["interval"].keys()


@pytest.mark.parametrize("evaluated", ["whole"], indirect=True)
@pytest.mark.parametrize("asked", [("--instances", "disc"), ("--annotations", "labelme")])
@pytest.mark.parametrize("option", ["--smallest-object", "--seed-probability"])
def test_how_objects_are_found_must_be_said(project, tmp_path, asked, option):
    """A default would find others than those that were scored."""
    place = OPTIONS.index(option)
    given = [*OPTIONS[:place], *OPTIONS[place + 2 : -2], *asked, "--out", str(tmp_path / "out")]

    with pytest.raises(ParameterError, match=f"{option}: needed for .* of evaluate\\.objects in params\\.yaml"):
        command.main(["predict", "data/raw/test/images", "--model", "models/model.safetensors", *given])


def test_instances_are_listed_with_their_pixels(project, tmp_path):
    out = predicted(tmp_path)
    for row in records.read_csv(out / "instances.csv"):
        own = image(out / f"instances/{row['image']}.png") == int(row["instance"])
        y, x = np.nonzero(own)

        assert ("disc", len(x)) == (row["class"], int(row["area"]))
        assert [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1] == [
            int(row[side]) for side in ("left", "top", "width", "height")
        ]
        assert (x.mean(), y.mean()) == pytest.approx((float(row["x"]), float(row["y"])), abs=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools itself
def test_each_object_is_one_annotation_of_exactly_its_pixels(project, tmp_path):
    from pycocotools import mask as coco_mask

    exact = ("--tolerance", "0", "--least-area", "0", "--unlabelled", "ground")
    out = predicted(tmp_path, "--annotations", "coco", *exact)
    document = json.loads((out / "annotations.json").read_text())
    for listed in document["images"]:
        numbers = image(out / f"instances/{Path(listed['file_name']).stem}.png")
        own = [one["segmentation"] for one in document["annotations"] if one["image_id"] == listed["id"]]
        masks = [coco_mask.decode(runs).astype(bool) for runs in own]

        assert numbers.max() == len(masks)
        assert {(numbers == n).tobytes() for n in range(1, numbers.max() + 1)} == {one.tobytes() for one in masks}


def test_a_border_counts_as_its_class_everywhere(project, tmp_path):
    out = predicted(tmp_path)
    index = processed.read(Path("data/processed/test")).index
    right = total = 0
    for origin in index.origins:
        mask = image(out / f"masks/{origin.stem}.png")
        right += int((mask == truth(origin.stem, "masks")).sum())
        total += mask.size

    assert 3 == len(index.classes)
    assert right / total == pytest.approx(scores()["accuracy"], abs=1e-6)
    assert {*NAMES} == scores()["iou"].keys()
    assert NAMES == [row["class"] for row in records.read_csv(Path("metrics/per_class.csv"))]
    assert 4 == len(json.loads(Path("metrics/confusion.json").read_text()))
    assert np.load("data/predictions/test.npy").max() == 1


def test_each_object_has_a_row_and_an_outline_of_its_kind(project):
    index = processed.read(Path("data/processed/test")).index
    rows = records.read_csv(Path("data/predictions/test-objects.csv"))
    outlines = np.load("data/predictions/test-outlines.npy")
    section = scores()["objects"]["classes"]["disc"]

    assert image_objects.COLUMNS == [*rows[0]]
    assert section["tp"] + section["fn"] == sum(row["side"] == "true" for row in rows)
    assert section["tp"] + section["fp"] == sum(row["side"] == "predicted" for row in rows)
    assert section["tp"] == sum(row["kind"] == "matched" for row in rows if row["side"] == "true")
    assert outlines.shape == np.load("data/predictions/test.npy").shape
    shown = {KINDS[value - 1] for value in np.unique(outlines[outlines > 0])}
    assert shown == {row["kind"] for row in rows if (row["side"] == "true") == (row["kind"] == "missed")}
    assert index.num_rows == len(outlines)


def test_the_report_shows_objects_by_kind_and_size_and_no_border_as_a_class(project):
    plot.main(tiny.PLOT)
    page = Path("metrics/report.html").read_text(encoding="utf-8")
    rows = records.read_csv(Path("data/predictions/test-objects.csv"))
    by_size = page.partition('aria-label="Objects by size"')[2].partition("</table>")[0]
    numbers = [
        [int(cell) for cell in re.findall(r"<td>(\d+)</td>", line)] for line in by_size.splitlines() if "<td>" in line
    ]
    true, _, _, _, missed, found, invented = (sum(column) for column in zip(*numbers, strict=True))
    kinds = [(row["side"], row["kind"]) for row in rows]

    assert (true, found) == tuple(sum(side == one for one, _ in kinds) for side in ("true", "predicted"))
    assert (missed, invented) == (kinds.count(("true", "missed")), kinds.count(("predicted", "invented")))
    assert f"<td>{100 * scores()['objects']['pq']:.1f} %" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert 3 == page.count('alt="Objects of test')
    assert ".note i {" in page
    assert "disc border" not in page
    assert "disc border" not in Path("models/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("evaluated", ["tiles"], indirect=True)
def test_objects_of_tiles_are_those_of_the_whole_image(project, tmp_path):
    """Tiles cut the discs, and these logits do not depend on where."""
    out = predicted(tmp_path)
    network, model = checkpoint.read(Path("models/model.safetensors"))
    rule = watershed.Section(smallest=5, seed=0.5)
    for path in sorted(Path("data/raw/test/images").iterdir()):
        pixels = torch.tensor(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[None, :, :, None])
        (logits,) = forward.logits(network, batches.inputs(pixels, model.mean, model.std))
        shares = logits.softmax(dim=0)
        labels = (shares[1] + shares[2] > shares[0]).byte().numpy()
        found = watershed.find(labels, objects.insides(logits, [1]), [1], rule, path)

        np.testing.assert_array_equal(image(out / f"instances/{path.stem}.png"), found.numbers)


@pytest.mark.parametrize("evaluated", ["whole"], indirect=True)
def test_objects_are_those_of_the_logits_at_the_size_of_the_masks(project, tmp_path):
    """Without any of the code in between."""
    split = processed.read(Path("data/processed/test"))
    out = predicted(tmp_path)
    network, model = checkpoint.read(Path("models/model.safetensors"))
    inputs = batches.inputs(torch.tensor(np.asarray(split.images)), model.mean, model.std)
    rule = watershed.Section(smallest=5, seed=0.5)
    for origin, logits in zip(split.index.origins, forward.logits(network, inputs), strict=True):
        shares = logits.softmax(dim=0)
        labels = (shares[1] + shares[2] > shares[0]).byte().numpy()
        found = watershed.find(labels, objects.insides(logits, [1]), [1], rule, Path("here"))

        np.testing.assert_array_equal(image(out / f"instances/{origin.stem}.png"), found.numbers)


def test_without_evaluate_objects_nothing_is_said_of_objects(project, tmp_path):
    """And the semantic scores are the same."""
    before = scores()
    tiles = TILES if (processed.read(Path("data/processed/test")).index.preparation.fit == "tile") else {}
    tiny.write_params(tmp_path, **(tiny_objects.CHANGES | tiles | {"evaluate__objects": None}))
    own = Path("params.yaml").read_bytes()
    try:
        Path("params.yaml").write_bytes((tmp_path / "params.yaml").read_bytes())
        moved = (given.replace("metrics/", f"{tmp_path}/") for given in tiny.EVALUATE[:-1])
        evaluate.main([*moved, str(tmp_path / "predictions")])
    finally:
        Path("params.yaml").write_bytes(own)
    after = json.loads((tmp_path / "eval.json").read_text())

    assert {key: value for key, value in before.items() if key != "objects"} == after
    assert ["test.npy"] == [path.name for path in (tmp_path / "predictions").iterdir()]
    assert "objects" not in (tmp_path / "per_image.csv").read_text()


def test_too_large_an_image_is_refused_before_the_first_batch(tmp_path, monkeypatch):
    tiny_objects.begin(tmp_path, monkeypatch)
    split = processed.read(Path("data/processed/test"))
    last = replace(split.index.origins[-1], height=8193, width=8192)
    large = replace(split, index=replace(split.index, origins=(*split.index.origins[:-1], last)))
    wanted = score_split.Wanted(watershed.Section(smallest=5, seed=0.5), lambda _: None)
    rows = (pytest.fail("a batch was computed") for _ in range(1))

    with pytest.raises(DataError, match=rf"{last.stem}\.png: 8192x8193 pixels, expected .* for evaluate\.objects"):
        score_split.score(Path("data/raw/test"), large, rows, None, lambda _: None, temperature=1.0, wanted=wanted)


def test_objects_of_a_model_that_has_learnt_none_are_refused(tmp_path, monkeypatch):
    tiny.begin(tmp_path, monkeypatch, evaluate__objects={"smallest": 5, "seed": 0.5})

    with pytest.raises(ParameterError, match=r"evaluate\.objects: objects are to be found, but preprocess\.objects"):
        evaluate.main(tiny.EVALUATE)
