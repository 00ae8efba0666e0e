"""`dvc plots diff`: what its page holds of two revisions.

The page has vega, which draws the charts, from a server; all else is beside it. So it is opened here without vega.
"""

import json
import os
import re
from typing import Any

import pytest

from segline.core import records
from tests.browser import missing, running
from tests.e2e.project import Project

pytestmark = pytest.mark.slow

PICTURES = ["accuracy", "augmented", "confusion", "iou", "loss", "preview", "reliability", "sheet"]
REVISIONS = ["workspace", "main"]


@pytest.fixture(scope="module")
def changed(reproduced: Project) -> Project:
    """A reproduced project, trained otherwise since, and its page of plots."""
    project = reproduced.copy(reproduced.root.with_name("changed"))
    project.set(train__learning_rate=0.1)
    project.dvc("repro")
    assert "dvc_plots/index.html" in project.dvc("plots", "diff", "main")
    return project


@pytest.fixture(scope="module")
def charts(changed: Project) -> dict[str, Any]:
    """What vega is given to draw, by the id of its place."""
    place = re.compile(r'<div id = "(\w+)">\s*<script type = "text/javascript">\s*var spec = (.*);\n')
    return {name: json.loads(spec) for name, spec in place.findall(changed.read("dvc_plots/index.html"))}


def values(chart: Any) -> list[dict[str, Any]]:
    """The rows that a chart shows."""
    rows: list[dict[str, Any]] = chart["data"]["values"]
    return rows


def test_the_charts_are_those_of_dvc_yaml_and_show_both_revisions(charts):
    """The newer one first, by which scores_by_image.json sorts the images that lost most to the top."""
    expected = ["Loss_by_epoch", *(f"metrics_{name}" for name in ("history_csv", "confusion_json", "per_class_csv"))]

    assert [*expected, "metrics_per_image_csv"] == list(charts)
    assert "<DVC_METRIC" not in json.dumps(charts)
    assert all(REVISIONS == list(dict.fromkeys(row["rev"] for row in values(chart))) for chart in charts.values())


def test_the_values_are_those_of_the_files_of_each_revision(changed, charts):
    """Images and classes one by one; the curves epoch by epoch."""
    for chart, file, key in [
        ("metrics_history_csv", "metrics/history.csv", "val_miou"),
        ("metrics_per_class_csv", "metrics/per_class.csv", "iou"),
        ("metrics_per_image_csv", "metrics/per_image.csv", "miou"),
    ]:
        for revision, text in zip(REVISIONS, [changed.read(file), changed.git("show", f"main:{file}")], strict=True):
            header, *rows = (line.split(",") for line in text.splitlines())
            shown = [row[key] for row in values(charts[chart]) if row["rev"] == revision]
            assert [row[header.index(key)] for row in rows] == shown

    counts = [row["count"] for row in values(charts["metrics_confusion_json"]) if row["rev"] == "workspace"]
    assert [cell["count"] for cell in records.read_json(changed.root / "metrics/confusion.json")] == counts


def test_the_browser_shows_every_picture_of_both_revisions(changed, tmp_path):
    if reason := missing():
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    vega = re.compile(r'<script src="https://[^"]*/vega[^"]*"></script>')
    text, scripts = vega.subn("", changed.read("dvc_plots/index.html"))
    page = changed.root / "dvc_plots/without_vega.html"
    page.write_text(text, encoding="utf-8")
    with running(tmp_path) as browser:
        browser.visit(page)
        shown = browser.run("[...document.images].map(i => [i.getAttribute('src'), i.naturalWidth])")

    assert scripts == 3
    assert "https://" not in re.sub(r'"\$schema": "[^"]*"', "", text), "the pictures come with the page"
    assert [f"static/{rev}_metrics_plots_{name}.png" for name in PICTURES for rev in REVISIONS] == [s for s, _ in shown]
    assert all(width > 100 for _, width in shown)
