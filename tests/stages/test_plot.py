"""The plot stage as DVC runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segline.core.errors import DataError, ParameterError
from stages import plot
from tests import evaluated

ROOT = Path(__file__).parents[2]
PICTURES = [
    *("accuracy.png", "augmented.png", "confusion.png", "iou.png", "loss.png", "preview.png", "reliability.png"),
    "sheet.png",
]


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    world = evaluated.build(tmp_path / "run")
    monkeypatch.chdir(world.folder)
    return world


def outputs(world):
    return {path.name: path.read_bytes() for path in [*world.plots.iterdir(), world.report, world.card]}


def test_it_writes_every_picture_the_report_and_the_model_card(world):
    plot.main(world.arguments)

    assert sorted([*PICTURES, "report.html", "README.md"]) == sorted(outputs(world))
    assert b".note i {" not in outputs(world)["report.html"]  # of objects


def test_it_draws_images_of_any_size_that_were_cut_into_tiles(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    world = evaluated.build(
        tmp_path / "run", fit="tile", size=(32, 64), own=[(300, 700), (20, 30), (400, 90)], bands=(4, 1, 2, 3)
    )
    monkeypatch.chdir(world.folder)

    plot.main(world.arguments)

    assert sorted([*PICTURES, "report.html", "README.md"]) == sorted(outputs(world))


@pytest.mark.slow
def test_writing_twice_gives_the_same_bytes(world):
    plot.main(world.arguments)
    first = outputs(world)
    plot.main(world.arguments)

    assert first == outputs(world)


@pytest.mark.slow
def test_it_needs_no_display_no_torch_and_no_mlflow(world):
    code = (
        "import sys; from stages import plot; plot.main(sys.argv[1:]);"
        "sys.exit(','.join({'torch', 'mlflow', 'matplotlib.pyplot', 'tkinter'} & sys.modules.keys()))"
    )
    settings = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "TkAgg", "DISPLAY": ""}

    done = subprocess.run(
        [sys.executable, "-c", code, *world.arguments], env=settings, capture_output=True, text=True, check=False
    )

    assert "" == done.stderr.strip()
    assert "plot: 8 pictures" in done.stdout


@pytest.mark.slow
def test_the_rows_of_the_sheet_follow_the_parameter(world):
    plot.main(world.arguments)
    two = outputs(world)
    Path("params.yaml").write_text(evaluated.PARAMS.replace("images: 2", "images: 1"), encoding="utf-8")
    plot.main(world.arguments)
    one = outputs(world)

    assert one["sheet.png"] != two["sheet.png"]
    assert one["preview.png"] == one["sheet.png"]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("images: 2", "images: 0", "plot.images"),
        ("images: 2", "images: 21", "plot.images"),
        ("images: 2", "images: many", "plot.images"),
        ("images: 2", "images: 1.5", "plot.images"),
        ("name: unet", "name: 7", "model.name"),
    ],
)
def test_a_bad_parameter_is_named(world, old, new, key):
    Path("params.yaml").write_text(evaluated.PARAMS.replace(old, new), encoding="utf-8")

    with pytest.raises(ParameterError, match=f"params.yaml: {key}: "):
        plot.main(world.arguments)


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [("path: elsewhere", "path: there"), ("width: 32", "width: 64")])
def test_a_parameter_that_nobody_uses_changes_no_byte(world, old, new):
    """DVC does not track the alternatives that are not picked, so nothing may depend on them."""
    plot.main(world.arguments)
    before = outputs(world)
    Path("params.yaml").write_text(evaluated.PARAMS.replace(old, new) + "notes:\n  by: me\n", encoding="utf-8")
    plot.main(world.arguments)

    assert before == outputs(world)
    assert b"<dt>model.unet.width</dt><dd>16</dd>" in before["report.html"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["history", "eval", "per_class", "per_image", "confusion", "processed", "predictions", "augmented"]
)
def test_a_missing_input_is_named_and_the_last_outputs_stay(world, name):
    plot.main(world.arguments)
    before = outputs(world)
    missing = world.inputs[name]
    missing.rename(missing.with_name("elsewhere"))

    with pytest.raises(DataError, match=missing.name):
        plot.main(world.arguments)

    assert before == outputs(world)


def test_predictions_of_another_model_are_refused(world):
    np.save(world.inputs["predictions"] / "test.npy", np.zeros((2, 12, 16), np.uint8))

    with pytest.raises(DataError, match=r"test\.npy: uint8 \(2, 12, 16\), expected uint8 \(7, 12, 16\)"):
        plot.main(world.arguments)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["report", "model_card"])
def test_a_failure_while_drawing_leaves_the_last_outputs(world, monkeypatch, module):
    plot.main(world.arguments)
    before = outputs(world)
    monkeypatch.setattr(getattr(plot, module), "render", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        plot.main(world.arguments)

    assert before == outputs(world)
    assert [] == list(world.folder.rglob(".*.partial"))


TEMPLATE = ROOT / ".dvc" / "plots" / "confusion_counts.json"


def test_the_template_of_dvc_sums_the_counts_of_the_confusion_file(world):
    from dvc_render.vega import VegaRenderer

    cells = [{**cell, "rev": "workspace"} for cell in json.loads(world.inputs["confusion"].read_text(encoding="utf-8"))]

    renderer = VegaRenderer(
        cells, "confusion", x="predicted", y="actual", template=TEMPLATE.stem, template_dir=str(TEMPLATE.parent)
    )
    filled = renderer.get_filled_template()

    assert "<DVC_METRIC" not in json.dumps(filled)
    assert cells == filled["data"]["values"]
    summed, *_ = filled["spec"]["transform"]
    assert {"op": "sum", "field": "count", "as": "pixels"} == summed["aggregate"][0]
    assert ["predicted", "actual"] == summed["groupby"]
