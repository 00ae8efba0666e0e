"""docs/objects.md: what `segline inspect` prints for its example, and its settings, run through all stages."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from segline.commands import inspect_folder
from segline.preprocessing.image_files import png
from segline.sources import cells
from stages import download, evaluate, plot, preprocess, train
from tests import tiny

PAGE = (Path(__file__).parents[2] / "docs/objects.md").read_text(encoding="utf-8")


def block(name: str) -> dict[str, Any]:
    """A block of YAML in the page."""
    found = re.search(rf"<!-- {name} -->\n```yaml\n(.*?)```\n<!-- /{name} -->", PAGE, re.DOTALL)
    assert found is not None
    document: dict[str, Any] = yaml.safe_load(found[1])
    return document


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of cells, and their numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGLINE_TRACKING", "off")
    monkeypatch.setenv("SEGLINE_DEVICE", "cpu")
    for number in range(6):
        image, numbers = cells._view(np.random.default_rng(number), 128, 128)
        for kind, pixels in (("images", np.minimum(image // 8, 255).astype(np.uint8)), ("labels", numbers)):
            Path(f"mine/{kind}").mkdir(parents=True, exist_ok=True)
            png.write_png(Path(f"mine/{kind}/{number}.png"), pixels)
    return Path("mine")


def test_inspect_prints_the_example(mine):
    """But for the name of the class, which nothing in the folder tells."""
    document = yaml.safe_load(inspect_folder.inspect(mine).section or "")
    section, expected = (each["data"]["folder"] for each in (document, block("example")))

    assert ["class_0", "class_1"] == [each.pop("name") for each in section["classes"]]
    assert ["background", "cell"] == [each.pop("name") for each in expected["classes"]]
    assert [0, 1] == [each["value"] for each in section["classes"]]
    assert expected == section
    assert {"classes": ["class_1"], "border": 2} == document["preprocess"]["objects"]


@pytest.mark.slow
def test_the_example_is_scored_and_drawn(mine):
    document: dict[str, Any] = tiny.PARAMETERS | {"data": block("example")["data"]}
    for section, values in block("settings").items():
        document[section] = document[section] | values
    document["preprocess"] |= {"height": 128, "width": 128, "bands": "gray"}
    Path("params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    download.main(["--input", "mine", "--raw", "data/raw"])
    preprocess.main(["--raw", "data/raw", "--processed", "data/processed"])
    train.main(tiny.TRAIN)
    evaluate.main(tiny.EVALUATE)
    plot.main(tiny.PLOT)
    scores = json.loads(Path("metrics/eval.json").read_text(encoding="utf-8"))

    assert {"ap", "ap50", "ap75", "pq", "rq"} <= scores["objects"].keys()
    assert {"background", "cell"} == scores["iou"].keys()
