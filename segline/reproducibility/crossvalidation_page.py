"""A cross-validation -> one HTML page: its scores, and pictures of what was predicted worst.

Not in `reporting`, whose files the plot stage depends on.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segline.dataset import raw
from segline.reporting import charts, drawing, report, results, selection, templates
from segline.reporting.selection import Pick
from segline.reproducibility.out_of_fold import Image

TEMPLATE = "crossvalidation.html"
NAMES = {"accuracy": "Pixel accuracy", "miou": "mIoU", "ece": "ECE"}
SOURCES = {"seed": "seed", "fold": "train images", "image": "test images"}
COLOURS = {"accuracy": charts.BLUE, "miou": charts.ORANGE}  # of the scores in the chart
WIDTH = 0.7  # of a fold in the chart, from one to the next
WORST, MEDIAN = 6, 3  # images that are shown


class Scored(results.ImageScore):
    """A row of crossvalidation_per_image.csv."""

    seed: int
    fold: int


@dataclass(frozen=True)
class Example:
    """An image that is shown: its scores, and its panels as `data:` URLs, by name."""

    pick: Pick
    score: Scored
    panels: dict[str, str]


def scores(path: Path) -> list[Scored]:
    """The scores of each image from the first seed: that of the predictions that are kept."""
    rows = results.read_table(path, Scored)
    return [row for row in rows if row.seed == rows[0].seed]


def examples(scored: Sequence[Scored], images: Sequence[Image]) -> Iterator[Example]:
    """The worst images, the very worst first, and those in the middle. `scored` are these images, in any order.

    One image is read at a time. Raises DataError or IntegrityError if its files have changed.
    """
    by_name = {image.name: image for image in images}
    worst = [pick for pick in selection.picks(scored, WORST) if pick.kind == "worst"]
    median = [pick for pick in selection.picks(scored, MEDIAN) if pick.kind == "median"]
    for pick in [*reversed(worst), *median]:
        score = scored[pick.image]
        yield Example(pick, score, _panels(by_name[score.stem]))


def _panels(image: Image) -> dict[str, str]:
    predicted = image.planes().argmax(axis=0).astype(np.uint8)
    colours = drawing.palette(image.classes, image.index.void)
    four = drawing.panels(image.picture(), image.labels(), predicted, colours)
    photograph, errors = (report.data_uri(drawing.jpeg(panel), "image/jpeg") for panel in (four.image, four.error))
    label, prediction = (report.data_uri(drawing.png(panel), "image/png") for panel in (four.truth, four.prediction))
    return {"image": photograph, "label": label, "prediction": prediction, "errors": errors}


def render(
    content: Mapping[str, Any], dataset: str, shown: Sequence[Example] = (), legend: Sequence[raw.Label] = ()
) -> str:
    """The page of metrics/crossvalidation.json: it requests nothing, and every name in it is escaped."""
    names = {name: title for name, title in NAMES.items() if name in content["mean"]}
    template = templates.environment("reproducibility").get_template(TEMPLATE)
    return template.render(
        content=content,
        dataset=dataset,
        names=names,
        sources=SOURCES,
        chart=report.data_uri(_chart(content), "image/png"),
        examples=shown,
        images=sum(fold["images"] for fold in content["folds"]),
        legend=legend,
    )


def _chart(content: Mapping[str, Any]) -> bytes:
    """The scores of each fold and seed as points with their intervals, their means as lines: a PNG file."""
    folds = content["folds"]
    seeds = len(folds[0]["scores"])
    step = WIDTH / (len(COLOURS) * (seeds + 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "folds.png")
        with charts.figure(path, 7, 3.4) as page:
            axes = page.subplots()
            axes.grid(visible=False, axis="x")
            for place, (name, colour) in enumerate(COLOURS.items()):
                for number, fold in enumerate(folds, 1):
                    for seed, scores in enumerate(fold["scores"]):
                        x = number + (place * (seeds + 1) + seed + 1) * step - WIDTH / 2
                        if bound := scores["interval"].get(name):
                            axes.plot([x, x], [100 * bound["low"], 100 * bound["high"]], color=colour, alpha=0.45)
                        axes.plot([x], [100 * scores[name]], "o", color=colour, markersize=5)
                mean = 100 * content["mean"][name]["value"]
                label = f"{NAMES[name]}, mean {mean:.1f}"
                axes.axhline(mean, color=colour, linewidth=1.5, linestyle=(0, (4, 3)), zorder=0.9, label=label)
            axes.set_title("Scores by fold (%)", pad=26)
            axes.set(xlim=(0.5, len(folds) + 0.5), ylim=(0, 100), xticks=range(1, len(folds) + 1), xlabel="fold")
            axes.legend(loc="lower left", bbox_to_anchor=(-0.015, 0.99), ncols=2, borderaxespad=0)
        return path.read_bytes()
